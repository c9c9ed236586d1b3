"""Thousands of agents against a real API server: see scale.sh."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from configs import quick
from kubernetes import client, config
from processes import stat_fields
from runner import Runner
from world import World

AGENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
QPS = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
REST_SECONDS = 60
METRICS = "127.0.0.1:19464"
TICKS = os.sysconf("SC_CLK_TCK")


def requests() -> list[str]:
    """What the runner asked so far: verb and kind, by the server's own record."""
    asked = []
    for line in Path(os.environ["K8S_AUDIT_LOG"]).read_text().splitlines():
        event = json.loads(line)
        if event.get("userAgent", "").startswith(("kube-rs", "kube/", "runner")) or not event.get(
            "userAgent"
        ):
            asked.append(f"{event['verb']} {event['objectRef']['resource']}" if "objectRef" in event else event["verb"])
    return asked


def metric(name: str) -> float:
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def cost(pid: int) -> tuple[float, int]:
    """Seconds of processor time, and KiB of memory."""
    fields = stat_fields(Path("/proc") / str(pid))
    cpu = (int(fields[14 - 3]) + int(fields[15 - 3])) / TICKS
    status = Path(f"/proc/{pid}/status").read_text()
    return cpu, int(status.split("VmRSS:")[1].split()[0])


def tally(asked: list[str]) -> str:
    counts = {each: asked.count(each) for each in sorted(set(asked))}
    return ", ".join(f"{count} {each}" for each, count in counts.items()) or "nothing"


def until(count: int, api: client.CoreV1Api, deadline: float = 600.0) -> float:
    """The seconds until there are so many pods."""
    began = time.monotonic()
    while time.monotonic() - began < deadline:
        page = api.list_namespaced_pod("default", limit=1)
        there = len(page.items) + (page.metadata.remaining_item_count or 0)
        if there == count:
            return time.monotonic() - began
        time.sleep(0.2)
    raise AssertionError(f"not {count} pods within {deadline} s")


def main() -> None:
    config.load_kube_config()
    api = client.CoreV1Api()
    ids = ",".join(f"agent{number:05}" for number in range(AGENTS))
    file = quick(
        runner={
            "executor": "kubernetes", "max_agents": AGENTS, "shutdown_grace_ms": 2000,
        },
        spawn={"max_parallel": AGENTS, "per_second": AGENTS},
        metrics={"listen": METRICS},
        kubernetes={
            "namespace": "default", "image": "none.invalid/none:1", "qps": QPS, "burst": QPS,
        },
        agents={"default": {"command": ["agent", "--entity", "{entity_id}"]}},
    )  # fmt: skip
    with World("--entities", ids) as world, tempfile.TemporaryDirectory() as directory:
        began = time.monotonic()
        runner = Runner(Path(directory), world.address, file)
        created = until(AGENTS, api)
        print(f"{AGENTS} pods were there {created:.1f} s after the start: {AGENTS / created:.0f} a second")
        cpu, memory = cost(runner.process.pid)
        passes = metric("runner_pass_duration_seconds_count")
        spent = metric("runner_pass_duration_seconds_sum")
        print(f"  the runner: {cpu:.1f} s of processor time, {memory / 1024:.0f} MiB")
        print(f"  {passes:.0f} passes of {1000 * spent / passes:.2f} ms")
        time.sleep(15)
        print(f"  it asked: {tally(requests())}")
        before, (cpu, _), asked = time.monotonic(), cost(runner.process.pid), len(requests())
        passes = metric("runner_pass_duration_seconds_count")
        time.sleep(REST_SECONDS)
        now, (more, memory) = time.monotonic(), cost(runner.process.pid)
        quiet = requests()[asked:]
        print(f"at rest: {len(quiet) / (now - before):.2f} requests a second ({tally(quiet)})")
        print(f"  {1000 * (more - cpu) / (now - before):.1f} ms of processor time a second, {memory / 1024:.0f} MiB")
        print(f"  {metric('runner_pass_duration_seconds_count') - passes:.0f} passes")
        runner.process.kill()
        runner.process.wait()
        again = Runner(Path(directory), world.address, file)
        started = time.monotonic()
        again.wait_for("runner.resumed", timeout=120)
        print(f"killed, and taken up again: {time.monotonic() - started:.2f} s")
        again.process.terminate()
        gone = until(0, api)
        print(f"stopped: all were deleted after {gone:.1f} s: {AGENTS / gone:.0f} a second")
        again.process.wait(60)
        print(f"in all {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
