"""`runner doctor` about a cluster: what it lets a runner do, tried, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster import Cluster, Namespace
from images import Image
from instance import in_pods
from paths import RUNNER_BIN
from pod_metrics import is_offered


def examined(file: Path, kubeconfig: Path | str) -> dict[str, dict[str, Any]]:
    """What came of each check, by its name."""
    done = subprocess.run(
        [str(RUNNER_BIN), "doctor", "--config", str(file), "-o", "json"],
        env=os.environ | {"KUBECONFIG": str(kubeconfig), "XDG_STATE_HOME": str(file.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, 1), done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_cluster_is_tried_and_nothing_is_made(
    tmp_path: Path, namespace: Namespace, cluster: Cluster, runner_image: Image
) -> None:
    file = tmp_path / "village.toml"
    file.write_text(in_pods(namespace, "127.0.0.1:1", runner_image))
    checks = examined(file, os.environ["KUBECONFIG"])
    assert checks["cluster"]["state"] == "Ok", checks["cluster"]
    assert checks["cluster"]["found"].endswith(f", namespace {namespace.name}")
    measures = "Ok" if is_offered(cluster) else "Degraded"
    assert checks["pod metrics"]["state"] == measures
    objects = cluster.surely(namespace.api.list_namespaced_config_map, namespace.name).items
    assert [each.metadata.name for each in objects if "runner" in each.metadata.name] == []


def test_what_a_cluster_does_not_let_a_runner_do_is_named(
    tmp_path: Path, namespace: Namespace, runner_image: Image
) -> None:
    file = tmp_path / "village.toml"
    file.write_text(in_pods(namespace, "127.0.0.1:1", runner_image))
    # Somebody who may ask what he may do, and nothing else.
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    (user,) = config["users"]
    user["user"]["as"] = f"system:serviceaccount:{namespace.name}:default"
    nobodys = tmp_path / "kubeconfig"
    nobodys.write_text(yaml.safe_dump(config))
    cluster = examined(file, nobodys)["cluster"]
    assert cluster["state"] == "Missing"
    for refused in ("create pods", "watch pods", "patch configmaps", "update leases.coordination.k8s.io"):
        assert refused in cluster["found"], cluster
    # And one that is not there.
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text(file.read_text().replace(namespace.name, "nowhere"))
    cluster = examined(elsewhere, os.environ["KUBECONFIG"])["cluster"]
    assert (cluster["state"], 'namespaces "nowhere" not found' in cluster["found"]) == ("Missing", True)
    gone = examined(file, tmp_path / "none")["cluster"]
    assert (gone["state"], "kubeconfig" in gone["found"]) == ("Missing", True), gone
