"""What agents take that are pods: told where the cluster measures it, and else why not."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from audit import Audit
from cluster import Cluster, Namespace
from images import Image
from instance import Instance, in_pods
from kit import Kit
from paths import RUNNER_BIN
from pod_metrics import PodMetrics, is_offered
from processes import eventually
from runner import environment, run_once
from terminal import Terminal
from world import World

HELD_MIB = 96
# A kubelet measures every ten seconds or so.
MEASURED_SECONDS = 90.0
# Nothing holds it back but its neighbours.
BUSY_CORES = 0.2


CREW = ("idle", "busy", "holder")


def python(code: str) -> list[str]:
    return ["/bin/python", "-c", code]


IDLE = python("import time; time.sleep(1000)")
BUSY = python("while True: pass")
HOLDS = python(f"import time; held = b'x' * ({HELD_MIB} << 20); time.sleep(1000)")


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Namespace]:
    with cluster.namespace() as namespace:
        yield namespace


@pytest.fixture(scope="module")
def crowd() -> Iterator[World]:
    with World("--entities", ",".join(CREW)) as world:
        yield world


@pytest.fixture(scope="module")
def crew(
    tmp_path_factory: pytest.TempPathFactory,
    place: Namespace,
    crowd: World,
    runner_image: Image,
    agents_image: Image,
) -> Iterator[Instance]:
    """One who does nothing, one who is busy, and one who holds much."""
    image = {"kubernetes": {"image": agents_image.name}}
    agents = {
        name: {"command": command} | image
        for name, command in zip(CREW, (IDLE, BUSY, HOLDS), strict=True)
    }
    agents["default"] = agents["idle"]
    config = in_pods(place, crowd.address, runner_image, agents=agents)
    with Instance(tmp_path_factory.mktemp("crew"), place, config) as crew:
        crew.wait_started(*CREW)
        yield crew


@pytest.fixture
def measured(cluster: Cluster, kit: Kit | None) -> Iterator[PodMetrics | None]:
    """A cluster that measures pods, and what does it if that is not its own."""
    if is_offered(cluster):
        yield None
    elif kit is None:
        pytest.skip("NOT TESTED: this cluster has no metrics.k8s.io")
    else:
        with PodMetrics(cluster) as ours:
            yield ours


def test_who_does_not_measure_is_named(crew: Instance, cluster: Cluster) -> None:
    if is_offered(cluster):
        pytest.skip("NOT TESTED: a cluster without metrics.k8s.io")
    why = "this cluster does not measure pods: it has no metrics.k8s.io"
    said = crew.say("describe", "agent", "idle")
    assert re.search(rf"^Usage: +not known: {why}", said, re.M), said
    assert why in crew.data("describe", "agent", "idle")["usageUnknown"]
    state = ["--state-dir", str(crew.runner.state_dir)]
    wide = run_once("get", "agents", "-o", "wide", *state)
    assert wide.returncode == 0
    assert f"note: CPU and memory are not known: {why}" in wide.stderr
    head, *rows = wide.stdout.splitlines()
    assert head.split()[7:11] == ["POD", "NODE", "CPU", "MEMORY"]
    assert [row.split()[9:11] for row in rows] == [["-", "-"]] * 3
    # Who does not ask for it is not told.
    assert run_once("get", "agents", *state).stderr == ""
    with top(crew) as screen:
        screen.wait_for("^CPU and memory are not known: this cluster does not measure pods")


def test_what_pods_take_is_what_their_cluster_measures(
    crew: Instance, crowd: World, measured: PodMetrics | None, audit: Audit
) -> None:
    def taken() -> dict[str, dict[str, float]]:
        agents = crew.data("get", "agents", "--usage")["items"]
        return {agent["name"]: agent["usage"] for agent in agents if "usage" in agent}

    def is_known() -> bool:
        usage = taken()
        return len(usage) == 3 and usage["busy"]["cpuCores"] > BUSY_CORES

    eventually(is_known, "all are measured, and one is busy", MEASURED_SECONDS)
    usage = taken()
    assert set(usage["idle"]) == {"cpuCores", "memoryBytes"}
    assert usage["idle"]["cpuCores"] < BUSY_CORES < usage["busy"]["cpuCores"]
    assert usage["idle"]["memoryBytes"] < HELD_MIB << 20 <= usage["holder"]["memoryBytes"]

    by_cpu = crew.say("get", "agents", "--sort-by", "cpu", "-o", "name").split()
    assert by_cpu[0] == "busy"
    by_memory = crew.say("get", "agents", "--sort-by", "memory", "-o", "name").split()
    assert by_memory[0] == "holder"
    (row,) = crew.say("get", "agents", "holder", "-o", "wide").splitlines()[1:]
    assert re.search(r" \d+m +1?\d\d(\.\d)? ?MiB ", row), row
    said = crew.say("describe", "agent", "busy")
    assert re.search(r"^Usage: +CPU \d{3,4}m .*, memory [\d.]+ ?MiB$", said, re.M), said
    assert "usageUnknown" not in crew.data("describe", "agent", "busy")
    with top(crew) as screen:
        # Thousandths of a processor as percents.
        screen.wait_for(r"^busy +busy +Running +0 .* \d\d+\.\d +[\d.]+ ?MiB")

    # A pod that has just begun was not measured yet: not all of them are in doubt for that.
    if measured is not None:
        measured.withheld.add("late")
    crowd.add("late")
    crew.wait_started("late")
    if measured is not None:
        young = r"^Usage: +not known: the cluster has not measured its pod yet$"
        assert re.search(young, crew.say("describe", "agent", "late"), re.M)
        measured.withheld.clear()
    eventually(lambda: "late" in taken(), "it is measured as well", MEASURED_SECONDS)
    crew.assert_nobody_doubled(audit)


def top(crew: Instance) -> Terminal:
    """A terminal that shows it."""
    terminal = Terminal(environment(crew.runner.token))
    terminal.run(str(RUNNER_BIN), "top", "--state-dir", str(crew.runner.state_dir))
    return terminal
