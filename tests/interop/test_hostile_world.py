"""A world that means harm, and agents that run all the while: nobody loses anything by it.

One runner meets all that is done to its calls and connections, one after the other. Of each attack it is seen that it was met, that the
runner still does what it is asked in the middle of it, how much memory it took, and that all is
well as soon as the world is honest. The figures are in target/interop/hostile.txt; `-s` shows them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from attacks import CALLS, WATCHES, Case
from configs import PYTHON, quick
from hostile_world import HostileWorld, entity
from log import Ev
from paths import BUILD, PROJECT
from processes import stat_fields
from runner import Runner, run_once

ACTORS = ("alice", "bob", "carol")
# How long it may take in the middle of an attack to take an edited file, and to answer a verb.
# Far more than it takes: it is a bound, and the machine may be busy.
REACTS_SECONDS = 20.0
# How long a flood is let run: a length of time, not a wait for something.
FLOOD_SECONDS = 0.3
numbers = itertools.count(1)


def agent() -> dict[str, object]:
    """Light, and named by its path, so that it can be anywhere."""
    program = str(PROJECT / "agents" / "plain_agent.py")
    return {"command": [PYTHON[0], program, "--server={server}", "--entity={entity_id}"]}


def config(timeout_ms: int, cwd: Path) -> str:
    return quick(
        runner={"max_agents": 6},
        jit={"watch_interval_ms": 100},
        discovery={"timeout_ms": timeout_ms},
        agents={"default": agent() | {"cwd": str(cwd)}},
    )


def tree(root: Path, but: tuple[Path, ...]) -> dict[str, str]:
    """All that is under a directory: what it is, and what is in it."""
    found = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if Path(directory, name) not in but]
        for path in (Path(directory, name) for name in [*names, *files]):
            if path.is_file() and path not in but:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "directory"
    return found


@dataclass
class Arena:
    """A runner with agents, in a directory of which nothing but its own is to change."""

    root: Path
    world: HostileWorld
    runner: Runner
    pids: dict[str, int]
    born: dict[str, str]
    before: dict[str, str]
    timeout_ms: int = 1000
    guest: str | None = None

    @property
    def own(self) -> tuple[Path, ...]:
        runner = self.runner
        return (runner.config, runner.log_dir, runner.state_dir)

    def reset_peak(self) -> int:
        """The memory that it has now, from which on its peak is counted."""
        Path(f"/proc/{self.runner.process.pid}/clear_refs").write_text("5")
        return self.memory("VmRSS")

    def memory(self, what: str) -> int:
        status = Path(f"/proc/{self.runner.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{what}:"))
        return int(line.split()[1]) // 1024

    def configure(self, timeout_ms: int) -> float:
        """Saves another file; the seconds until it is in force."""
        mark, asked = self.runner.mark(), time.monotonic()
        self.runner.save(config(timeout_ms + next(numbers), self.root / "work"))
        self.timeout_ms = timeout_ms
        self.runner.log.wait_for(Ev.CONFIG_APPLIED, since=mark, timeout=REACTS_SECONDS)
        return time.monotonic() - asked

    def verb(self) -> float:
        """The seconds that `runner get agents` takes."""
        asked = time.monotonic()
        state = ["--state-dir", str(self.runner.state_dir)]
        done = run_once("get", "agents", *state, timeout=REACTS_SECONDS)
        assert done.returncode == 0, done.stderr
        assert all(actor in done.stdout for actor in ACTORS), done.stdout
        return time.monotonic() - asked

    def untouched(self, since: int) -> None:
        """They are the very processes that they were, and nobody thought of ending them."""
        mine = [line for line in self.runner.touched(since) if any(it in line for it in ACTORS)]
        assert mine == []
        assert {name: birth(pid) for name, pid in self.pids.items()} == self.born

    def converges(self) -> float:
        """Somebody comes, or who came the last time leaves. The seconds until that is done."""
        runner, asked, mark = self.runner, time.monotonic(), self.runner.mark()
        if self.guest is None:
            self.guest = f"guest{next(numbers)}"
            self.world.entities.append(entity(self.guest))
            runner.log.wait_for(Ev.STARTED, entity=self.guest, since=mark, timeout=30)
        else:
            self.world.entities.pop()
            runner.log.wait_for(Ev.GONE, entity=self.guest, since=mark, timeout=30)
            self.guest = None
        return time.monotonic() - asked


def birth(pid: int) -> str:
    return stat_fields(Path("/proc") / str(pid))[22 - 3]


@contextmanager
def started(root: Path) -> Iterator[Arena]:
    for name in ("runner", "work", "outside"):
        (root / name).mkdir()
    (root / "outside" / "canary").write_text("alive")
    with HostileWorld([entity(name) for name in ACTORS]) as world:
        with Runner(root / "runner", world.address, config(1000, root / "work")) as runner:
            pids = runner.wait_started(*ACTORS)
            born = {name: birth(pid) for name, pid in pids.items()}
            arena = Arena(root, world, runner, pids, born, {})
            arena.before = tree(root, arena.own)
            yield arena
            world.be_honest()


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with started(tmp_path_factory.mktemp("hostile")) as arena:
        yield arena


@pytest.fixture(scope="module")
def figures() -> Iterator[list[str]]:
    figures: list[str] = []
    yield figures
    report(figures)


def report(figures: list[str]) -> None:
    columns = ("MiB", "peak MiB", "edit s", "verb s", "honest s")
    head = f"{'attack':36}" + "".join(f"{column:>10}" for column in columns)
    text = "\n".join([head, *figures]) + "\n"
    (BUILD / "hostile.txt").write_text(text)
    print(f"\n{text}")


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case.name)
def test_nobody_loses_anything_by(arena: Arena, figures: list[str], case: Case) -> None:
    assert arena.runner.process.poll() is None, f"it is gone\n{arena.runner.log.tail()}"
    figures.append(meet(arena, case))


@pytest.mark.parametrize("case", WATCHES, ids=lambda case: case.name)
def test_nobody_loses_anything_by_events(tmp_path: Path, figures: list[str], case: Case) -> None:
    """Of a runner of its own: one that had many bad watches takes its time before the next one."""
    with started(tmp_path) as arena:
        figures.append(meet(arena, case))


def meet(arena: Arena, case: Case) -> str:
    """The attack, from before it to after it. Its figures, as a line of the table."""
    world, runner = arena.world, arena.runner
    if arena.timeout_ms != case.timeout_ms:
        arena.configure(case.timeout_ms)
    before = arena.reset_peak()
    mark = runner.mark()
    world.attack(welcome=case.welcome, on_list=case.on_list, on_watch=case.on_watch)
    try:
        world.wait_met(case.times, 90, to_the_end=case.to_the_end)
        time.sleep(FLOOD_SECONDS)
        edit = arena.configure(case.timeout_ms)
        verb = arena.verb()
        arena.untouched(mark)
    finally:
        world.be_honest()
    honest = arena.converges()
    arena.untouched(mark)
    assert tree(arena.root, arena.own) == arena.before, "only what is the runner's may change"
    raw = [line.text for line in runner.log.lines(mark) if not line.text.isprintable()]
    assert raw == [], "a line of the log with what a terminal acts upon"
    peak = arena.memory("VmHWM")
    assert peak - before <= case.takes_mib, f"{before} MiB, then {peak}"
    return f"{case.name:36}{before:10}{peak:10}{edit:10.2f}{verb:10.2f}{honest:10.2f}"
