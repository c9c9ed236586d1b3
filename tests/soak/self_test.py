"""Whether the checker finds what it is there to find: each promise is broken on purpose, once.

What plays the runner here are processes of this test. A checker that finds nothing fails, and so
does one that finds anything where all is well.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import checker

HERE = Path(__file__).parent
BOUND = 3.0


class Stage:
    """A checker, and agents that do what a test wants."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="soak-self-test-"))
        (self.directory / "locks").mkdir()
        self.program = self.directory / "agent.py"
        shutil.copy(HERE / "agent.py", self.program)
        self.agents: list[subprocess.Popen[bytes]] = []
        self.stranger = subprocess.Popen(["sleep", "600"])
        self.runner = self.spawn([sys.executable, "-c", RUNNER])
        self.truth = {
            "program": str(self.program), "locks": str(self.directory / "locks"),
            "mark": f"SOAK={self.directory}", "wanted": {"a": "1", "b": "1"}, "bound": BOUND,
            "strangers": [named(self.stranger.pid)], "runner": named(self.runner.pid),
            "limits": {"files": 50, "threads": 20, "MiB": 200},
        }  # fmt: skip
        self.phase("trouble")
        command = [sys.executable, HERE / "checker.py", self.directory]
        self.checker = subprocess.Popen(command)

    def phase(self, phase: str) -> None:
        self.truth |= {"phase": phase, "since": time.monotonic()}
        checker.write(self.directory / "truth.json", self.truth)

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        env = {"PATH": os.environ["PATH"], "SOAK": str(self.directory)}
        return subprocess.Popen(command, env=env, stdin=subprocess.PIPE)

    def agent(self, entity: str, *more: str, version: str = "1") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(self.program), "--entity", entity]
        agent = self.spawn([*command, "--version", version, *more])
        self.agents.append(agent)
        return agent

    def rest(self) -> None:
        """Begins a quiet time, and waits until the checker finds all at rest."""
        self.phase("quiet")
        wait(lambda: self.seen().get("rested"), "at rest")

    def seen(self) -> dict[str, object]:
        try:
            seen = json.loads((self.directory / "seen.json").read_text())
        except OSError:
            return {}
        return seen if seen["since"] == self.truth["since"] else {}

    def found(self) -> list[str]:
        path = self.directory / "violations.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line)["rule"] for line in lines]

    def close(self) -> None:
        (self.directory / "end").touch()
        self.checker.wait(20)
        for process in [*self.agents, self.stranger, self.runner]:
            process.kill()
            process.wait()
        for pid in checker.bearing(f"SOAK={self.directory}".encode()):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.directory)


# Something with a child that has ended, or with many files, if it is told so on its stdin.
RUNNER = """
import os, sys
for line in sys.stdin:
    files = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
"""


def named(pid: int) -> tuple[int, int]:
    seen = checker.stat(pid)
    assert seen is not None
    return pid, seen[2]


def wait(look: Callable[[], object], what: str, timeout: float = 30) -> None:
    until = time.monotonic() + timeout
    while not look():
        assert time.monotonic() < until, f"not within {timeout} s: {what}"
        time.sleep(0.02)


def well(stage: Stage) -> None:
    stage.agent("b", "--kind", "tree", "--locks", str(stage.directory / "locks"))
    stage.rest()
    stage.phase("trouble")
    time.sleep(0.5)


def doubled(stage: Stage) -> None:
    stage.agent("b")
    stage.agent("a")


def doubled_by_its_lock(stage: Stage) -> None:
    locks = ["--locks", str(stage.directory / "locks")]
    stage.agent("b", *locks)
    wait(lambda: (stage.directory / "locks" / "b").exists(), "the lock")
    stage.agent("b", *locks).wait()


def left_by_its_leader(stage: Stage) -> None:
    """A tree of which the leader has ended, and a new one beside it."""
    leader = stage.agent("b", "--kind", "tree", "--locks", str(stage.directory / "locks"))
    program = str(stage.program)
    wait(lambda: len(checker.agents(program)) == 4, "its children")
    leader.kill()
    leader.wait()
    stage.agent("b")


def missing(stage: Stage) -> None:
    stage.phase("quiet")


def stale(stage: Stage) -> None:
    stage.agent("b", version="0")
    stage.phase("quiet")


def outliving(stage: Stage) -> None:
    stage.agent("b")
    stage.agent("c")
    stage.phase("quiet")


def moved(stage: Stage) -> None:
    agent = stage.agent("b")
    stage.rest()
    agent.kill()
    agent.wait()


def stranger(stage: Stage) -> None:
    stage.stranger.kill()
    stage.stranger.wait()


def holds(stage: Stage) -> None:
    assert stage.runner.stdin is not None
    stage.runner.stdin.write(b"more\n")
    stage.runner.stdin.flush()


def orphan(stage: Stage) -> None:
    stage.phase("end")


def main() -> None:
    cases = [
        ("doubled", doubled), ("doubled", doubled_by_its_lock), ("doubled", left_by_its_leader),
        ("missing", missing), ("stale", stale), ("outliving", outliving), ("moved", moved), ("stranger", stranger),
        ("holds", holds), ("orphan", orphan), (None, well),
    ]  # fmt: skip
    failed = False
    for rule, act in cases:
        stage = Stage()
        try:
            stage.agent("a")
            act(stage)
            if rule is not None:
                wait(lambda: rule in stage.found(), f"{rule} is found", 20)
        except AssertionError as error:
            print(f"{act.__name__}: {error}")
        finally:
            found = set(stage.found())
            stage.close()
        good = found == ({rule} if rule else set())
        failed |= not good
        print(f"{'ok    ' if good else 'FAILED'}  {act.__name__}: {sorted(found) or 'nothing'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
