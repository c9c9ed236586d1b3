"""Ids, types and tags that are meant for somebody's terminal, file system or shell."""

from __future__ import annotations

import os
import subprocess
import unicodedata
from pathlib import Path

import pytest

from attacks import EVIL
from configs import quick
from hostile_world import HostileWorld, entity
from log import Ev
from paths import RUNNER_BIN
from runner import Runner, environment, run_once
from terminal import Terminal

# These are ids like others: an agent runs for each of them.
ODD = (
    "../../../outside/escaped", "..", ".", "/abs", "~", "a/b", "agent", "x.log", "-", "-rf",
    "--help", "--config=x", "--", "$(touch outside/touched)", "`touch outside/ticked`", "; ls",
    "a b", "'\"\\", "%2e%2e%2f", "%s%n", "{server}", "{entity_id}", "*", "[x]", "=", "NUL",
    "\u202eevil", "ali\u200bce", "ali\u200dce", "line\u2028line", "\u2066x\u2069", "\ufeffbom",
    "e\u0301", "שלום", "狼🐺", "x" * 256,
)  # fmt: skip
# These are none: nobody is started for them.
BAD = ("", "x" * 257, "x" * 5000, EVIL, "a\x1b[2Jb", "a\nb", "a\rb", "a\x00b", "\x7f", "\x9b31m", "\t")
UNSEEN = {"Cc", "Cf", "Zl", "Zp"}


def words() -> list[bytes]:
    odd = [entity(name, "forager", ["a tag", EVIL]) for name in ODD]
    odd += [entity("alice", "--type=$(x)", ["\x1b[31m"] * 100, tick) for tick in (-1, 5)]
    odd += [entity("late", "wolf", [], -(1 << 63)), entity("early", "wolf", [], (1 << 63) - 1)]
    odd += [entity("typed", EVIL), entity("tagged", "t", ["x" * 70_000])]
    return odd + [entity(name) for name in BAD]


def unseen(text: str) -> list[str]:
    """What in it acts on a terminal instead of being seen, newlines not among it."""
    found = {letter for letter in text if unicodedata.category(letter) in UNSEEN}
    return sorted(map(ascii, found - {"\n"}))


def config(server: str, root: Path) -> str:
    loop = "echo hello; exec sleep 600"
    agents = {"default": {"command": ["/bin/sh", "-c", loop, "sh", "{entity_id}"]}}
    agents["default"]["cwd"] = str(root / "work")
    return quick(runner={"server": server}, agents=agents)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("runner", "work", "outside"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_words_stay_words_in_every_output(root: Path) -> None:
    directory = root / "runner"
    started = (*ODD, "alice", "late", "early")
    with HostileWorld(words()) as world:
        with Runner(directory, None, config(world.address, root)) as runner:
            runner.wait_started(*started, timeout=60)
            refused = runner.log.find("entity.refused")
            assert refused, "the bad ones are told of"
            assert runner.count(Ev.STARTED) == len(started)
            state = ["--state-dir", str(runner.state_dir)]
            for verb in (
                ["get", "agents", "-o", "wide"], ["get", "entities", "-o", "wide"], ["status"],
                ["get", "templates"], ["get", "events"], ["events"], ["logs", "--prefix", "-l", "phase=Running"],
                *(["why", "--", name] for name in ODD[-10:]),
                *(["describe", "agent", "--", name] for name in (*ODD[-10:], "alice")),
            ):  # fmt: skip
                done = run_once(*verb[:1], *state, *verb[1:])
                assert done.returncode == 0, f"{verb}: {done.stderr}"
                assert done.stdout, verb
                assert unseen(done.stdout + done.stderr) == [], verb
            for verb in (["get", "agents"], ["get", "entities"], ["events"]):
                for form in ("json", "yaml"):
                    done = run_once(*verb, *state, "-o", form)
                    assert done.returncode == 0, done.stderr
                    # For programs, who get each word as it is; a person may look, all the same.
                    acts = [it for it in unseen(done.stdout) if it not in map(ascii, "".join(ODD))]
                    assert acts == [], (verb, form)
            text = "\n".join(line.text for line in runner.log.lines())
            assert not set(text) & {chr(code) for code in range(32) if code != 10}
            files = sorted(os.listdir(runner.log_dir))
            assert len(files) == len(started)
            assert all(name.startswith("agent-") and name.isascii() for name in files)
    assert os.listdir(root / "outside") == os.listdir(root / "work") == []
    assert sorted(os.listdir(root)) == ["outside", "runner", "work"]
    assert sorted(os.listdir(directory)) == ["config.toml", "logs", "state"]


def test_words_stay_words_in_the_log_that_people_read(root: Path) -> None:
    directory = root / "runner"
    with HostileWorld(words()) as world:
        (directory / "config.toml").write_text(config(world.address, root))
        command = [str(RUNNER_BIN), "reconcile", "--config", "config.toml"]
        command += ["--state-dir", "state", "--log-dir", "logs"]
        with subprocess.Popen(
            command, cwd=directory, env=environment("words"), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            said = b""
            try:
                while said.count(b"started") < len(ODD):
                    line = process.stdout.readline()
                    assert line, said.decode(errors="replace")
                    said += line
                message = "".join(f"%{byte:02X}" for byte in EVIL.encode())
                world.attack(on_list=lambda stream: stream.fail("13", message))
                while b"lost contact" not in said:
                    said += process.stdout.readline()
            finally:
                process.terminate()
                said += process.stdout.read()
            assert process.wait(20) == 0
    assert unseen(said.decode()) == []
    assert rb"\u{1b}" in said, "the evil came, and was made harmless"


def test_words_stay_words_on_a_whole_screen(root: Path) -> None:
    directory = root / "runner"
    with HostileWorld(words()) as world:
        with Runner(directory, None, config(world.address, root)) as runner:
            runner.wait_started(*ODD, timeout=60)
            with Terminal(environment(runner.token), columns=120, rows=60) as terminal:
                title = terminal.ask("pane_title")
                terminal.run(str(RUNNER_BIN), "top", "--state-dir", str(runner.state_dir))
                terminal.wait_for(r"u\{202e\}evil")
                assert unseen("\n".join(terminal.lines())) == []
                assert terminal.ask("pane_title") == title
                terminal.press("q")
