"""As many real pods at once as one small node is for.

The times are in target/kubernetes/scale-pods.txt; thousands are measured by `run --scale`.
"""

from __future__ import annotations

import time
from pathlib import Path

from audit import Audit
from cluster import Namespace
from demo_world import DemoWorld
from figures import Figures
from images import Image
from instance import FORAGER, Instance, beings, in_pods

PODS = 30


def test_thirty_agents_run_and_are_rolled_out(
    tmp_path: Path, namespace: Namespace, runner_image: Image, audit: Audit
) -> None:
    ids = [f"e{number:02}" for number in range(PODS)]
    with DemoWorld(tmp_path, beings(*ids)) as world:

        def file(wage: str) -> str:
            rollout = {"max_unavailable": 10, "min_ready_ms": 0}
            default = {"env": {"WAGE": wage}, "rollout": rollout}
            agents = {"default": {"command": FORAGER} | default}
            return in_pods(namespace, world.address, runner_image, agents=agents)

        figures = Figures(f"{PODS} real pods", ("all run s", 12))
        with figures.kept("scale-pods.txt"):
            began = time.monotonic()
            with Instance(tmp_path / "pods", namespace, file("low")) as pods:
                pods.wait_started(*ids, timeout=180)
                figures.add("from the start of the runner", time.monotonic() - began)
                world.wait_leased(*ids)
                mark, before = pods.runner.mark(), pods.uids()
                began = time.monotonic()
                pods.save(file("high"))
                pods.wait_started(*ids, since=mark, timeout=300)
                figures.add("each replaced, ten at a time", time.monotonic() - began)
                world.wait_leased(*ids)
                assert not set(before.values()) & set(pods.uids().values())
                pods.assert_nobody_doubled(audit)
