"""How many agents one runner looks after in a cluster, and what that costs.

    tests/kubernetes/run --scale 5000

On the kit without a node: the pods are made by the real API server, the scheduler finds no place for
them, and they stay Pending. The table goes to stdout and to target/kubernetes/scale.txt.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from kubernetes.client import Configuration

import stubs
from cluster import Cluster, Namespace
from images import BUILD, Image
from instance import Instance, in_pods
from log import Ev
from processes import eventually
from world import World

MINUTE = 60.0
CONNECTIONS = 32


class Asked:
    """Who asked the API server for what, by its audit log."""

    def __init__(self) -> None:
        self.path = Path(os.environ["K8S_AUDIT_LOG"])

    def since(self, start: int) -> Counter[str]:
        """What the runner asked for behind this place of the log: verb and resource."""
        asked: Counter[str] = Counter()
        seen = set()
        with self.path.open() as log:
            log.seek(start)
            for line in log:
                event = json.loads(line)
                if event.get("userAgent", "").startswith("runner/") and event["auditID"] not in seen:
                    seen.add(event["auditID"])
                    what = event.get("objectRef", {}).get("resource") or event["requestURI"]
                    asked[f"{event['verb']} {what}"] += 1
        return asked

    def place(self) -> int:
        return self.path.stat().st_size


class Measured:
    """What the runner says of itself, and what the kernel says of it."""

    def __init__(self, instance: Instance) -> None:
        said = instance.runner.log.wait_for(Ev.METRICS_LISTENING)
        self.url = f"http://{said.fields['address']}/metrics"
        self.pid = instance.runner.process.pid

    def metrics(self) -> dict[str, float]:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def passes(self) -> tuple[float, float]:
        """How many passes there were, and how many seconds they took."""
        metrics = self.metrics()
        name = "runner_pass_duration_seconds"
        return metrics[f"{name}_count"], metrics[f"{name}_sum"]

    def slowest(self) -> float:
        """No pass took longer than this many seconds: a bound of a bucket."""
        bucket = re.compile(r'runner_pass_duration_seconds_bucket\{le="([^"]+)"\}')
        found = [(m[1], count) for name, count in self.metrics().items() if (m := bucket.match(name))]
        most = max(count for _, count in found)
        return min(float(bound) for bound, count in found if count == most)

    def memory(self, what: str) -> float:
        """MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        assert found
        return int(found[1]) / 1024

    def cpu(self) -> float:
        """Seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Table:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, what: str, figure: str) -> None:
        self.lines.append(f"{what:58} {figure}")
        print(self.lines[-1], flush=True)


def count(namespace: Namespace) -> int:
    """How many pods there are; one of them is read."""
    some = namespace.cluster.surely(namespace.api.list_namespaced_pod, namespace.name, limit=1)
    return len(some.items) + (some.metadata.remaining_item_count or 0)


def took(until: Callable[[], Any], what: str, timeout: float = 300.0) -> float:
    began = time.monotonic()
    eventually(until, what, timeout)
    return time.monotonic() - began


def floor(namespace: Namespace, template: dict[str, Any], pods: int) -> float:
    """The seconds in which the server takes so many pods of the same kind from a client that does
    nothing else."""
    settings: Configuration = namespace.api.api_client.configuration
    host = settings.host.removeprefix("https://")
    trust = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if settings.cert_file:
        trust.load_cert_chain(settings.cert_file, settings.key_file)
    headers = {"Content-Type": "application/apply-patch+yaml"}
    if token := settings.get_api_key_with_prefix("authorization"):
        headers["Authorization"] = token
    local = threading.local()

    def make(number: int) -> None:
        if not hasattr(local, "connection"):
            local.connection = HTTPSConnection(host, context=trust)
        name = f"floor-{number}"
        body = json.dumps(template | {"metadata": template["metadata"] | {"name": name}})
        path = f"/api/v1/namespaces/{namespace.name}/pods/{name}?fieldManager=floor"
        local.connection.request("PATCH", path, body, headers)
        answer = local.connection.getresponse()
        text = answer.read()
        assert answer.status == 201, text

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        began = time.monotonic()
        list(threads.map(make, range(pods)))
        return time.monotonic() - began


def template_of(namespace: Namespace) -> dict[str, Any]:
    """What the runner asks for, of one of its pods."""
    some = namespace.api.list_namespaced_pod(namespace.name, limit=1).items[0]
    pod = namespace.api.api_client.sanitize_for_serialization(some)
    kept = "annotations", "labels"
    asked = {"hostNetwork", "automountServiceAccountToken", "restartPolicy"}
    (container,) = pod["spec"]["containers"]
    wanted = {"name", "image", "imagePullPolicy", "command", "env", "resources"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: pod["metadata"][key] for key in kept},
        "spec": {key: pod["spec"][key] for key in asked if key in pod["spec"]}
        | {"containers": [{key: container[key] for key in wanted if key in container}]},
    }


def measure(agents: int, cluster: Cluster, directory: Path) -> Table:
    table = Table()
    asked = Asked()
    ids = [f"e{number:05}" for number in range(agents)]
    with cluster.namespace() as namespace, World("--entities", ",".join(ids)) as world:
        config = in_pods(
            namespace,
            world.address,
            Image("runner.test/nobody:1", Path()),
            runner={"max_agents": agents + 10},
            kubernetes={"qps": 100_000.0, "burst": 10_000},
            spawn={"max_parallel": 512, "per_second": 100_000},
            metrics={"listen": "127.0.0.1:0"},
        )
        start = asked.place()
        instance = Instance(directory, namespace, config)
        try:
            measured = Measured(instance)
            seconds = took(lambda: count(namespace) == agents, f"{agents} pods")
            table.add("pods made", f"{agents} in {seconds:.1f} s ({agents / seconds:.0f}/s)")
            name = 'runner_agents{phase="Starting",template="default"}'
            took(lambda: measured.metrics().get(name) == agents, "all are known")
            requests = asked.since(start)
            table.add("requests for that", ", ".join(f"{n} {what}" for what, n in requests.items()))
            passes, spent = measured.passes()
            table.add(
                "passes for that",
                f"{passes:.0f}, {1000 * spent / passes:.2f} ms each, none above "
                f"{1000 * measured.slowest():.0f} ms; {measured.cpu():.1f} s of CPU in all",
            )
            # What the scheduler says of each pod has been taken in by then.
            calm(measured)
            start, cpu, (passes, spent) = asked.place(), measured.cpu(), measured.passes()
            time.sleep(MINUTE)
            requests = asked.since(start)
            now, took_them = measured.passes()
            table.add(
                "at rest, in a second",
                f"{requests.total() / MINUTE:.2f} requests ({dict(requests)} in {MINUTE:.0f} s), "
                f"{(measured.cpu() - cpu) * 1000 / MINUTE:.1f} ms of CPU, "
                f"{(now - passes) / MINUTE:.1f} passes of "
                f"{1000 * (took_them - spent) / max(now - passes, 1):.2f} ms",
            )
            table.add(
                "memory", f"{measured.memory('VmRSS'):.0f} MiB, "
                f"{measured.memory('VmHWM'):.0f} MiB at most",
            )  # fmt: skip
            world.add("late")
            seconds = took(lambda: count(namespace) == agents + 1, "one that came late")
            table.add("from one more entity to its pod", f"{1000 * seconds:.0f} ms")
            template = template_of(namespace)

            instance.runner.process.kill()
            instance.runner.process.wait()
            world.add("later")
            start = asked.place()
            instance.begin()
            measured = Measured(instance)
            seconds = took(lambda: count(namespace) == agents + 2, "it is at work again")
            table.add(
                "killed and begun again: from its start to the next pod",
                f"{seconds:.1f} s: "
                + ", ".join(f"{n} {what}" for what, n in asked.since(start).items()),
            )
            calm(measured)
            table.add(
                "its memory", f"{measured.memory('VmRSS'):.0f} MiB, "
                f"{measured.memory('VmHWM'):.0f} MiB at most",
            )  # fmt: skip
            seconds = instance.runner.stop(600)
            assert count(namespace) == 0
            table.add("a stop that ends them all", f"{seconds:.1f} s")
        finally:
            instance.runner.sweep()
        seconds = floor(namespace, template, agents)
        table.add(
            f"{CONNECTIONS} connections that only make such pods",
            f"{agents} in {seconds:.1f} s ({agents / seconds:.0f}/s)",
        )
    return table


def calm(measured: Measured) -> None:
    """Until there is nothing to be done: two seconds in a row with next to no CPU."""
    for _ in range(150):
        before = measured.cpu()
        time.sleep(2)
        if measured.cpu() - before < 0.03:
            return
    raise AssertionError("it does not come to rest")


def main() -> None:
    agents = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    stubs.build()
    cluster = Cluster()
    cluster.wait_answering()
    with tempfile.TemporaryDirectory() as directory:
        table = measure(agents, cluster, Path(directory))
    (BUILD / "scale.txt").write_text("\n".join(table.lines) + "\n")


if __name__ == "__main__":
    main()
