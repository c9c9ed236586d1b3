"""The runner's JSON log: what its lines are called, and how a test waits for one.

The names stand here and nowhere else in the suite.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


class Ev:
    """The values of `event`."""

    RUNNER_STARTED = "runner.started"
    RUNNER_STOPPING = "runner.stopping"
    RUNNER_RESUMED = "runner.resumed"
    RUNNER_KILLING = "runner.killing"
    RUNNER_STOPPED = "runner.stopped"
    STARTING = "agent.starting"
    STARTED = "agent.started"
    STOPPING = "agent.stopping"
    KILLING = "agent.killing"
    NOT_STARTED = "agent.not_started"
    # Its first process ended; others of its group may live.
    LEADER_EXITED = "agent.leader_exited"
    # No process of its group lives any more: ended by itself, or stopped by the runner.
    EXITED = "agent.exited"
    GONE = "agent.gone"
    BACKOFF = "agent.backoff"
    WAITING_FOR_WORLD = "agent.waiting_for_world"
    COMPLETED = "agent.completed"
    FAILED = "agent.failed"
    PENDING = "agent.pending"
    # What it was doing that is stopped for not doing its work.
    HUNG = "agent.hung"
    # Of many that crash alike.
    CRASH_STORM = "agents.crash_storm"
    # For the cluster that its pod is to run in.
    WAITS = "agent.waits"
    SUSPENDED = "entity.suspended"
    CONFIG_APPLIED = "config.applied"
    CONFIG_REJECTED = "config.rejected"
    CONTROL_REFUSED = "control.refused"
    WORLD_CONNECTED = "world.connected"
    WORLD_LOST = "world.lost"
    WORLD_WAITING = "world.waiting"
    WORLD_BACK = "world.back"
    CLUSTER_REACHED = "cluster.reached"
    CLUSTER_LOST = "cluster.lost"
    CLUSTER_BACK = "cluster.back"
    LEASE_HELD = "lease.held"
    LEASE_WAITING = "lease.waiting"
    LEASE_LOST = "lease.lost"
    ROLLOUT_COMPLETED = "rollout.completed"
    REMOVAL_HELD = "removal.held"
    METRICS_LISTENING = "metrics.listening"
    TRACES_FAILED = "traces.failed"
    TRACES_SENT = "traces.sent"
    PROJECT_SYNCING = "project.syncing"
    PROJECT_SYNCED = "project.synced"
    PROJECT_FAILED = "project.sync_failed"


@dataclass(frozen=True)
class Line:
    """One line of the log: its fields, when it was read, and its text."""

    fields: dict[str, Any]
    at: float
    text: str

    @property
    def event(self) -> str:
        return str(self.fields.get("event", ""))

    @property
    def entity(self) -> str:
        return str(self.fields.get("entity", ""))

    @property
    def reason(self) -> str:
        return str(self.fields.get("reason", ""))

    @property
    def pid(self) -> int:
        return int(self.fields["pid"])

    def is_a(self, event: str, **fields: Any) -> bool:
        """Whether it is this event, with these fields; numbers may be written as strings."""
        return self.event == event and all(
            key in self.fields and str(self.fields[key]) == str(value)
            for key, value in fields.items()
        )


def parse(text: str) -> Line:
    """Reads a line with its fields flattened or under `fields`; other text has no fields."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return Line({}, time.monotonic(), text)
    nested = value.pop("fields", None)
    if isinstance(nested, dict):
        value |= nested
    return Line(value, time.monotonic(), text)


class Log:
    """Lines, as they come in. A test remembers a place in it by `mark()`."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._closed = False
        self._news = threading.Condition()

    def feed(self, source: Iterable[str]) -> None:
        """Reads to the end of `source`; to be called on a thread of its own."""
        for text in source:
            with self._news:
                self._lines.append(parse(text.rstrip("\n")))
                self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()

    def mark(self) -> int:
        with self._news:
            return len(self._lines)

    def lines(self, since: int = 0) -> list[Line]:
        with self._news:
            return self._lines[since:]

    def find(self, event: str, since: int = 0, **fields: Any) -> list[Line]:
        return [line for line in self.lines(since) if line.is_a(event, **fields)]

    def wait_for(
        self, event: str, *, timeout: float = 15.0, since: int = 0, **fields: Any
    ) -> Line:
        """The first such line after `since`, once it is there."""
        return self.wait_until(
            lambda line: line.is_a(event, **fields),
            f"{event} {fields or ''}",
            timeout=timeout,
            since=since,
        )

    def wait_until(
        self, wanted: Callable[[Line], bool], what: str, *, timeout: float, since: int = 0
    ) -> Line:
        deadline = time.monotonic() + timeout
        looked = since
        with self._news:
            while True:
                for line in self._lines[looked:]:
                    if wanted(line):
                        return line
                looked = len(self._lines)
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    why = "the log ended" if self._closed else f"not within {timeout} s"
                    raise AssertionError(f"no {what.strip()}: {why}\n{self.tail()}")
                self._news.wait(left)

    def tail(self, count: int = 40) -> str:
        with self._news:
            return "\n".join(line.text for line in self._lines[-count:])
