"""`runner reconcile` whose agents are pods, as a user has it who has a cluster beside the runner.

Most tests are of one instance, each of entities of its own, so that a few seconds for each pod are
spent only once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import V1ConfigMap, V1Pod

from audit import Audit
from cluster import Cluster, Namespace
from configs import quick
from demo_world import DemoWorld
from images import Image
from instance import FORAGER, Instance, beings, in_pods
from log import Ev
from manifests import INSTANCE, RUN
from processes import eventually
from runner import Runner, run_once
from world import World

PLAIN = ["/bin/python", "-m", "agents.plain_agent"]
# Far more than the limit, and written to.
HOG = ["/bin/python", "-c", "bytes(1) * 10**9"]
TEAM = ("team1", "team2", "team3")
MOST_RESTARTS = 2
LATE_MS = 8000
CRASH_CODE = 7


def village(namespace: Namespace, world: DemoWorld, images: tuple[Image, Image], wage: str) -> str:
    """The shared instance's file. `wage` is the environment of the team's agents."""
    runner_image, agents_image = images
    python = {"image": agents_image.name}
    crash = [f"--exit-code={CRASH_CODE}", "--crash-after-ms=200"]
    hog = python | {"resources": {"limits": {"memory": "48Mi"}}}
    return in_pods(
        namespace,
        world.address,
        runner_image,
        runner={"max_restart_attempts": MOST_RESTARTS, "name": "village"},
        agents={
            "bob": {"module": "agents.random_agent",
                    "args": ["--eat-probability", "0.1"],
                    "kubernetes": python},
            "team": {"command": FORAGER, "env": {"WAGE": wage}, "match": {"types": ["worker"]},
                     "rollout": {"max_unavailable": 1, "min_ready_ms": 0}},
            "crash": {"command": [*PLAIN, *crash], "kubernetes": python},
            "hog": {"command": HOG, "kubernetes": hog},
            "faceless": {"command": PLAIN, "kubernetes": {"image": "runner.test/nobody:1"}},
            "giant": {"command": PLAIN,
                      "kubernetes": {"resources": {"requests": {"memory": "64Ti"}}}},
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def square(cluster: Cluster) -> Iterator[Namespace]:
    """The namespace of the shared instance."""
    with cluster.namespace() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoWorld]:
    entities = beings("alice", "bob", "carol", "dave", "erin", "crash", "hog", "faceless", "giant")
    entities += beings(*TEAM, kind="worker") + beings("late", arrives_after_ms=LATE_MS)
    with DemoWorld(tmp_path_factory.mktemp("world"), entities) as world:
        yield world


@pytest.fixture(scope="module")
def images(runner_image: Image, agents_image: Image) -> tuple[Image, Image]:
    return runner_image, agents_image


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory,
    square: Namespace,
    images: tuple[Image, Image],
    world: DemoWorld,
) -> Iterator[Instance]:
    """The shared instance, whose usual agents run."""
    directory = tmp_path_factory.mktemp("village")
    with Instance(directory, square, village(square, world, images, "low")) as instance:
        instance.wait_started("alice", "bob", "carol", "dave", "erin", *TEAM)
        yield instance


@pytest.fixture(autouse=True)
def one_for_each(audit: Audit, shared: Instance) -> Iterator[None]:
    yield
    shared.assert_nobody_doubled(audit)


def test_agents_of_both_images_lease_their_entities(shared: Instance, world: DemoWorld) -> None:
    world.wait_leased("alice", "bob")
    for entity in ("alice", "bob"):
        pod = shared.pod(entity)
        assert pod.metadata.labels[INSTANCE] == "village"
        assert shared.agent(entity)["pod"] == pod.metadata.name
        assert shared.agent(entity)["node"] == pod.spec.node_name == shared.namespace.cluster.node()
    eventually(
        lambda: "leased bob" in shared.namespace.log(shared.agent("bob")["pod"]), "it says so"
    )


def test_who_comes_late_gets_its_pod_just_in_time(shared: Instance, world: DemoWorld) -> None:
    (started,) = shared.wait_started("late")
    world.wait_leased("late")
    assert shared.pod("late").metadata.name == started.fields["pod"]
    (late,) = shared.data("get", "entities", "late")["items"]
    assert late["arrival"] == "late"
    shared.wait_why("late", "entity seen (late)", "starting: ", "started as pod ")


def test_a_crash_is_restarted_after_a_while_and_given_up_in_the_end(shared: Instance) -> None:
    log = shared.runner.log
    log.wait_for(Ev.FAILED, entity="crash", timeout=60)
    delays = log.find(Ev.BACKOFF, entity="crash")
    assert [int(line.fields["attempt"]) for line in delays] == [1, 2]
    assert [int(line.fields["delay_ms"]) for line in delays] == [200, 400]
    assert {line.reason for line in delays} == {f"exit code {CRASH_CODE}"}
    kept = [it for it in shared.data("events", "crash")["items"] if it["kind"] == Ev.BACKOFF]
    assert [(it["reason"], it["fields"]["attempt"]) for it in kept] == [
        (f"exit code {CRASH_CODE}", str(attempt)) for attempt in (1, 2)
    ]
    starts = log.find(Ev.STARTING, entity="crash")
    assert [line.reason for line in starts[1:]] == [
        f"restart {attempt} of {MOST_RESTARTS} after a crash" for attempt in (1, 2)
    ]
    # It stays, to be looked at: the last run's, with what it printed.
    pod = shared.pod("crash")
    assert pod.metadata.labels[RUN] == str(starts[-1].fields["run"]).lstrip("#")
    assert pod.status.phase == "Failed"
    assert '"--exit-code=7"' in shared.namespace.log(pod.metadata.name)
    assert shared.agent("crash")["phase"] == "Failed"


def test_why_tells_what_the_cluster_cannot_do(shared: Instance) -> None:
    shared.wait_why("faceless", "its image cannot be had: ", "runner.test/nobody:1")
    shared.wait_why("giant", "no node can take it: ", "Insufficient memory")
    shared.wait_why("hog", "ended by itself: OOM: killed by the kernel at 48MiB")
    for entity, cause in (("faceless", "ImagePull"), ("giant", "Unschedulable")):
        shared.runner.log.wait_for(Ev.WAITS, entity=entity, cause=cause)
        assert shared.agent(entity)["phase"] == "Starting"
    # It has the columns of pods, although none of those shown has run yet.
    head, row = shared.say("get", "agents", "giant", "-o", "wide").splitlines()
    assert head.split()[7:9] == ["POD", "NODE"]
    assert row.split()[7:9] == ["-", "-"]


def test_a_pod_that_somebody_deletes_comes_back_and_spends_no_attempt(shared: Instance) -> None:
    mark, before = shared.runner.mark(), shared.pod("carol")
    shared.namespace.delete(before.metadata.name)
    shared.runner.log.wait_for(
        Ev.EXITED, entity="carol", cause="pod_deleted", since=mark, timeout=30
    )
    shared.wait_started("carol", since=mark)
    assert shared.pod("carol").metadata.uid != before.metadata.uid
    assert shared.runner.count(Ev.BACKOFF, entity="carol") == 0
    assert shared.agent("carol")["attempts"] == 0
    shared.wait_why("carol", "its pod was deleted", "the cluster took the last one away")


def test_a_changed_template_is_rolled_out_to_its_agents_and_no_other(
    shared: Instance, square: Namespace, images: tuple[Image, Image], world: DemoWorld, audit: Audit
) -> None:
    others, mark = shared.uids(*TEAM, "late", "hog", "crash"), shared.runner.mark()
    raised = village(square, world, images, "high")
    edited = shared.directory / "edited.toml"
    edited.write_text(raised)
    planned = shared.data("plan", "--config", str(edited))["actions"]
    assert {action["name"] for action in planned} == set(TEAM)
    shared.save(raised)
    shared.wait_started(*TEAM, since=mark)
    shared.runner.log.wait_for(Ev.ROLLOUT_COMPLETED, template="team", since=mark)
    for entity in TEAM:
        (container,) = shared.pod(entity).spec.containers
        assert {each.name: each.value for each in container.env}["WAGE"] == "high"
    assert shared.uids(*TEAM, "late", "hog", "crash") == others
    # One at a time, as the template has it: each goes when the one before it is there anew.
    lives = [life for life in audit.history(square.name) if life.entity in TEAM]
    ends = sorted(life.asked_to_end for life in lives if life.asked_to_end)
    births = sorted(life.created for life in lives)[len(TEAM) :]
    assert len(ends) == len(births) == len(TEAM)
    assert all(birth < end for birth, end in zip(births, ends[1:], strict=False))


def test_a_suspended_entity_has_no_pod_until_it_is_resumed(shared: Instance) -> None:
    mark, pod = shared.runner.mark(), shared.pod("erin").metadata.name
    shared.say("suspend", "erin")
    shared.namespace.wait_gone(pod)
    shared.runner.log.wait_for(Ev.GONE, entity="erin", since=mark)
    shared.wait_why("erin", "it has no agent: it is suspended")
    shared.say("resume", "erin")
    shared.wait_started("erin", since=mark)


def test_the_verbs_show_pods(shared: Instance) -> None:
    mark, before = shared.runner.mark(), shared.pod("dave")
    name, node = before.metadata.name, before.spec.node_name
    assert shared.agent("dave")["pod"] == name
    said = shared.say("describe", "agent", "dave")
    assert re.search(rf"^Pod: +{name} on node {node}, run \d+$", said, re.M), said
    (started,) = [it for it in shared.data("events", "dave")["items"] if it["kind"] == Ev.STARTED]
    assert (started["fields"]["pod"], started["fields"]["node"]) == (name, node)
    shared.wait_why("dave", "starting: ", f"started as pod {name} on node {node}", "is Running")
    head, *rows = shared.say("get", "agents", "dave", "-o", "wide").splitlines()
    assert head.split()[7:9] == ["POD", "NODE"]
    assert rows[0].split()[7:9] == [name, node]

    shared.say("restart", "dave")
    (line,) = shared.wait_started("dave", since=mark)
    after = shared.pod("dave")
    # The same name, so that there cannot be two.
    assert (after.metadata.name, line.fields["pod"]) == (name, name)
    assert after.metadata.uid != before.metadata.uid
    assert shared.agent("dave")["restarts"] == 1
    shared.wait_why(
        "dave", "stopping: a restart was asked for", "starting: a restart was asked for"
    )


def to_be_done(instance: Instance, state_dir: Path) -> set[str]:
    """To whom a runner would do something that were begun now."""
    config, state = str(instance.runner.config), str(state_dir)
    planned = run_once("plan", "--config", config, "--state-dir", state, "-o", "name")
    assert planned.returncode == 0, planned.stderr
    return set(planned.stdout.split())


def test_a_runner_that_is_killed_is_succeeded_and_no_pod_is_made_anew(
    shared: Instance, tmp_path: Path
) -> None:
    # All that are on their way are there.
    shared.runner.log.wait_for(Ev.FAILED, entity="crash", timeout=60)
    shared.runner.log.wait_for(Ev.FAILED, entity="hog", timeout=60)
    shared.wait_started("late")
    before, agents = shared.uids(), shared.data("get", "agents")["items"]
    shared.kill()
    assert shared.uids() == before
    # Without a runner too it can be told what one would do, even where nothing else is known.
    running = {agent["name"] for agent in agents if agent["phase"] == "Running"}
    assert "alice" in running
    assert to_be_done(shared, shared.runner.state_dir) == set()
    assert to_be_done(shared, tmp_path) & running == set()
    shared.begin()
    resumed = shared.runner.log.wait_for(Ev.RUNNER_RESUMED, timeout=30)
    assert int(resumed.fields["agents"]) == len(agents) == len(before)
    # Asked once more, it would have done what it wants to do.
    shared.runner.log.wait_for(Ev.WORLD_CONNECTED)
    shared.say("restart", "alice")
    shared.wait_started("alice")
    assert shared.uids("alice") == {name: it for name, it in before.items() if name != "alice"}
    assert shared.runner.touched(but=("alice",)) == []

    def told(agent: dict[str, object]) -> dict[str, object]:
        keys = ("name", "phase", "pod", "node", "attempts", "restarts", "template")
        return {key: agent.get(key) for key in keys}

    after = [told(it) for it in shared.data("get", "agents")["items"] if it["name"] != "alice"]
    assert after == [told(it) for it in agents if it["name"] != "alice"]


def test_pods_do_not_become_processes_in_a_running_instance(
    shared: Instance, square: Namespace, images: tuple[Image, Image], world: DemoWorld
) -> None:
    good, before, mark = shared.config, shared.uids(), shared.runner.mark()
    shared.save(good.replace('executor = "kubernetes"', 'executor = "local"'))
    rejected = shared.runner.log.wait_for(Ev.CONFIG_REJECTED, since=mark)
    assert "`runner.executor` cannot change while the runner runs" in rejected.text
    assert "its agents are pods of a cluster" in rejected.text
    shared.save(good)
    assert shared.runner.touched(mark) == []
    assert shared.uids() == before


def test_a_new_incarnation_gets_a_pod_when_that_of_the_old_one_is_gone(
    tmp_path: Path, namespace: Namespace, audit: Audit, runner_image: Image
) -> None:
    """The one way to a pod of another name for the same entity."""
    with World() as world:
        world.add("ann", spawn_tick=1)
        config = in_pods(namespace, world.address, runner_image)
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.wait_started("ann")
            mark, old = pods.runner.mark(), pods.pod("ann").metadata.name
            world.remove("ann")
            world.add("ann", spawn_tick=2)
            (started,) = pods.wait_started("ann", since=mark)
            assert started.fields["pod"] != old
            namespace.wait_gone(old)
            assert pods.pod("ann").metadata.name == started.fields["pod"]
            pods.assert_nobody_doubled(audit)


def test_a_local_instance_beside_it_and_each_stops_its_own(
    tmp_path: Path, namespace: Namespace, audit: Audit, runner_image: Image
) -> None:
    sleep = {"command": ["sleep", "1000"], "cwd": str(tmp_path)}
    (tmp_path / "local").mkdir()
    with World("--entities", "ann,ben,over") as world, World("--entities", "cid,dot") as elsewhere:
        once = {"command": ["/bin/runner", "--version"]}
        config = in_pods(namespace, world.address, runner_image, agents={"over": once})
        local = quick(agents={"default": sleep})
        with (
            Runner(tmp_path / "local", elsewhere.address, local) as processes,
            Instance(tmp_path / "pods", namespace, config) as pods,
        ):
            processes.wait_started("cid", "dot")
            pods.wait_started("ann", "ben")
            pods.runner.log.wait_for(Ev.COMPLETED, entity="over", timeout=30)
            assert sorted(pods.uids()) == ["ann", "ben", "over"]
            mark = processes.mark()
            pods.say("stop", timeout=60)
            # It was waited for: none of them runs any more, and the cluster removes them.
            phases = {pod.status.phase for pod in namespace.pods()}
            assert phases <= {"Succeeded", "Failed"}
            assert pods.runner.process.wait(10) == 0
            pods.runner.ended = True
            namespace.wait(lambda pods: not pods, "no pod is left", 30)
            assert processes.touched(mark) == []
            pods.assert_nobody_doubled(audit)


def test_a_stop_leaves_no_pod_that_has_ended(
    tmp_path: Path, namespace: Namespace, runner_image: Image
) -> None:
    with World("--entities", "over") as world:
        once = {"command": ["/bin/runner", "--version"]}
        config = in_pods(namespace, world.address, runner_image, agents={"default": once})
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.runner.log.wait_for(Ev.COMPLETED, entity="over", timeout=30)
            assert sorted(pods.uids()) == ["over"]
            pods.runner.stop(30)
            assert pods.uids() == {}


def test_the_object_that_pods_belong_to_is_made_anew(
    tmp_path: Path, namespace: Namespace, audit: Audit, runner_image: Image
) -> None:
    """Whoever deletes it deletes the pods, and no more than those: what was asked for is in it as it
    was."""
    with World("--entities", "ann,ben,idle") as world:
        config = in_pods(namespace, world.address, runner_image)
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.wait_started("ann", "ben")
            pods.say("suspend", "idle")
            namespace.wait(lambda there: len(there) == 2, "idle has no pod")
            api, owner, mark = namespace.api, "runner-config", pods.runner.mark()
            namespace.cluster.surely(api.delete_namespaced_config_map, owner, namespace.name)

            def all_belong(there: list[V1Pod]) -> bool:
                running = [pod for pod in there if pod.status.phase == "Running"]
                objects = api.list_namespaced_config_map(namespace.name).items
                uids = [each.metadata.uid for each in objects if each.metadata.name == owner]
                belonging = [pod.metadata.owner_references[0].uid for pod in running]
                return len(belonging) == 2 and set(belonging) == set(uids)

            namespace.wait(all_belong, "two pods belong to what is there now", 60)
            pods.wait_started("ann", "ben", since=mark)

            def noted(objects: list[V1ConfigMap]) -> bool:
                return any("idle" in (each.data or {}).get("orders", "") for each in objects)

            namespace.wait_for(api.list_namespaced_config_map, noted, "who is suspended is noted")
            calm = pods.runner.mark()
            world.add("cid")
            pods.wait_started("cid", since=calm)
            assert pods.runner.touched(calm, but=("cid",)) == []
            pods.assert_nobody_doubled(audit)


def test_the_rate_of_requests_follows_the_file(
    tmp_path: Path, namespace: Namespace, runner_image: Image
) -> None:
    ids = ("ann", "ben", "cid", "dot")
    with World("--entities", ",".join(ids)) as world:

        def file(qps: float) -> str:
            # Enough at once to find out what there is, and then one in a minute.
            rate = {"qps": qps, "burst": 4}
            return in_pods(namespace, world.address, runner_image, kubernetes=rate)

        with Instance(tmp_path / "pods", namespace, file(1 / 60)) as pods:
            pods.runner.log.wait_for(Ev.CLUSTER_REACHED, timeout=30)
            pods.save(file(50))
            pods.wait_started(*ids, timeout=30)


def test_logs_are_read_from_the_cluster_through_a_restart(
    tmp_path: Path, namespace: Namespace, runner_image: Image, agents_image: Image
) -> None:
    with World("--entities", "ann") as world:
        default = {"command": PLAIN, "kubernetes": {"image": agents_image.name}}
        config = in_pods(namespace, world.address, runner_image, agents={"default": default})
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.wait_started("ann")
            with pods.following("ann") as lines:
                hello = next(lines)
                pods.say("restart", "ann")
                bye, again = next(lines), next(lines)
                assert bye == "SIGTERM: bye"
                assert json.loads(hello).keys() == json.loads(again).keys()
                assert pods.say("logs", "ann", "--tail", "1") == f"{again}\n"
                assert again in pods.say("describe", "agent", "ann")
