"""The checker: sees from outside whether a runner keeps its promises.

It reads /proc, the locks of the agents, and the truth of who is in the world, which whoever makes
the trouble writes to `truth.json`. It never asks the runner anything, nor reads its log.

    checker.py DIR      until there is a file DIR/end; then says in DIR/summary.json what it saw

What it holds against a runner is a line each of DIR/violations.jsonl:

    doubled    two trees of processes for one entity at one time
    stale      in a quiet time, somebody has an agent that is not as the file says
    missing    in a quiet time, somebody has nobody for longer than the bound
    outliving  in a quiet time, somebody is there for an entity that is gone
    restless   in a quiet time, it does not come to rest
    moved      after it came to rest, somebody is born or ends
    stranger   a process that is none of its business has ended
    holds      the runner has too many files, threads, zombies, or too much memory
    orphan     after the end, something of it is there
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

SAMPLE_SECONDS = 0.03
# So long the same and right: then it is at rest.
REST_SECONDS = 3.0
# So long may a child of the runner's that has ended wait to be seen.
ZOMBIE_SECONDS = 10.0


@dataclass(frozen=True)
class Process:
    """An agent, or what belongs to one. It is named for good by its number and its start."""

    pid: int
    start: int
    entity: str
    # The leader of its tree.
    tree: int
    # The edit of the file that it was started by.
    version: str

    @property
    def leads(self) -> bool:
        return self.tree == self.pid


def stat(pid: int) -> tuple[str, int, int] | None:
    """State, parent and start time; none for who is not there."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[19])


def lives(pid: int, start: int) -> bool:
    found = stat(pid)
    return found is not None and found[0] not in "ZX" and found[2] == start


def agents(program: str) -> list[Process]:
    """All who run this file, which nobody else has."""
    mark = os.fsencode(program)
    found, parents = {}, {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        pid = int(name)
        with suppress(OSError, ValueError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if mark not in words:
                continue
            seen = stat(pid)
            if seen is None or seen[0] in "ZX":
                continue
            entity = words[words.index(b"--entity") + 1].decode()
            tree = int(words[words.index(b"--of") + 1]) if b"--of" in words else pid
            version = words[words.index(b"--version") + 1].decode()
            found[pid], parents[pid] = Process(pid, seen[2], entity, tree, version), seen[1]
    # Who is about to become a child has its parent's words until then.
    for pid, process in found.items():
        parent = found.get(parents[pid])
        if process.leads and parent is not None and parent.entity == process.entity:
            found[pid] = replace(process, tree=parent.tree)
    return list(found.values())


def bearing(mark: bytes) -> list[int]:
    """Whose environment has this."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                if (seen := stat(int(name))) is not None and seen[0] not in "ZX":
                    found.append(int(name))
    return found


def marked(entity: str) -> list[dict[str, Any]]:
    """All that say that they are of this entity, whatever they run, for a person to look at."""
    found = []
    for pid in bearing(f"RUNNER_ENTITY_ID={entity}".encode()):
        with suppress(OSError):
            directory = Path(f"/proc/{pid}")
            words = (directory / "cmdline").read_text().split("\0")
            told = {name: (directory / name).read_text() for name in ("stat", "wchan", "cgroup")}
            found.append({"pid": pid, "cmdline": words, **told})
    return found


@dataclass
class Checker:
    """What was seen so far."""

    directory: Path
    truth: dict[str, Any] = field(default_factory=dict)
    samples: int = 0
    violations: int = 0
    reported: set[tuple[str, ...]] = field(default_factory=set)
    # Of the quiet time that is on: since when it is as it is, and since when it is at rest.
    same: frozenset[Process] = frozenset()
    same_since: float = 0.0
    rested: float | None = None
    zombies: dict[tuple[int, int], float] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)

    def report(self, rule: str, *what: str, **evidence: Any) -> None:
        """Once for each thing in each phase."""
        key = (rule, *what, str(self.truth.get("since")))
        if key in self.reported:
            return
        self.reported.add(key)
        self.violations += 1
        line = {"rule": rule, "what": what, "at": time.monotonic(), "phase": self.truth.get("phase")}
        with open(self.directory / "violations.jsonl", "a") as file:
            file.write(json.dumps(line | evidence) + "\n")

    def note(self, name: str, value: float) -> None:
        self.worst[name] = max(value, self.worst.get(name, 0))

    def look(self) -> None:
        before = self.truth
        with suppress(OSError, ValueError):
            self.truth = json.loads((self.directory / "truth.json").read_text())
        if not self.truth:
            return
        if before.get("since") != self.truth["since"]:
            self.same, self.same_since, self.rested = frozenset(), time.monotonic(), None
        seen = agents(self.truth["program"])
        self.samples += 1
        self.doubled(seen)
        self.locks()
        self.strangers()
        self.runner()
        if self.truth["phase"] == "quiet":
            self.quiet(frozenset(seen))
        elif self.truth["phase"] == "end":
            self.end(seen)
        self.publish()

    def doubled(self, seen: list[Process]) -> None:
        trees: dict[str, dict[int, Process]] = {}
        for process in seen:
            trees.setdefault(process.entity, {}).setdefault(process.tree, process)
        for entity, each in trees.items():
            first, *others = each.values()
            for other in others:
                # The look at all processes takes its time: were they there at one time?
                both = lives(first.pid, first.start) and lives(other.pid, other.start)
                if both and lives(first.pid, first.start):
                    self.report("doubled", entity, processes=[vars(first), vars(other)])

    def locks(self) -> None:
        for path in Path(self.truth["locks"]).glob("*.violations"):
            self.report("doubled", path.name, "by its lock", pids=path.read_text().split())

    def strangers(self) -> None:
        for pid, start in self.truth["strangers"]:
            if not lives(pid, start):
                self.report("stranger", str(pid))

    def runner(self) -> None:
        pid, start = self.truth["runner"]
        limits = self.truth["limits"]
        if not pid or not lives(pid, start):
            return
        # One that is about to end has no memory any more.
        with suppress(OSError, KeyError):
            files = len(os.listdir(f"/proc/{pid}/fd"))
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            fields = dict(line.split(":\t", 1) for line in status if ":\t" in line)
            memory = int(fields["VmRSS"].split()[0]) // 1024
            threads = int(fields["Threads"])
            if lives(pid, start):
                for name, value in (("files", files), ("threads", threads), ("MiB", memory)):
                    self.note(name, value)
                    if value > limits[name]:
                        self.report("holds", name, value=value, limit=limits[name])
        if self.samples % 10 == 0:
            self.ended_children(pid)

    def ended_children(self, parent: int) -> None:
        now = time.monotonic()
        found = {}
        for name in os.listdir("/proc"):
            seen = stat(int(name)) if name.isdigit() else None
            if seen is not None and seen[0] == "Z" and seen[1] == parent:
                key = (int(name), seen[2])
                found[key] = self.zombies.get(key, now)
                if now - found[key] > ZOMBIE_SECONDS:
                    self.report("holds", "zombie", name)
        self.zombies = found
        self.note("zombies", len(found))

    def quiet(self, seen: frozenset[Process]) -> None:
        now = time.monotonic()
        # Entity → version.
        versions = self.truth["wanted"]
        wanted = set(versions)
        led = {process.entity for process in seen if process.leads}
        there = {process.entity for process in seen}
        if seen != self.same:
            if self.rested is not None:
                changed = [vars(process) for process in seen ^ self.same]
                self.report("moved", changed=changed)
            self.same, self.same_since = seen, now
        stale = [it for it in seen if it.version != versions.get(it.entity, it.version)]
        right = led == wanted and there == wanted and not stale
        rests = now - max(self.same_since, self.truth["since"]) >= REST_SECONDS
        if right and rests and self.rested is None:
            self.rested = max(self.same_since, self.truth["since"])
            self.note("seconds to rest", self.rested - self.truth["since"])
        late = now - self.truth["since"] - self.truth["bound"]
        if self.rested is None and late > 0:
            for entity in wanted - led:
                self.report("missing", entity, processes=marked(entity))
            for entity in there - wanted:
                who = [vars(process) for process in seen if process.entity == entity]
                self.report("outliving", entity, processes=who)
            for process in stale:
                self.report("stale", process.entity, process=vars(process))
            if right and late > 2 * REST_SECONDS:
                self.report("restless", same_for=now - self.same_since)

    def end(self, seen: list[Process]) -> None:
        if time.monotonic() - self.truth["since"] < self.truth["bound"]:
            mine = seen or bearing(self.truth["mark"].encode())
            if mine:
                return
            self.rested = time.monotonic()
        else:
            for process in seen:
                self.report("orphan", str(process.pid), process=vars(process))
            for pid in bearing(self.truth["mark"].encode()):
                self.report("orphan", str(pid), cmdline=Path(f"/proc/{pid}/cmdline").read_text())
            self.rested = time.monotonic()

    def publish(self) -> None:
        state = {"since": self.truth["since"], "rested": self.rested, "violations": self.violations}
        write(self.directory / "seen.json", state)


def write(path: Path, value: Any) -> None:
    """Whole, or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(value))
    fresh.rename(path)


def main() -> None:
    directory = Path(sys.argv[1])
    checker = Checker(directory)
    born = time.monotonic()
    while not (directory / "end").exists():
        checker.look()
        time.sleep(SAMPLE_SECONDS)
    rate = checker.samples / (time.monotonic() - born)
    summary = {"violations": checker.violations, "samples": checker.samples, "looks a second": rate}
    write(directory / "summary.json", summary | checker.worst)


if __name__ == "__main__":
    main()
