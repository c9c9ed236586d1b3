"""The harness itself, with plain pods: what it must see, wait for and survive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import V1Pod

from audit import Audit, Life, doubled
from cluster import Cluster, Namespace
from configs import foragers
from demo_world import DemoWorld
from images import Image
from kit import PAUSED, Kit
from manifests import pod
from processes import eventually
from world import World

API_SERVER = "kube-apiserver"
FOREVER = ["/bin/python", "-m", "agents.plain_agent"]


@pytest.fixture
def demo_world(tmp_path: Path) -> Iterator[DemoWorld]:
    with DemoWorld(tmp_path, foragers("alice", "bob")) as world:
        yield world


def forager(image: Image, world: DemoWorld, entity: str) -> dict[str, Any]:
    command = ["/bin/runner", "agent", "--server", world.address, "--entity", entity]
    return pod(f"agent-{entity}", image.name, command, entity=entity)


def python_agent(image: Image, address: str, entity: str) -> dict[str, Any]:
    command = ["/bin/python", "-m", "agents.random_agent"]
    command += ["--server", address, "--entity", entity]
    return pod(f"agent-{entity}", image.name, command, entity=entity)


def test_agents_of_both_images_lease_in_the_demo_world(
    namespace: Namespace, demo_world: DemoWorld, runner_image: Image, agents_image: Image
) -> None:
    namespace.create(forager(runner_image, demo_world, "alice"))
    namespace.create(python_agent(agents_image, demo_world.address, "bob"))
    demo_world.wait_leased("alice", "bob")
    # Both are told of later than it is so.
    namespace.wait_phase("agent-bob", "Running")
    eventually(lambda: "leased bob" in namespace.log("agent-bob"), "bob says so")

    # SIGTERM comes through, and there is time to release.
    for name in ("agent-alice", "agent-bob"):
        namespace.delete(name)
    demo_world.wait_leased("alice", "bob", leased=False)
    namespace.wait_gone("agent-alice", "agent-bob")


def test_a_python_agent_leases_in_the_python_world(
    namespace: Namespace, agents_image: Image
) -> None:
    with World() as world:
        world.add("alice")
        namespace.create(python_agent(agents_image, world.address, "alice"))
        running = namespace.wait_phase("agent-alice", "Running")
        assert running.spec.node_name == namespace.cluster.node()
        eventually(lambda: world.leases().get("alice"), "alice is leased")


def test_waiting_is_bounded_and_says_what_was_seen(
    namespace: Namespace, runner_image: Image
) -> None:
    namespace.create(pod("over", runner_image.name, ["/bin/runner", "--version"]))
    namespace.wait_phase("over", "Succeeded")
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"not within 2 s: .*last seen: \['over Succeeded'\]"):
        namespace.wait_phase("over", "Running", timeout=2)
    assert time.monotonic() - began < 10


def test_pods_are_chosen_by_label(namespace: Namespace, runner_image: Image) -> None:
    for run, instance in ((1, "x"), (2, "x"), (1, "y")):
        name = f"agent-{instance}-{run}"
        namespace.create(pod(name, runner_image.name, ["/bin/runner"], instance=instance, run=run))
    assert len(namespace.pods()) == 3
    assert len(namespace.pods(instance="x")) == 2
    (chosen,) = namespace.pods(instance="x", run="2")
    assert chosen.metadata.name == "agent-x-2"
    assert namespace.wait(len, "two of them", instance="x") == 2


def test_the_audit_log_tells_a_life(
    namespace: Namespace, audit: Audit, agents_image: Image
) -> None:
    crash = [*FOREVER, "--crash-after-ms=100"]
    namespace.create(pod("crash", agents_image.name, crash, entity="alice"))
    namespace.wait_phase("crash", "Failed")
    namespace.create(pod("stays", agents_image.name, FOREVER, entity="alice", run=2))
    namespace.wait_phase("stays", "Running")
    namespace.delete("stays")
    namespace.wait_gone("stays")

    def ended(lives: list[Life]) -> bool:
        return len(lives) == 2 and all(life.ended for life in lives)

    crashed, stayed = audit.wait(namespace.name, ended, "two pods that ended")
    assert (crashed.name, crashed.entity, crashed.run) == ("crash", "alice", "1")
    assert crashed.phases[-1] == "Failed" and crashed.asked_to_end is None
    (ran,) = crashed.ran.values()
    assert ran.finished is not None
    assert (stayed.name, stayed.instance, stayed.run) == ("stays", "test", "2")
    # Its deletion is final when the kubelet has ended its container, and not when it was asked for.
    assert stayed.asked_to_end and stayed.ended and stayed.ended > stayed.asked_to_end
    assert stayed.phases[:2] == ["Pending", "Running"]
    assert doubled([crashed, stayed]) == []


def test_a_double_is_seen_while_the_first_is_being_ended(
    namespace: Namespace, audit: Audit, agents_image: Image
) -> None:
    namespace.create(pod("first", agents_image.name, FOREVER, entity="alice"))
    namespace.create(pod("other", agents_image.name, FOREVER, entity="bob"))
    namespace.wait_phase("first", "Running")
    assert doubled(audit.history(namespace.name)) == []
    namespace.delete("first")
    namespace.create(pod("second", agents_image.name, FOREVER, entity="alice", run=2))
    namespace.wait_gone("first")

    def first_ended(lives: list[Life]) -> bool:
        return any(life.ended for life in lives if life.name == "first")

    (double,) = doubled(audit.wait(namespace.name, first_ended, "the first has ended"))
    assert (double.entity, double.first, double.second) == ("alice", "first", "second")
    assert double.until is not None


def test_all_ways_to_end_a_pod_are_seen(
    namespace: Namespace, audit: Audit, agents_image: Image
) -> None:
    for name in ("evicted", "forced"):
        namespace.create(pod(name, agents_image.name, FOREVER, entity=name, grace=1))
        namespace.wait_phase(name, "Running")
    # Nobody binds it to a node: there is nothing to wait for.
    away = {"kubernetes.io/hostname": "nowhere"}
    namespace.create(pod("unbound", agents_image.name, FOREVER, entity="x", nodeSelector=away))
    namespace.evict("evicted")
    namespace.delete("forced", grace=0)
    namespace.delete("unbound")
    namespace.wait_gone("evicted", "forced", "unbound")
    assert namespace.uids() == set()

    def all_ended(lives: list[Life]) -> bool:
        return len(lives) == 3 and all(life.ended for life in lives)

    audit.wait(namespace.name, all_ended, "three pods that ended")


def test_the_end_of_a_namespace_ends_its_pods(
    cluster: Cluster, namespace: Namespace, audit: Audit, runner_image: Image
) -> None:
    with cluster.namespace() as other:
        other.create(pod("a", runner_image.name, ["/bin/runner"], entity="alice"))
    audit.wait(other.name, lambda lives: lives and all(life.ended for life in lives), "an end")
    assert audit.history(namespace.name) == []


def test_a_server_that_is_killed_is_waited_for(
    components: Kit, namespace: Namespace, audit: Audit, agents_image: Image
) -> None:
    namespace.create(pod("before", agents_image.name, FOREVER, entity="alice"))
    before = namespace.wait_phase("before", "Running")
    components.kill(API_SERVER)
    assert components.status()[API_SERVER] is None
    components.start(API_SERVER)
    # Asked while it is still starting.
    namespace.create(pod("after", agents_image.name, FOREVER, entity="bob"))
    namespace.wait_phase("after", "Running")
    assert namespace.pod("before").metadata.uid == before.metadata.uid
    both = audit.history(namespace.name, namespace.uids())
    assert [(life.name, life.ended) for life in both] == [("before", None), ("after", None)]


def test_a_wait_outlives_the_server(
    components: Kit, namespace: Namespace, agents_image: Image
) -> None:
    namespace.create(pod("ends", agents_image.name, [*FOREVER, "--crash-after-ms=1"]))
    looks = 0

    def killed_at_first(pods: list[V1Pod]) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            components.kill(API_SERVER)
            components.start(API_SERVER)
        return any(pod.status.phase == "Failed" for pod in pods)

    namespace.wait(killed_at_first, "the pod has failed", timeout=90)
    assert looks > 1


def test_what_was_disturbed_is_made_good(
    cluster: Cluster, components: Kit, runner_image: Image
) -> None:
    components.pause("kube-scheduler")
    assert components.status()["kube-scheduler"] == PAUSED
    components.kill("kube-controller-manager")
    components.stop(API_SERVER)
    disturbed = [API_SERVER, "kube-controller-manager", "kube-scheduler"]
    assert components.restore(cluster.wait_answering) == disturbed
    disturbed = [name for name, state in components.status().items() if state in (None, PAUSED)]
    assert disturbed == []
    # The scheduler and the controllers work as well.
    with cluster.namespace() as another:
        another.create(pod("over", runner_image.name, ["/bin/runner", "--version"]))
        another.wait_phase("over", "Succeeded")
