"""Several runners of one instance: one leads, and is replaced in time; nobody is doubled meanwhile.

The times are in target/kubernetes/leaders.txt; `-s` shows them.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, dynamic

from audit import Audit, doubled
from cluster import Cluster, Namespace
from demo_world import DemoWorld
from figures import Figures
from images import Image
from instance import FORAGER, Instance, beings, in_pods
from log import Ev
from processes import eventually
from relay import Relay
from runner import Runner, run_once

# The issue's own bar.
REPLACED_SECONDS = 15.0
OUSTED = 3
# In the words of its log for people.
LEADS = "this runner leads"
WORKERS = ("worker1", "worker2", "worker3", "worker4")


@dataclass
class Scene:
    """A namespace, a world, and directories for runners, as if each was on a machine of its own."""

    directory: Path
    namespace: Namespace
    world: DemoWorld
    image: Image

    def file(self, wage: str) -> str:
        workers = {
            "command": FORAGER,
            "env": {"WAGE": wage},
            "match": {"types": ["worker"]},
            "rollout": {"max_unavailable": 1, "min_ready_ms": 0},
        }
        tables = {"agents": {"workers": workers}}
        return in_pods(self.namespace, self.world.address, self.image, **tables)

    @contextmanager
    def standby(self, wage: str) -> Iterator[Runner]:
        """A second runner, which waits for its turn."""
        directory = self.directory / "standby"
        directory.mkdir()
        runner = Runner(directory, None, self.file(wage))
        try:
            runner.wait_for(Ev.LEASE_WAITING, timeout=30)
            yield runner
        finally:
            runner.sweep()


@pytest.fixture
def scene(cluster: Cluster, tmp_path: Path, runner_image: Image) -> Iterator[Scene]:
    entities = beings("idle", "steady") + beings(*WORKERS, kind="worker")
    with cluster.namespace() as namespace, DemoWorld(tmp_path, entities) as world:
        yield Scene(tmp_path, namespace, world, runner_image)


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    columns = ("another leads s", 17), ("at work s", 12)
    with Figures("the leader", *columns).kept("leaders.txt") as figures:
        yield figures


def test_a_leader_that_is_killed_is_replaced(
    scene: Scene, audit: Audit, figures: Figures
) -> None:
    with Instance(scene.directory / "first", scene.namespace, scene.file("low")) as first:
        first.wait_started("idle", "steady", *WORKERS)
        first.say("suspend", "idle")
        first.namespace.wait(lambda pods: len(pods) == 5, "idle has no pod")
        uids = first.uids()
        with scene.standby("low") as second:
            first.kill()
            killed, mark = time.monotonic(), second.mark()
            leads = second.wait_for(Ev.LEASE_HELD, since=mark, timeout=REPLACED_SECONDS).at - killed
            second.wait_for(Ev.RUNNER_RESUMED, since=mark, timeout=30)
            # What was asked of the first one holds, and what somebody does to pods is seen.
            gone = first.pod("steady").metadata.name
            first.namespace.delete(gone)
            works = second.wait_for(Ev.STARTED, entity="steady", since=mark, timeout=60).at - killed
            assert "it is suspended" in run_once("why", "idle", "--state-dir", str(second.state_dir)).stdout
            others = {entity: uid for entity, uid in uids.items() if entity != "steady"}
            assert first.uids("steady") == others, second.log.tail()
            # Who led before waits for its turn now.
            first.begin()
            first.runner.wait_for(Ev.LEASE_WAITING, timeout=30)
            asked = run_once("get", "agents", "--state-dir", str(first.runner.state_dir))
            leader = (second.state_dir / "holder").read_text()
            assert f"this runner stands by: ask {leader}" in asked.stderr, asked.stderr
            first.assert_nobody_doubled(audit)
        # Nobody leads any more.
        first.runner.wait_for(Ev.LEASE_HELD, timeout=REPLACED_SECONDS)
        first.runner.wait_for(Ev.RUNNER_RESUMED, timeout=30)
    figures.add("SIGKILL", leads, works)


def test_a_leader_that_is_stopped_in_a_rollout_does_nothing_when_it_goes_on(
    scene: Scene, audit: Audit, figures: Figures
) -> None:
    with Instance(scene.directory / "first", scene.namespace, scene.file("low")) as first:
        signals = first.runner.process.send_signal
        away, back = partial(signals, signal.SIGSTOP), partial(signals, signal.SIGCONT)
        times = replace_in_a_rollout(scene, audit, first, away, back)
    figures.add("SIGSTOP in a rollout, and SIGCONT", *times)


def test_a_leader_that_is_cut_off_in_a_rollout_does_nothing_when_it_is_back(
    scene: Scene, audit: Audit, figures: Figures
) -> None:
    with Relay() as relay:
        directory, env = scene.directory / "first", relay.kubeconfig(scene.directory / "relayed")
        with Instance(directory, scene.namespace, scene.file("low"), env) as first:
            times = replace_in_a_rollout(scene, audit, first, relay.cut, relay.mend)
    figures.add("cut off in a rollout, and back", *times)


def replace_in_a_rollout(
    scene: Scene,
    audit: Audit,
    first: Instance,
    away: Callable[[], None],
    back: Callable[[], None],
) -> tuple[float, float]:
    """Seconds until another leads, and until that one has rolled out."""
    first.wait_started("idle", "steady", *WORKERS)
    with scene.standby("low") as second:
        mark = first.runner.mark()
        # Edited while it waits: what it was started with does not count when its turn comes.
        second.save(scene.file("high"))
        first.save(scene.file("high"))
        first.runner.wait_for(Ev.STARTED, since=mark, timeout=60)
        assert first.runner.count(Ev.ROLLOUT_COMPLETED, mark) == 0
        away()
        began = time.monotonic()
        leads = second.wait_for(Ev.LEASE_HELD, timeout=REPLACED_SECONDS).at - began

        def all_changed() -> bool:
            return all(wage(first, worker) == "high" for worker in WORKERS)

        eventually(all_changed, "all workers have the new wage", 90)
        works = time.monotonic() - began
        uids = first.uids()
        back()
        first.runner.wait_for(Ev.LEASE_LOST, timeout=15)
        assert first.runner.process.wait(15) == OUSTED, first.runner.log.tail()
        assert first.uids() == uids
        first.assert_nobody_doubled(audit)
        lives = [life.entity for life in audit.history(scene.namespace.name, set(uids.values()))]
        assert {worker: lives.count(worker) for worker in WORKERS} == dict.fromkeys(WORKERS, 2)
        second.stop(60)
    first.runner.sweep()
    first.runner.ended = True
    return leads, works


def wage(instance: Instance, entity: str) -> str | None:
    """What its one pod was told, once that runs."""
    pods = [pod for pod in instance.namespace.pods() if "WAGE" in str(pod.spec.containers[0].env)]
    mine = [pod for pod in pods if pod.metadata.annotations["runner.dev/entity"] == entity]
    running = [pod for pod in mine if pod.status.phase == "Running"]
    told = [each.value for pod in running for each in pod.spec.containers[0].env if each.name == "WAGE"]
    return told[0] if len(told) == 1 else None


def test_runners_in_the_cluster(scene: Scene, audit: Audit, figures: Figures) -> None:
    """What `runner export kubernetes` prints: two pods, of which one leads; edits of the file; and
    the end of the one that leads."""
    directory = scene.directory / "exported"
    directory.mkdir()
    file = directory / "village.toml"
    file.write_text(scene.file("low"))
    exported = run_once(
        "export", "kubernetes", "--config", str(file), "--image", scene.image.name, "-o", "json"
    )
    assert exported.returncode == 0, exported.stderr
    api = scene.namespace.cluster.surely
    for document in json.loads(exported.stdout)["items"]:
        create(scene.namespace, adapted(document))
    instance = InCluster(scene.namespace)
    instance.wait_workers("low")
    leader = instance.leader()
    # What no other test of this would miss, as the runner says that it cannot be had.
    assert may(scene.namespace, "runner-village", "list", "pods.metrics.k8s.io")
    assert not may(scene.namespace, "runner-village", "list", "secrets")
    # An edit of the file reaches the one that leads.
    core = scene.namespace.api
    changed = {"data": {"village.toml": scene.file("high")}}
    (config,) = [
        it.metadata.name
        for it in api(core.list_namespaced_config_map, scene.namespace.name).items
        if "village.toml" in (it.data or {})
    ]
    api(core.patch_namespaced_config_map, config, scene.namespace.name, changed)
    # The kubelet looks at a pod that changes at once, and at others in a minute.
    poke = {"metadata": {"annotations": {"poked": "once"}}}
    for pod in instance.runners():
        api(core.patch_namespaced_pod, pod.metadata.name, scene.namespace.name, poke)
    instance.wait_workers("high")
    uids = instance.agents()
    ended = time.monotonic()
    scene.namespace.delete(leader, grace=1)
    instance.wait_leader_but(leader, REPLACED_SECONDS)
    leads = time.monotonic() - ended
    victim = next(name for name in uids if "steady" in name)
    scene.namespace.delete(victim)
    scene.namespace.wait(
        lambda pods: any(
            pod.metadata.name == victim
            and pod.metadata.uid != uids[victim]
            and pod.status.phase == "Running"
            for pod in pods
        ),
        "the one that leads now works",
        60,
    )
    works = time.monotonic() - ended
    assert {name: uid for name, uid in instance.agents().items() if name != victim} == {
        name: uid for name, uid in uids.items() if name != victim
    }
    history = audit.history(scene.namespace.name, scene.namespace.uids())
    assert [str(double) for double in doubled(life for life in history if life.entity)] == []
    figures.add("its pod is deleted", leads, works)


def may(namespace: Namespace, account: str, verb: str, resource: str) -> bool:
    """Whether who has this service account may do that there."""
    name, _, group = resource.partition(".")
    what = {"namespace": namespace.name, "verb": verb, "resource": name, "group": group}
    user = f"system:serviceaccount:{namespace.name}:{account}"
    review = client.AuthorizationV1Api(namespace.api.api_client).create_subject_access_review
    spec = {"user": user, "resourceAttributes": what}
    return bool(namespace.cluster.surely(review, {"spec": spec}).status.allowed)


def adapted(document: dict[str, Any]) -> dict[str, Any]:
    """As a cluster without addresses for services, and one of 2021, can have it."""
    if document["kind"] == "Deployment":
        pod = document["spec"]["template"]["spec"]
        pod["hostNetwork"] = True
        for container in pod["containers"]:
            container["imagePullPolicy"] = "Never"
            container.setdefault("env", []).extend([
                {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
                {"name": "KUBERNETES_SERVICE_PORT", "value": "16443"},
            ])
    return document


def create(namespace: Namespace, document: dict[str, Any]) -> None:
    api = dynamic.DynamicClient(namespace.api.api_client)
    version = document["apiVersion"]
    if document["kind"] == "Namespace":
        return
    if version == "policy/v1" and not namespace.cluster.offers(version):
        version = document["apiVersion"] = "policy/v1beta1"
    kind = api.resources.get(api_version=version, kind=document["kind"])
    kind.create(body=document, namespace=namespace.name)


@dataclass
class InCluster:
    """An instance whose runners are pods too."""

    namespace: Namespace

    def agents(self) -> dict[str, str]:
        """Name of a pod → uid."""
        ours = (pod for pod in self.namespace.pods() if is_agent(pod))
        return {pod.metadata.name: pod.metadata.uid for pod in ours}

    def wait_workers(self, wage: str) -> None:
        def all_have_it(pods: list[client.V1Pod]) -> bool:
            told = [
                pod
                for pod in pods
                if is_agent(pod)
                and pod.metadata.deletion_timestamp is None
                and pod.status.phase == "Running"
                and {"WAGE": wage}.items()
                <= {each.name: each.value for each in pod.spec.containers[0].env}.items()
            ]
            return len(told) == len(WORKERS)

        try:
            self.namespace.wait(all_have_it, f"all workers have the wage {wage}", 60)
        except AssertionError as error:
            logs = [self.namespace.log(pod.metadata.name) for pod in self.runners()]
            raise AssertionError("\n\n".join([str(error), *logs])) from None

    def runners(self) -> list[client.V1Pod]:
        return [pod for pod in self.namespace.pods() if not is_agent(pod)]

    def leader(self) -> str:
        """The runner's pod that said last that it leads."""
        return eventually(self.leader_but(""), "a runner leads", 30)

    def wait_leader_but(self, other: str, timeout: float) -> None:
        eventually(self.leader_but(other), "another runner leads", timeout)

    def leader_but(self, other: str) -> Callable[[], str]:
        """The name of the pod of another runner that leads; nothing, if none does. A pod's status may
        be behind what runs in it."""

        def look() -> str:
            for pod in self.runners():
                name = str(pod.metadata.name)
                is_there = name != other and pod.status.phase == "Running"
                if is_there and LEADS in self.namespace.log(name):
                    return name
            return ""

        return look


def is_agent(pod: client.V1Pod) -> bool:
    return "runner.dev/entity" in (pod.metadata.annotations or {})
