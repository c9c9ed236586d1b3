"""Python agents in a sandbox: what they need is what the README says, and nothing else is theirs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from configs import PYTHON, forager, quick
from paths import PROJECT, VENV
from processes import eventually
from runner import Runner, run_once
from world import World

SYSTEM = ["/usr", "/lib", "/lib64", "/etc/ssl", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"]


def python_needs() -> list[str]:
    """The virtual environment, the interpreter that it leads to, and the system's libraries."""
    real = subprocess.run(
        [PYTHON[0], "-c", "import sys; print(sys.base_prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    places = [str(PROJECT), str(VENV.parent), real.stdout.strip(), *SYSTEM]
    return [place for place in places if Path(place).exists()]


@pytest.fixture(autouse=True)
def needs_landlock() -> None:
    report = run_once("doctor", "-o", "json")
    checks = {check["name"]: check for check in json.loads(report.stdout)["checks"]}
    if not checks["sandbox"]["found"].startswith("Landlock holds files"):
        print(f"NOT TESTED: sandboxes of Python agents: {checks['sandbox']['found']}")
        pytest.skip("no Landlock here")


def test_a_python_agent_forages_in_its_sandbox(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    sandbox = {"read": python_needs(), "write": [str(tmp_path / "work")]}
    config = quick(
        runner={"launcher": PYTHON, "sandbox": sandbox}, agents={"default": forager()}
    )
    with World("--entities", "a,b") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("a", "b")
            eventually(lambda: len(world.leases()) == 2, "both forage", 30)
            runner.stop()


def test_python_code_in_a_sandbox_reads_no_file_of_others(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "token").write_text("s3cret")
    code = (
        f"for path in ('/etc/passwd', {str(tmp_path / 'token')!r}, '/proc/1/environ'):\n"
        "    try: print('read', open(path).read())\n"
        "    except PermissionError: print('refused', path)\n"
        f"open({str(tmp_path / 'work' / 'own')!r}, 'w').write('mine')\n"
        "print('over', flush=True)\n"
        "import time; time.sleep(1000)\n"
    )
    agent = {
        "command": [PYTHON[0], "-c", code],
        "sandbox": {"read": python_needs(), "write": [str(tmp_path / "work")]},
    }
    config = quick(agents={"default": agent})
    with World("--entities", "a") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("a")
            # The head of the log holds the code itself.
            said = lambda: runner.agent_log("a").splitlines()[1:]  # noqa: E731
            eventually(lambda: "over" in said(), "all was tried", 30)
            assert [line.split()[0] for line in said()] == [*["refused"] * 3, "over"], said()
            assert (tmp_path / "work" / "own").read_text() == "mine"
            runner.stop()
