"""A cluster that fails under a runner: when it is well again all is as it should be, and nobody was
doubled meanwhile.

The times are in target/kubernetes/faults.txt; `-s` shows them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from audit import Audit
from cluster import Cluster, Namespace
from demo_world import DemoWorld
from figures import Figures
from images import Image
from instance import FORAGER, Instance, beings, in_pods
from kit import Kit
from log import Ev
from processes import argv, eventually

API_SERVER = "kube-apiserver"
ROLLED = ("rolled1", "rolled2", "rolled3", "rolled4")
# It takes more memory than it may when it is told to, and speaks when it is told to.
HOG = """
import itertools, signal
told = {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
signal.pthread_sigmask(signal.SIG_BLOCK, told)
print("ready", flush=True)
said = itertools.count(1)
while (number := signal.sigwait(told)) != signal.SIGTERM:
    if number == signal.SIGUSR1:
        bytes(1) * 10**9
    print(next(said), flush=True)
"""
# Until enough of the node's signs of life are missed: 40 s where `run` does not say less.
SILENT_SECONDS = 90.0


@dataclass
class Crew:
    """An instance whose agents run, and what its file is made of."""

    instance: Instance
    namespace: Namespace
    world: DemoWorld
    images: tuple[Image, Image]

    def file(self, wage: str) -> str:
        return file(self.namespace, self.world, self.images, wage)


def file(namespace: Namespace, world: DemoWorld, images: tuple[Image, Image], wage: str) -> str:
    """`wage` is the environment of those who are rolled out."""
    runner_image, agents_image = images
    hog = {"image": agents_image.name, "resources": {"limits": {"memory": "48Mi"}}}
    return in_pods(
        namespace,
        world.address,
        runner_image,
        agents={
            "rolled": {
                "command": FORAGER,
                "env": {"WAGE": wage},
                "match": {"types": ["worker"]},
                "rollout": {"max_unavailable": 2, "min_ready_ms": 0},
            },
            "hog": {"command": ["/bin/python", "-c", HOG], "kubernetes": hog},
        },
    )


@pytest.fixture(scope="module")
def crew(
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    runner_image: Image,
    agents_image: Image,
) -> Iterator[Crew]:
    images = (runner_image, agents_image)
    entities = beings("steady", "asked", "killed", "evicted", "hog") + beings(
        *ROLLED, kind="worker"
    )
    directory = tmp_path_factory.mktemp("crew")
    with cluster.namespace() as namespace, DemoWorld(directory, entities) as world:
        with Instance(directory, namespace, file(namespace, world, images, "low")) as instance:
            instance.wait_started("steady", "asked", "killed", "evicted", "hog", *ROLLED)
            yield Crew(instance, namespace, world, images)


@pytest.fixture(autouse=True)
def one_for_each(audit: Audit, crew: Crew) -> Iterator[None]:
    yield
    crew.instance.assert_nobody_doubled(audit)


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    columns = ("noticed s", 12), ("converged s", 14)
    with Figures("fault", *columns).kept("faults.txt") as figures:
        yield figures


def process(instance: Instance, entity: str) -> int:
    """The host's pid of an entity's agent: in the cgroup of its pod, and not what holds that."""
    uid = instance.pod(entity).metadata.uid
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with suppress(OSError):
            is_its = f"pod{uid}/" in Path(f"/proc/{pid}/cgroup").read_text()
            if is_its and argv(pid)[:1] in (["/bin/runner"], ["/bin/python"]):
                return pid
    raise AssertionError(f"no process on this machine is the agent of {entity}, in pod {uid}")


def test_the_api_server_is_killed_in_the_middle_of_a_rollout(
    components: Kit, crew: Crew, figures: Figures
) -> None:
    instance = crew.instance
    log, mark, others = instance.runner.log, instance.runner.mark(), instance.uids(*ROLLED)
    instance.save(crew.file("high"))
    log.wait_for(Ev.STARTED, since=mark, timeout=30)
    began = time.monotonic()
    components.kill(API_SERVER)
    noticed = log.wait_for(Ev.CLUSTER_LOST, since=mark).at - began
    assert instance.runner.count(Ev.ROLLOUT_COMPLETED, mark) == 0
    again = time.monotonic()
    components.start(API_SERVER)
    log.wait_for(Ev.CLUSTER_BACK, since=mark, timeout=60)
    converged = log.wait_for(Ev.ROLLOUT_COMPLETED, since=mark, timeout=90).at - again
    for entity in ROLLED:
        (container,) = instance.pod(entity).spec.containers
        assert {each.name: each.value for each in container.env}["WAGE"] == "high"
    assert instance.uids(*ROLLED) == others
    assert instance.runner.touched(mark, but=ROLLED) == []
    crew.world.wait_leased("steady", *ROLLED)
    figures.add("API server killed in a rollout, and there again", noticed, converged)


def test_a_log_is_followed_through_an_outage_of_the_api_server(
    components: Kit, crew: Crew
) -> None:
    instance = crew.instance
    log, mark, hog = instance.runner.log, instance.runner.mark(), process(crew.instance, "hog")
    with instance.following("hog") as lines:
        assert next(lines) == "ready"
        os.kill(hog, signal.SIGUSR2)
        assert next(lines) == "1"
        components.kill(API_SERVER)
        log.wait_for(Ev.CLUSTER_LOST, since=mark)
        os.kill(hog, signal.SIGUSR2)
        components.start(API_SERVER)
        assert next(lines) == "2"
        os.kill(hog, signal.SIGUSR2)
        assert next(lines) == "3"
    log.wait_for(Ev.CLUSTER_BACK, since=mark, timeout=60)
    assert instance.runner.touched(mark) == []


def test_who_stops_twice_while_the_api_server_is_away_does_not_wait_for_it(
    components: Kit, crew: Crew, namespace: Namespace, tmp_path: Path
) -> None:
    runner_image, _ = crew.images
    with DemoWorld(tmp_path, beings("ann")) as world:
        config = in_pods(namespace, world.address, runner_image)
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.wait_started("ann")
            uids, process = pods.uids(), pods.runner.process
            components.kill(API_SERVER)
            pods.runner.wait_for(Ev.CLUSTER_LOST)
            process.terminate()
            waiting = pods.runner.wait_for("runner.waiting", timeout=30)
            assert waiting.fields["reason"].startswith("the cluster does not answer")
            process.terminate()
            assert process.wait(10) == 1
            assert "the agents run on" in pods.runner.log.tail()
            components.start(API_SERVER)
            crew.instance.runner.wait_for(Ev.CLUSTER_BACK, timeout=60)
            pods.begin()
            pods.runner.wait_for(Ev.RUNNER_RESUMED, timeout=60)
            assert pods.uids() == uids


def test_a_kubelet_that_is_away_is_waited_for(
    components: Kit, crew: Crew, figures: Figures
) -> None:
    instance = crew.instance
    log, mark, before = instance.runner.log, instance.runner.mark(), instance.uids()
    began = time.monotonic()
    components.stop("kubelet")
    # Whose pod is to go, and cannot: nobody knows whether it runs.
    instance.say("restart", "asked")
    silent = log.wait_for(
        Ev.WAITS, entity="steady", cause="NodeLost", since=mark, timeout=SILENT_SECONDS
    )
    noticed = silent.at - began
    log.wait_for(Ev.KILLING, entity="asked", since=mark)
    assert instance.uids() == before
    assert instance.agent("asked")["phase"] == "Stopping"
    instance.wait_why("steady", "its node gives no sign of life")
    crew.world.wait_leased("steady", "killed", "evicted", *ROLLED)
    assert instance.runner.touched(mark, but=("asked",)) == []

    again = time.monotonic()
    components.start("kubelet")
    converged = instance.wait_started("asked", since=mark)[0].at - again
    eventually(lambda: not instance.agent("steady").get("reason"), "its node is back", 60)
    assert instance.uids("asked") == {name: it for name, it in before.items() if name != "asked"}
    assert instance.runner.touched(mark, but=("asked",)) == []
    crew.world.wait_leased("asked")
    figures.add("kubelet away, one pod to be replaced, and there again", noticed, converged)


def test_agents_that_are_killed_or_taken_away_are_back(
    components: Kit, crew: Crew, figures: Figures
) -> None:
    """All at one time."""
    instance = crew.instance
    log, mark = instance.runner.log, instance.runner.mark()
    gone = ("killed", "evicted", "hog")
    others = instance.uids(*gone)
    killed, hog = process(instance, "killed"), process(instance, "hog")
    began = {}
    began["killed"] = time.monotonic()
    os.kill(killed, signal.SIGKILL)
    began["hog"] = time.monotonic()
    os.kill(hog, signal.SIGUSR1)
    began["evicted"] = time.monotonic()
    crew.namespace.evict(instance.pod("evicted").metadata.name)

    exits = {
        entity: log.wait_for(Ev.EXITED, entity=entity, since=mark, timeout=30) for entity in gone
    }
    starts = dict(zip(gone, instance.wait_started(*gone, since=mark), strict=True))
    assert exits["killed"].fields["exit"] == "signal 9"
    assert exits["hog"].fields["exit"] == "OOM: killed by the kernel at 48MiB"
    # A server of before 1.26 does not say why a pod is deleted.
    assert exits["evicted"].fields["cause"] in ("pod_deleted", "evicted")
    # What is the agent's own doing is counted, and the cluster's is not.
    attempts = {entity: instance.agent(entity)["attempts"] for entity in gone}
    assert attempts == {"killed": 1, "evicted": 0, "hog": 1}
    assert instance.uids(*gone) == others
    assert instance.runner.touched(mark, but=gone) == []
    crew.world.wait_leased("killed", "evicted")
    names = {"killed": "its process killed", "evicted": "evicted", "hog": "OOM-killed"}
    for entity, what in names.items():
        noticed, there = (each.at - began[entity] for each in (exits[entity], starts[entity]))
        figures.add(what, noticed, there)
