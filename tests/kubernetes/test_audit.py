"""What the audit log is read as, with made-up records: no cluster is needed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from audit import Audit, Life, doubled, history
from manifests import ENTITY


def life(name: str, created: float, ended: float | None, entity: str = "alice") -> Life:
    return Life(name, name, entity, "test", "1", created, ended)


def test_one_after_the_other_is_no_double() -> None:
    assert doubled([]) == []
    assert doubled([life("a", 1, None)]) == []
    assert doubled([life("a", 1, 2), life("b", 2, 3), life("c", 3, None)]) == []


def test_one_beside_the_other_is_a_double() -> None:
    (double,) = doubled([life("b", 2, None), life("a", 1, 2.001)])
    assert (double.first, double.second, double.since, double.until) == ("a", "b", 2, 2.001)
    (double,) = doubled([life("a", 1, None), life("b", 2, 3)])
    assert (double.since, double.until) == (2, 3)
    (double,) = doubled([life("a", 1, None), life("b", 2, None)])
    assert double.until is None and "until" not in str(double) and "now" in str(double)


def test_a_double_is_of_one_entity() -> None:
    assert doubled([life("a", 1, None), life("b", 2, None, "bob")]) == []
    # Pods that are nobody's agents.
    assert doubled([life("a", 1, None, ""), life("b", 2, None, "")]) == []


def test_a_double_is_found_past_others() -> None:
    lives = [life("a", 1, 9), life("x", 2, 3, "bob"), life("b", 4, 5), life("c", 6, 7)]
    assert [(each.first, each.second) for each in doubled(lives)] == [("a", "b"), ("a", "c")]


def record(verb: str, at: float, name: str, **more: Any) -> dict[str, Any]:
    """A write that was asked for at `at` and answered half a second later."""
    meta = {"uid": name, "name": name, "annotations": {ENTITY: "alice"}, **more.pop("meta", {})}
    pod = {"kind": "Pod", "metadata": meta, "status": more.pop("status", {})}
    return {
        "kind": "Event",
        "verb": verb,
        "requestURI": "/api/v1/namespaces/n/pods",
        "objectRef": {"resource": "pods", "namespace": "n"},
        "requestReceivedTimestamp": iso(at),
        "stageTimestamp": iso(at + 0.5),
        "responseStatus": {"code": 200},
        "responseObject": pod,
        **more,
    }


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def ends(events: list[dict[str, Any]], there: list[str] | None = None) -> list[float | None]:
    return [life.ended for life in history(events, there)]


def test_a_pod_lives_until_its_deletion_is_final() -> None:
    asked = {"deletionTimestamp": iso(7), "deletionGracePeriodSeconds": 5}
    final = {"deletionTimestamp": iso(4), "deletionGracePeriodSeconds": 0}
    begun = [record("create", 1, "a"), record("delete", 2, "a", meta=asked)]
    (pod,) = history(begun)
    assert (pod.created, pod.asked_to_end, pod.ended) == (1.5, 2, None)
    assert ends([*begun, record("delete", 4, "a", meta=final)]) == [4]
    held = record("delete", 4, "a", meta=final | {"finalizers": ["runner.dev/held"]})
    assert ends([*begun, held]) == [None]
    assert ends([*begun, held, record("patch", 6, "a", meta=final)]) == [6]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_lives_until_its_phase_is_final(phase: str) -> None:
    running = {"phase": "Running"}
    events = [record("create", 1, "a"), record("patch", 2, "a", status=running)]
    assert ends(events) == [None]
    over = record("patch", 3, "a", status={"phase": phase})
    # It is deleted later, which is no news.
    final = {"deletionTimestamp": iso(9), "deletionGracePeriodSeconds": 0}
    assert ends([*events, over, record("delete", 9, "a", meta=final)]) == [3]


def test_a_collection_tells_by_what_was_asked() -> None:
    pod = record("create", 1, "a")
    pods = {"kind": "PodList", "items": [pod["responseObject"]]}
    at_once = {"gracePeriodSeconds": 0}
    for asked, ended in ((at_once, 2), ({"gracePeriodSeconds": 5}, None), (None, None)):
        event = record("deletecollection", 2, "a", responseObject=pods, requestObject=asked)
        assert ends([pod, event]) == [ended]


def test_what_was_not_written_down_ends_with_the_last_record() -> None:
    events = [record("create", 1, "a"), record("patch", 4, "a", status={"phase": "Running"})]
    assert ends(events, ["a"]) == [None]
    assert ends(events, []) == [4]


def test_a_container_runs_from_start_to_finish() -> None:
    running = [{"name": "agent", "state": {"running": {"startedAt": iso(2)}}}]
    over = {"terminated": {"startedAt": iso(2), "finishedAt": iso(5)}}
    again = [{"name": "agent", "state": {"running": {"startedAt": iso(6)}}, "lastState": over}]
    events = [record("create", 1, "a")]
    for at, statuses in ((3, running), (7, again)):
        events.append(record("patch", at, "a", status={"containerStatuses": statuses}))
    (pod,) = history(events)
    times = [(each.started, each.finished) for each in pod.ran.values()]
    assert times == [(2, 5), (6, None)]


def test_the_log_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    first, second = (json.dumps(record("create", at, at * "a")) for at in (1, 2))
    compact = json.dumps(record("create", 3, "aaa"), separators=(",", ":"))
    refused = json.dumps(record("create", 4, "aaaa", responseStatus={"code": 409}))
    audit = Audit(path)

    def names() -> list[str]:
        return [life.name for life in audit.history("n")]

    path.write_text(first + "\n" + second[:40])
    assert names() == ["a"]
    path.write_text(first + "\n" + second + "\n" + refused + "\n")
    assert names() == ["a", "aa"]
    assert audit.history("another") == []
    # The server was killed within a line.
    with path.open("a") as log:
        log.write(second[:60] + compact + "\n")
    assert names() == ["a", "aa", "aaa"]
