"""`runner reconcile` in a real terminal: the line below its log, and the log."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import processes
from configs import demo, foragers
from paths import RUNNER_BIN
from processes import eventually
from runner import environment
from terminal import PROMPT, Terminal

# What the log looks like on a terminal, and elsewhere.
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3} +(INFO|WARN|ERROR) \S.*")
PLAIN_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z +(INFO|WARN|ERROR) \S.*")
# bob crashes at once and is given up, the others live.
RUNNER = {"name": "meadow", "initial_backoff_ms": 100, "max_restart_attempts": 1}
FILE = demo(
    foragers("alice", "bob", "carol"),
    runner=RUNNER,
    agents={"bob": {"command": ["sh", "-c", "exit 3"]}},
)
HEAD = "2 running · 1 failed · world ok · config #1"
HEAD_LIKE = r"\d+ (running|starting|stopping|pending|failed) · "


def command(directory: Path, config: str) -> list[str]:
    path = directory / "config.toml"
    path.write_text(config)
    return [
        str(RUNNER_BIN), "reconcile", "--config", str(path),
        "--state-dir", str(directory / "state"), "--log-dir", str(directory / "logs"),
    ]  # fmt: skip


@contextmanager
def nothing_left() -> Iterator[dict[str, str]]:
    """An environment, of whose processes none is to be there in the end."""
    token = uuid.uuid4().hex
    try:
        yield environment(token)
        left = processes.bearing(token)
        assert not left, f"they are left: {left}"
    finally:
        processes.kill_bearing(token)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    token = uuid.uuid4().hex
    try:
        with Terminal(environment(token)) as terminal:
            yield terminal
    finally:
        # What a test ended well has left nothing: `end` sees to that.
        processes.kill_bearing(token)


def last_line(terminal: Terminal) -> str:
    return next((line for line in reversed(terminal.lines()) if line), "")


def wait_for_last(terminal: Terminal, pattern: str) -> None:
    try:
        eventually(lambda: re.fullmatch(pattern, last_line(terminal)), "the last line", 20)
    except AssertionError:
        shown = "\n".join(terminal.scrolled())
        raise AssertionError(f"{pattern} is not the last line:\n{shown}") from None


def assert_whole(terminal: Terminal) -> list[str]:
    """All lines of the log are whole, and nothing of the line below it is among them."""
    lines = [line.rstrip() for line in terminal.scrolled()]
    log = [line for line in lines if re.match(r"\d\d:\d\d:\d\d", line)]
    assert log, lines
    broken = [line for line in log if not LOG_LINE.fullmatch(line)]
    mixed = [line for line in log if re.search(HEAD_LIKE, line)]
    assert not broken and not mixed, "\n".join(lines)
    return lines


def pid_of_runner(terminal: Terminal) -> int:
    return int(terminal.wait_for(r"INFO started +config=.*\n?.*pid=(\d+)")[1])


def end(terminal: Terminal) -> None:
    """Ctrl-C; it ends well, and nothing of the line is left."""
    terminal.press("C-c")
    terminal.wait_for("no agent is left")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    lines = assert_whole(terminal)
    left = [line for line in lines if "world ok" in line]
    assert not left, "\n".join(lines)
    shell = terminal.ask("pane_pid")
    assert Path(f"/proc/{shell}/task/{shell}/children").read_text() == "", "it has ended"


def test_a_line_below_the_log_says_how_it_fares(tmp_path: Path, terminal: Terminal) -> None:
    terminal.run(*command(tmp_path, FILE))
    wait_for_last(terminal, re.escape(HEAD))
    lines = assert_whole(terminal)
    assert sum(bool(re.match(HEAD_LIKE, line)) for line in lines) == 1, lines
    assert terminal.ask("alternate_on") == "0" and terminal.ask("cursor_flag") == "1"
    assert re.search(r"\x1b\[32m(\x1b\[49m)?2 running", terminal.painted())
    assert "\x1b[31m1 failed" in terminal.painted()

    # It follows what changes.
    with (tmp_path / "config.toml").open("a") as config:
        config.write(foragers("dora").replace("x = 0", "x = 9"))
    wait_for_last(terminal, "3 running · 1 failed · world ok · config #2")
    end(terminal)
    assert terminal.is_as_it_was()


def test_it_fits_any_width(tmp_path: Path, terminal: Terminal) -> None:
    terminal.run(*command(tmp_path, FILE))
    wait_for_last(terminal, re.escape(HEAD))
    for columns, shown in (
        (30, "2 running · 1 failed · world…"),
        (12, "2 running"),
        (6, "2 ru…"),
        (100, HEAD),
    ):
        terminal.resize(columns, 20)
        wait_for_last(terminal, re.escape(shown))
        once = [line for line in terminal.scrolled() if re.match(r"2 ru|2 running", line)]
        assert len(once) == 1, f"at {columns} columns: {once}"
    end(terminal)


def test_many_that_start_are_shown_as_a_bar(tmp_path: Path, terminal: Terminal) -> None:
    config = demo(
        foragers(*(f"e{number:02}" for number in range(60))),
        runner={"name": "many"},
        agents={"default": {"command": ["sleep", "1000"]}},
        spawn={"per_second": 20},
    )
    terminal.run(*command(tmp_path, config))
    bar = terminal.wait_for(r"^\[([#.]{20})\] (\d+)/60 started · .* · world ok · config #1$")
    assert bar[1].count("#") == int(bar[2]) * 20 // 60
    wait_for_last(terminal, "60 running · world ok · config #1")
    end(terminal)


def test_who_holds_a_shutdown_up_is_named(tmp_path: Path, terminal: Terminal) -> None:
    config = demo(
        foragers("alice", "bob", "carol", "dora", "eve"),
        runner={"name": "stubborn", "shutdown_grace_ms": 3500},
        agents={"default": {"command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}},
    )
    terminal.run(*command(tmp_path, config))
    wait_for_last(terminal, "5 running · world ok · config #1")
    # Each has come to its trap by then.
    eventually(lambda: len(list((tmp_path / "logs").glob("agent-*.log"))) == 5, "all have begun")
    terminal.press("C-c")
    who = "waiting for alice, bob, carol and 2 more: SIGKILL in"
    wait_for_last(terminal, rf"{who} 4s · 5 stopping · world ok · config #1")
    wait_for_last(terminal, rf"{who} 2s · 5 stopping · world ok · config #1")
    terminal.wait_for(rf"INFO {who} 3s  count=5$")
    terminal.wait_for("no agent is left")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert_whole(terminal)


def test_it_makes_way_when_the_runner_is_suspended(tmp_path: Path, terminal: Terminal) -> None:
    terminal.run(*command(tmp_path, FILE))
    wait_for_last(terminal, re.escape(HEAD))
    pid = pid_of_runner(terminal)
    state = lambda: processes.stat_fields(Path(f"/proc/{pid}"))[0]  # noqa: E731
    terminal.press("C-z")
    eventually(lambda: state() == "T", "it is stopped")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    terminal.wait_without(HEAD_LIKE)

    # In the background the terminal is the shell's, and what is typed there stays to be seen.
    terminal.run("bg")
    eventually(lambda: state() != "T", "it goes on")
    terminal.type("typed")
    alice = int(terminal.wait_for(r"INFO alice: started .*pid=(\d+)")[1])
    os.kill(alice, signal.SIGKILL)
    terminal.wait_for("INFO alice: starting: restart 1 of 1 after a crash")
    terminal.wait_for("^\\$ typed|typed.*alice: ended")
    assert not [line for line in terminal.scrolled() if re.match(HEAD_LIKE, line)]
    terminal.press("C-u")

    terminal.run("fg")
    wait_for_last(terminal, re.escape(HEAD))
    terminal.press("C-z")
    eventually(lambda: state() == "T", "it is stopped again")
    terminal.run("fg")
    wait_for_last(terminal, re.escape(HEAD))
    terminal.press("C-c")
    terminal.wait_for("no agent is left")
    assert terminal.is_as_it_was()


def test_it_makes_way_for_a_successor(tmp_path: Path, terminal: Terminal) -> None:
    # The demo world ends with the runner, which these take no notice of.
    calm = {"default": {"command": ["sleep", "1000"]}, "bob": {"command": ["sh", "-c", "exit 3"]}}
    config = demo(foragers("alice", "bob", "carol"), runner=RUNNER, agents=calm)
    terminal.run(*command(tmp_path, config))
    wait_for_last(terminal, re.escape(HEAD))
    os.kill(pid_of_runner(terminal), signal.SIGUSR2)
    terminal.wait_for("INFO took up what another runner left")
    wait_for_last(terminal, re.escape(HEAD))
    lines = assert_whole(terminal)
    assert sum(bool(re.match(HEAD_LIKE, line)) for line in lines) == 1, lines
    end(terminal)


def test_a_runner_that_is_killed_leaves_a_terminal_in_order(
    tmp_path: Path, terminal: Terminal
) -> None:
    terminal.run(*command(tmp_path, FILE))
    wait_for_last(terminal, re.escape(HEAD))
    os.kill(pid_of_runner(terminal), signal.SIGKILL)
    terminal.wait_for(f"^{re.escape(PROMPT)}")
    assert terminal.is_as_it_was()
    # Its agents end with the next one.
    terminal.run("clear")
    terminal.tmux("clear-history")
    terminal.run(*command(tmp_path, FILE))
    wait_for_last(terminal, re.escape(HEAD))
    end(terminal)


@pytest.mark.parametrize("variable", ["TERM=dumb", "NO_COLOR=1"])
def test_it_is_as_the_environment_wants_it(
    tmp_path: Path, terminal: Terminal, variable: str
) -> None:
    terminal.run("env", variable, *command(tmp_path, FILE))
    terminal.wait_for("ERROR bob: failed")
    if variable == "NO_COLOR=1":
        wait_for_last(terminal, re.escape(HEAD))
        assert "\x1b[3" not in terminal.painted()
    terminal.press("C-c")
    terminal.wait_for("no agent is left")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert not [line for line in terminal.scrolled() if re.search(HEAD_LIKE, line)]


def test_lines_for_programs_have_nothing_between_them(tmp_path: Path, terminal: Terminal) -> None:
    terminal.run(*command(tmp_path, FILE), "--log-format", "json")
    terminal.wait_for("agent.failed")
    terminal.press("C-c")
    terminal.wait_for("no agent is left")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    _command, *lines, _prompt = terminal.scrolled()
    assert len(lines) > 10
    for line in lines:
        # What the terminal itself shows of Ctrl-C.
        json.loads(line.removeprefix("^C"))


def test_without_a_terminal_there_are_plain_lines_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with nothing_left() as env, log.open("wb") as stderr:
        runner = subprocess.Popen(command(tmp_path, FILE), env=env, stderr=stderr)
        eventually(lambda: b"bob: failed" in log.read_bytes(), "bob has failed")
        eventually(lambda: log.read_bytes().count(b": started ") == 4, "the others run")
        runner.terminate()
        assert runner.wait(20) == 0
    written = log.read_bytes()
    assert b"\x1b" not in written and b"\r" not in written
    lines = written.decode().splitlines()
    assert all(PLAIN_LOG_LINE.fullmatch(line) for line in lines), written.decode()


def test_it_is_not_drawn_while_nothing_changes(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with nothing_left() as env:
        runner = subprocess.Popen(
            command(tmp_path, FILE), env=env | {"TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        drawn = b""
        deadline = time.monotonic() + 20
        while HEAD not in re.sub(r"\x1b\[\d*m", "", drawn.decode(errors="replace")):
            assert time.monotonic() < deadline, drawn
            if select.select([ours], [], [], 0.1)[0]:
                drawn += os.read(ours, 65536)
        # The second answer of the world, and whatever else follows a start.
        while select.select([ours], [], [], 1)[0]:
            drawn += os.read(ours, 65536)
            assert time.monotonic() < deadline, drawn
        assert not select.select([ours], [], [], 3)[0], os.read(ours, 65536)
        runner.terminate()
        written = b""
        while select.select([ours], [], [], 5)[0]:
            try:
                written += os.read(ours, 65536)
            except OSError:
                # Nobody has it open any more.
                break
        assert runner.wait(20) == 0
    os.close(ours)
    # The line was erased for the last time before the last words, and not drawn again.
    assert b"no agent is left" in written.rpartition(b"\x1b[J")[2]
    assert b"world ok" not in written.rpartition(b"\x1b[J")[2]
