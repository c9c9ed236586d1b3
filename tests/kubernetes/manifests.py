"""What the suite puts into a cluster, and what its pods are known by."""

from __future__ import annotations

from typing import Any

# As in src/executor/kubernetes: said again, as a test that took them from there would believe it.
INSTANCE = "runner.dev/instance"
RUN = "runner.dev/run"
ENTITY = "runner.dev/entity"


def pod(
    name: str,
    image: str,
    command: list[str],
    *,
    entity: str = "",
    instance: str = "test",
    run: int = 1,
    grace: int = 5,
    **spec: Any,
) -> dict[str, Any]:
    """A pod on the host's network, as the runner would make one; `spec` adds to its spec."""
    container = {"name": "agent", "image": image, "command": command, "imagePullPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {INSTANCE: instance, RUN: str(run)},
            "annotations": {ENTITY: entity} if entity else {},
        },
        "spec": {
            "containers": [container],
            "hostNetwork": True,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": grace,
            "automountServiceAccountToken": False,
            **spec,
        },
    }
