"""What is told of pods that fail: what they wrote last, read while it is there."""

from __future__ import annotations

from pathlib import Path

from cluster import Namespace
from images import Image
from instance import Instance, in_pods
from log import Ev, Line
from world import World

# As many as make a storm, and one that might be late for it.
CROWD = 11
EXIT = 3
LAST = "no model to load"


def test_an_agent_that_hangs_is_restarted_and_its_last_lines_are_told(
    tmp_path: Path, namespace: Namespace, runner_image: Image, agents_image: Image
) -> None:
    hangs = {"module": "agents.random_agent", "args": ["--hang-after-ms", "500"]}
    agents = {"alice": hangs | {"kubernetes": {"image": agents_image.name}}}
    health = {"lease": True, "lease_grace_ms": 4000}
    options = ("--entities", "alice,bob", "--tick-ms", "100", "--lease-ms", "1500")
    with World(*options) as world:
        config = in_pods(namespace, world.address, runner_image, agents=agents, health=health)
        with Instance(tmp_path / "pods", namespace, config) as pods:
            pods.wait_started("alice", "bob")
            mark, before = pods.runner.mark(), pods.pod("alice")

            def told(line: Line) -> bool:
                # A node that is busy may not say it in time, once.
                hung = line.is_a(Ev.HUNG, entity="alice")
                return hung and "hanging" in str(line.fields["last_lines"])

            hung = pods.runner.log.wait_until(told, "what it wrote last is told", timeout=60)
            assert hung.reason == "what its processes do, only its node knows"
            pods.wait_started("alice", since=mark)
            assert pods.pod("alice").metadata.uid != before.metadata.uid
            pods.wait_why("alice", "the entity has had no lease for ", "started as pod ")
            assert pods.runner.count(Ev.STOPPING, entity="bob") == 0


def test_many_that_crash_alike_are_told_once_with_what_they_wrote_last(
    tmp_path: Path, namespace: Namespace, runner_image: Image, agents_image: Image
) -> None:
    crowd = [f"e{number:02}" for number in range(CROWD)]
    crash = ["/bin/python", "-c", f"import sys; print('{LAST}'); sys.exit({EXIT})"]
    default = {"command": crash, "kubernetes": {"image": agents_image.name}}
    with World("--entities", ",".join(crowd)) as world:
        config = in_pods(
            namespace,
            world.address,
            runner_image,
            # Again and again, as a slow node may need long for so many.
            runner={"backoff_multiplier": 1.0, "max_restart_attempts": 50},
            agents={"default": default},
        )
        with Instance(tmp_path / "pods", namespace, config) as pods:
            storm = pods.runner.log.wait_for(Ev.CRASH_STORM, timeout=90)
            assert storm.fields["exit"] == f"exit code {EXIT}"
            assert storm.fields["last_lines"] == LAST
            assert str(storm.fields["of"])
