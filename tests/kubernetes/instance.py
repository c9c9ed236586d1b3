"""`runner reconcile` on the host, whose agents are pods of a test's namespace."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes.client import V1Pod

from audit import Audit, doubled
from cluster import Namespace
from configs import quick
from images import Image
from log import Ev, Line
from manifests import ENTITY
from paths import RUNNER_BIN
from processes import eventually
from runner import Runner, run_once

# Deleting pods takes their grace and what the kubelet adds to it.
STOPPED_SECONDS = 60.0
GRACE_MS = 2000
FORAGER = ["/bin/runner", "agent", "--server", "{server}", "--entity", "{entity_id}"]


def in_pods(namespace: Namespace, server: str, image: Image, **tables: Mapping[str, Any]) -> str:
    """A file whose agents are pods on the host's network; `tables` add to it key by key."""
    runner = {"server": server, "executor": "kubernetes", "shutdown_grace_ms": GRACE_MS}
    kubernetes = {
        "namespace": namespace.name,
        "image": image.name,
        "image_pull_policy": "Never",
        "pod": {"hostNetwork": True, "automountServiceAccountToken": False},
    }
    return quick(
        **tables
        | {
            "runner": runner | dict(tables.get("runner", {})),
            "kubernetes": kubernetes | dict(tables.get("kubernetes", {})),
            "agents": {"default": {"command": FORAGER}} | dict(tables.get("agents", {})),
        }
    )


def beings(*ids: str, kind: str = "forager", **fields: Any) -> str:
    """Entities of a demo world, side by side."""
    more = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return "".join(
        f'[[entities]]\nid = "{name}"\ntype = "{kind}"\nx = 0\ny = {place % 10}\n{more}'
        for place, name in enumerate(ids)
    )


class Instance:
    """One instance, through the lives of its runners."""

    def __init__(
        self,
        directory: Path,
        namespace: Namespace,
        config: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.env = env
        self.namespace = namespace
        self.config = config
        self.runner = self._begin()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self.runner.ended:
                self.runner.stop(STOPPED_SECONDS)
                self.namespace.wait(lambda pods: not pods, "no pod is left", 30)
        finally:
            self.runner.sweep()

    def _begin(self) -> Runner:
        return Runner(self.directory, None, self.config, env=self.env)

    def kill(self) -> None:
        """SIGKILL."""
        self.runner.sweep()

    def begin(self) -> None:
        """The next runner, with the file as it was saved last."""
        self.runner = self._begin()

    def save(self, config: str) -> None:
        self.config = config
        self.runner.save(config)

    # What it tells.

    def say(self, verb: str, *arguments: str, timeout: float = 30.0) -> str:
        """What a verb prints, which must succeed."""
        state = ["--state-dir", str(self.runner.state_dir)]
        done = run_once(verb, *arguments, *state, timeout=timeout)
        assert done.returncode == 0, f"{verb}: {done.stderr}\n{self.runner.log.tail()}"
        return done.stdout

    def data(self, verb: str, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(self.say(verb, *arguments, "-o", "json"))

    def agent(self, entity: str) -> dict[str, Any]:
        (agent,) = self.data("get", "agents", entity)["items"]
        assert isinstance(agent, dict)
        return agent

    @contextmanager
    def following(self, entity: str, timeout: float = 90.0) -> Iterator[Iterator[str]]:
        """The lines that `logs -f` shows; no more after the timeout."""
        command = [str(RUNNER_BIN), "logs", "-f", entity]
        following = subprocess.Popen(
            [*command, "--state-dir", str(self.runner.state_dir)],
            stdout=subprocess.PIPE,
            text=True,
        )
        late = threading.Timer(timeout, following.kill)
        late.start()
        try:
            assert following.stdout is not None
            yield (line.rstrip("\n") for line in following.stdout)
        finally:
            late.cancel()
            following.kill()
            following.wait()

    def wait_why(self, entity: str, *steps: str, timeout: float = 30.0) -> None:
        """Until `why` tells these steps, in this order."""

        def told() -> bool:
            rest = self.say("why", entity)
            for step in steps:
                _, found, rest = rest.partition(step)
                if not found:
                    return False
            return True

        try:
            eventually(told, f"{steps}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.say('why', entity)}") from None

    def wait_started(self, *entities: str, since: int = 0, timeout: float = 60.0) -> list[Line]:
        log = self.runner.log
        return [
            log.wait_for(Ev.STARTED, entity=entity, since=since, timeout=timeout)
            for entity in entities
        ]

    # What there is.

    def assert_nobody_doubled(self, audit: Audit) -> None:
        """By the API server's own record: no two pods were ever alive for one entity."""
        history = audit.history(self.namespace.name, self.namespace.uids())
        assert history and all(life.entity for life in history)
        assert [str(double) for double in doubled(history)] == []

    def pod(self, entity: str) -> V1Pod:
        """The entity's one pod."""
        (pod,) = (
            pod for pod in self.namespace.pods() if pod.metadata.annotations[ENTITY] == entity
        )
        return pod

    def uids(self, *but: str) -> dict[str, str]:
        """Entity → uid of its pod, but for these entities."""
        pods = {pod.metadata.annotations[ENTITY]: pod.metadata.uid for pod in self.namespace.pods()}
        return {entity: uid for entity, uid in pods.items() if entity not in but}
