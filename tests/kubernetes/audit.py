"""The API server's own history of pods, from its audit log, and what must not be found in it.

Nobody is asked: neither the runner nor, at a later time, the server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from manifests import ENTITY, INSTANCE, RUN
from processes import eventually

ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Ran:
    """A container's time, in Unix seconds; whole ones, as the kubelet tells no more."""

    container: str
    started: float
    finished: float | None


@dataclass
class Life:
    """One pod, from the first record of it on. Times are Unix seconds."""

    uid: str
    name: str
    entity: str
    instance: str
    run: str
    # It was there from then on at the latest.
    created: float
    # Until then at the least: None while there is neither a deletion nor an end of its containers.
    ended: float | None = None
    # When somebody first asked for its deletion.
    asked_to_end: float | None = None
    phases: list[str] = field(default_factory=list)
    # By container and the time of its start: each start is one.
    ran: dict[tuple[str, float], Ran] = field(default_factory=dict)
    # The last record of it.
    seen: float = 0.0


@dataclass(frozen=True)
class Double:
    """Two pods that were alive for one entity, certainly from `since` until `until`."""

    entity: str
    first: str
    second: str
    since: float
    until: float | None

    def __str__(self) -> str:
        until = "now" if self.until is None else f"{self.until:.3f}"
        return f"{self.entity}: {self.first} and {self.second}, from {self.since:.3f} to {until}"


def doubled(history: Iterable[Life]) -> list[Double]:
    """The pairs of pods that were alive at the same time for one entity.

    A pod is alive from its creation until it is removed or its phase is final. The times are such
    that what overlaps did so for certain: a creation counts when it was answered, a removal when
    it was asked for.
    """
    found = []
    by_age = sorted((life for life in history if life.entity), key=lambda life: life.created)
    for first, second in combinations(by_age, 2):
        if first.entity != second.entity:
            continue
        if (first.ended is None or first.ended > second.created) and (
            second.ended is None or second.ended > second.created
        ):
            ends = [life.ended for life in (first, second) if life.ended is not None]
            until = min(ends) if ends else None
            found.append(Double(first.entity, first.name, second.name, second.created, until))
    return found


class Audit:
    """The audit log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._half = ""
        self._events: list[dict[str, Any]] = []

    @classmethod
    def of_environment(cls) -> Audit:
        """The test is skipped, and says so, where there is no such log."""
        path = os.environ.get("K8S_AUDIT_LOG")
        if not path:
            pytest.skip("NOT TESTED: who was alive when: there is no audit log (K8S_AUDIT_LOG)")
        return cls(Path(path))

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """The writes to its pods that were successful, in the order in which they ended."""
        with self.path.open() as log:
            log.seek(self._read)
            text = self._half + log.read()
            self._read = log.tell()
        *lines, self._half = text.split("\n")
        self._events += (event for line in lines for event in parse(line))
        return [event for event in self._events if event["objectRef"].get("namespace") == namespace]

    def history(self, namespace: str, there: Iterable[str] | None = None) -> list[Life]:
        """The pods of the namespace, oldest first.

        `there` are the uids of those that there are now, where somebody looked: a server that was
        killed may have removed a pod and not written that down. Such a pod counts until its last
        record.
        """
        return history(self.events(namespace), there)

    def wait(
        self,
        namespace: str,
        wanted: Callable[[list[Life]], Any],
        what: str,
        timeout: float = 30.0,
    ) -> list[Life]:
        """The history, once it is as wanted: the log is written after the answer."""

        def look() -> list[Life] | None:
            lives = self.history(namespace)
            return lives if wanted(lives) else None

        lives = eventually(look, what, timeout)
        assert lives is not None
        return lives


def parse(line: str) -> Iterator[dict[str, Any]]:
    """The event of a line. A server that was killed leaves half of one, and the next goes on it."""
    for text in (line, line[line.rfind('{"kind":"Event"') :]):
        try:
            event = json.loads(text)
        except ValueError:
            continue
        if 200 <= event.get("responseStatus", {}).get("code", 0) < 300 and "objectRef" in event:
            yield event
        return


def history(events: Iterable[dict[str, Any]], there: Iterable[str] | None = None) -> list[Life]:
    """What became of each pod, by the records of all writes."""
    lives: dict[str, Life] = {}
    for event in events:
        began = seconds(event["requestReceivedTimestamp"])
        answered = seconds(event["stageTimestamp"])
        for pod in pods_of(event):
            life = lives.get(pod["metadata"]["uid"])
            if life is None:
                life = lives[pod["metadata"]["uid"]] = born(pod, answered)
            note(life, pod, began)
            life.seen = max(life.seen, began)
            if removed(event, pod) and life.ended is None:
                life.ended = began
    known = None if there is None else set(there)
    for life in lives.values():
        if life.ended is None and known is not None and life.uid not in known:
            life.ended = life.seen
    return sorted(lives.values(), key=lambda life: life.created)


def pods_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a write was answered with; a binding, for example, is answered with none."""
    answer = event.get("responseObject") or {}
    if answer.get("kind") == "Pod":
        return [answer]
    if answer.get("kind") == "PodList":
        return list(answer["items"])
    return []


def born(pod: dict[str, Any], at: float) -> Life:
    meta = pod["metadata"]
    labels = meta.get("labels", {})
    return Life(
        uid=meta["uid"],
        name=meta["name"],
        entity=meta.get("annotations", {}).get(ENTITY, ""),
        instance=labels.get(INSTANCE, ""),
        run=labels.get(RUN, ""),
        created=at,
    )


def note(life: Life, pod: dict[str, Any], at: float) -> None:
    """What the pod's status says of its containers, and whether it is to end."""
    if "deletionTimestamp" in pod["metadata"] and life.asked_to_end is None:
        life.asked_to_end = at
    status = pod.get("status", {})
    phase = status.get("phase", "")
    if phase and life.phases[-1:] != [phase]:
        life.phases.append(phase)
    if phase in ENDED and life.ended is None:
        life.ended = at
    for container in status.get("containerStatuses", []):
        name = container["name"]
        for state in (container.get("lastState", {}), container.get("state", {})):
            if running := state.get("running"):
                started = seconds(running["startedAt"])
                life.ran.setdefault((name, started), Ran(name, started, None))
            # Without a start where it never came to one.
            elif (over := state.get("terminated")) and over.get("startedAt"):
                started = seconds(over["startedAt"])
                life.ran[name, started] = Ran(name, started, seconds(over["finishedAt"]))


def removed(event: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether the object is gone after this: no grace is left, and nobody holds it.

    A collection is answered with its pods as they were before: there the request tells.
    """
    meta = pod["metadata"]
    if meta.get("finalizers"):
        return False
    if event["verb"] == "deletecollection":
        options = event.get("requestObject") or {}
        at_once = "gracePeriodSeconds=0" in event["requestURI"]
        return at_once or options.get("gracePeriodSeconds") == 0
    return bool(meta.get("deletionGracePeriodSeconds") == 0)


def seconds(timestamp: str) -> float:
    """Unix seconds of a time as Kubernetes writes it."""
    return datetime.fromisoformat(timestamp).timestamp()
