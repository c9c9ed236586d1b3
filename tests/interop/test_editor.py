"""The schema of the file, as an editor uses it: by taplo, which is in Even Better TOML."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from paths import ROOT, VENV
from runner import run_once

CONFIGS = sorted([*ROOT.glob("configs/*.toml"), *ROOT.glob("configs/worlds/*.toml")])
TESTS = ROOT / "src" / "config" / "tests"


def check(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(VENV / "bin" / "taplo"), "check", "--colors", "never", *options, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def with_schema(directory: Path, text: str) -> Path:
    """A file beside the schema that the program prints."""
    printed = run_once("schema")
    assert printed.returncode == 0, printed.stderr
    (directory / "runner.schema.json").write_text(printed.stdout)
    file = directory / "mine.toml"
    file.write_text(f"#:schema ./runner.schema.json\n{text}")
    return file


def test_the_files_that_come_with_the_program_name_their_schema_and_are_right() -> None:
    assert len(CONFIGS) >= 3
    for file in CONFIGS:
        assert file.read_text().startswith("#:schema ./") or file.parent.name == "worlds"
        done = check(file)
        assert done.returncode == 0, done.stderr


def test_every_key_is_right(tmp_path: Path) -> None:
    done = check(with_schema(tmp_path, (TESTS / "everything.toml").read_text()))
    assert done.returncode == 0, done.stderr


def test_mistakes_are_shown_where_they_are(tmp_path: Path) -> None:
    # TOML itself ends at 64 bits.
    wrong = (TESTS / "wrong.toml").read_text().replace("99999999999999999999", "0")
    done = check(with_schema(tmp_path, wrong))
    assert done.returncode != 0
    # A line of the file is one further down, for the line that names the schema. An unknown key is
    # shown at all keys beside it as well.
    shown = {
        (int(line) - 1, "unknown" if "Additional properties" in message else "wrong")
        for message, line in re.findall(r"error: (.+)\n.*mine\.toml:(\d+):", done.stderr)
    }
    lines = wrong.splitlines()
    for mistake, how in {
        'server = "http://': "wrong",
        'auto_discover = "yes"': "wrong",
        'log_dir = ""': "wrong",
        "launcher = []": "wrong",
        "max_restart_attempts = -1": "wrong",
        'restart = "on_failure"': "wrong",
        "max_agent = 10": "unknown",
        "env_inherit = [": "wrong",
        "limits = { memory = 512": "wrong",
        'module = "agents/random_agent.py"': "wrong",
        'command = ["./alice"]': "wrong",
        'max_bytes = "10MB"': "wrong",
        "[helth]": "unknown",
    }.items():
        [number] = [n for n, line in enumerate(lines, 1) if line.startswith(mistake)]
        assert (number, how) in shown, f"{mistake} is not shown:\n{done.stderr}"
