"""`runner top` in a real terminal, on a live runner with the demo world."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from configs import demo, foragers
from log import Ev
from paths import RUNNER_BIN
from processes import eventually
from runner import Runner, environment
from terminal import PROMPT, Terminal

# bob crashes at once and is given up, the others live.
FILE = demo(
    foragers("alice", "bob", "carol"),
    runner={"name": "meadow", "initial_backoff_ms": 100, "max_restart_attempts": 1},
    agents={"bob": {"command": ["sh", "-c", "echo giving up; exit 3"]}},
)
HEAD = "2 running · 1 failed · world ok · config #1"


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with Runner(tmp_path, None, FILE) as runner:
        runner.wait_started("alice", "carol")
        runner.wait_for(Ev.FAILED, entity="bob")
        yield runner


@pytest.fixture
def terminal(runner: Runner) -> Iterator[Terminal]:
    with Terminal(environment(runner.token)) as terminal:
        yield terminal


def top(terminal: Terminal, runner: Runner, *options: str) -> None:
    """Has the terminal show it."""
    terminal.run(str(RUNNER_BIN), "top", "--state-dir", str(runner.state_dir), *options)
    terminal.wait_for(f"^meadow: {HEAD}$")
    terminal.wait_for(r"^carol +default +Running +0 .*MiB")
    assert terminal.ask("alternate_on") == "1"


def names(terminal: Terminal) -> list[str]:
    """Those in the table, from above."""
    return [
        found[0] for line in terminal.lines() if (found := re.match("(?:alice|bob|carol)", line))
    ]


def pid_of_top(terminal: Terminal) -> int:
    """The one process that the shell has started."""
    shell = terminal.ask("pane_pid")
    children = Path(f"/proc/{shell}/task/{shell}/children")
    return int(eventually(lambda: children.read_text().split(), "there is a child")[0])


def test_it_shows_agents_sorted_and_filtered(runner: Runner, terminal: Terminal) -> None:
    top(terminal, runner)
    assert terminal.lines()[1].startswith("NAME▾")
    assert re.search(r"^bob +bob +Failed +1 .*exit code 3$", "\n".join(terminal.lines()), re.M)
    # Somebody works, and it is seen.
    terminal.wait_for(r"^alice +default +Running +0 +\d+s +\d+\.\d +\d+\.\d MiB")

    terminal.press("N")
    terminal.wait_for("^NAME▴")
    assert names(terminal) == ["carol", "bob", "alice"]
    terminal.press("P")
    terminal.wait_for("PHASE▾")
    assert names(terminal) == ["bob", "alice", "carol"]
    terminal.press("M")
    terminal.wait_for("MEMORY▾")
    assert names(terminal)[-1] == "bob"

    terminal.press("/")
    terminal.type("phase=failed")
    terminal.wait_for("^/phase=failed")
    eventually(lambda: names(terminal) == ["bob"], "only bob is shown")
    terminal.press("Enter")
    terminal.wait_for(r"^/phase=failed  1 of 3")
    terminal.press("Escape")
    eventually(lambda: len(names(terminal)) == 3, "all are shown again")
    terminal.press("/")
    terminal.type("colour=red")
    terminal.wait_for("`colour` is none of `template`, `type`, `phase`")
    terminal.press("Escape")

    terminal.press("?")
    terminal.wait_for("^KEYS$")
    terminal.press("q")
    terminal.wait_for("^NAME")
    terminal.press("q")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert terminal.is_as_it_was()


def test_it_tells_of_an_agent_and_restarts_it(runner: Runner, terminal: Terminal) -> None:
    top(terminal, runner)
    before = runner.wait_for(Ev.STARTED, entity="alice").pid
    assert names(terminal)[0] == "alice", "the cursor is there"

    terminal.press("d")
    terminal.wait_for("^AGENT alice$")
    terminal.wait_for(rf"^Process: +{before}, run")
    terminal.press("Escape")
    terminal.press("w")
    terminal.wait_for("^WHY alice$")
    terminal.wait_for("started as process")
    terminal.press("q")

    terminal.press("l")
    terminal.wait_for(r"^LOG OF alice \(followed\)$")
    tick = int(terminal.wait_for(r"^tick (\d+) at")[1])
    terminal.wait_for(rf"^tick {tick + 10} at")
    terminal.press("q")

    terminal.press("e")
    terminal.wait_for("^EVENTS$")
    terminal.wait_for(r"agent\.failed +bob: failed")
    mark = runner.mark()
    terminal.press("r")
    terminal.wait_for(r"^restart alice\? \[y/N\]$")
    terminal.press("n")
    terminal.wait_for(r"^\? keys")
    assert runner.touched(mark) == [], "nobody said yes"
    terminal.press("r")
    terminal.wait_for(r"^restart alice\?")
    terminal.press("y")
    terminal.wait_for("^alice restarting$")
    after = runner.wait_for(Ev.STARTED, entity="alice", since=mark).pid
    assert after != before
    assert not processes.in_group(before)
    terminal.wait_for("^alice +default +Running +1 ")
    terminal.wait_for(r"agent\.started +alice: started")
    assert runner.touched(mark, but=("alice",)) == []
    terminal.press("e")
    terminal.wait_without("^EVENTS$")

    terminal.press("s")
    terminal.wait_for(r"^suspend alice\?")
    terminal.press("y")
    terminal.wait_for("^alice +default +Suspended")
    terminal.press("s")
    terminal.wait_for(r"^resume alice\?")
    terminal.press("y")
    terminal.wait_for("^alice +default +Running")


@pytest.mark.parametrize("page", ["table", "e", "d", "l", "?"])
def test_it_is_right_at_any_size(runner: Runner, terminal: Terminal, page: str) -> None:
    top(terminal, runner)
    if page != "table":
        terminal.press(page)
        terminal.wait_for("^(EVENTS$|AGENT|LOG OF|KEYS)")
    title = terminal.lines()[1].split()[0]
    for columns, rows in ((40, 10), (20, 5), (8, 2), (1, 1), (40, 10), (100, 30)):
        terminal.resize(columns, rows)
        head = f"meadow: {HEAD}"[:columns].rstrip()
        eventually(
            lambda head=head: terminal.lines()[0] == head and len(terminal.lines()),
            f"drawn anew at {columns}x{rows}",
        )
        if rows >= 4:
            eventually(lambda: title in terminal.lines()[1], f"{title} at {columns}x{rows}")
            terminal.wait_for(r"^\? keys")
    terminal.press("q")
    if page not in ("table", "e"):
        terminal.wait_for(f"^meadow: {HEAD}$")
        terminal.press("q")
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert terminal.is_as_it_was()


def test_it_outlives_a_runner_that_is_killed(
    tmp_path: Path, runner: Runner, terminal: Terminal
) -> None:
    top(terminal, runner)
    runner.process.kill()
    runner.process.wait()
    runner.ended = True
    terminal.wait_for("the runner is not there; this is how it was")
    terminal.wait_for(f"AWAY meadow: {HEAD}")
    terminal.press("r")
    terminal.wait_for("nobody is there who could do that")
    with Runner(tmp_path, None, FILE) as successor:
        successor.wait_for(Ev.RUNNER_RESUMED)
        terminal.wait_without("AWAY")
        terminal.wait_for(f"^meadow: {HEAD}$")
        terminal.wait_for("^alice +default +Running")
        # It is asked again, and not only looked at.
        terminal.press("r")
        terminal.wait_for(r"^restart alice\?")
        mark = successor.mark()
        terminal.press("y")
        successor.wait_started("alice", since=mark)
        terminal.press("q")
        terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert terminal.is_as_it_was()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_the_terminal_as_it_was(
    runner: Runner, terminal: Terminal, number: signal.Signals
) -> None:
    top(terminal, runner)
    os.kill(pid_of_top(terminal), number)
    terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert terminal.is_as_it_was()


def test_ctrl_c_leaves_from_anywhere(runner: Runner, terminal: Terminal) -> None:
    for keys in ("/", "?", "r", "l"):
        terminal.run("clear")
        top(terminal, runner)
        terminal.press(keys)
        terminal.press("C-c")
        terminal.wait_for(f"^{re.escape(PROMPT)}$")
    assert terminal.is_as_it_was()
