"""What no test of this suite can show on the cluster at hand, for it to be said and not passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubernetes import client

from cluster import Cluster
from kit import Kit
from pod_metrics import is_offered

# The first server that sends a list as a stream unless it is told not to.
STREAMS_LISTS = 34


def lacks(cluster: Cluster, kit: Kit | None) -> Iterator[str]:
    """A line for each."""
    version = str(cluster.surely(client.VersionApi(cluster.api.api_client).get_code).git_version)
    if not cluster.offers("policy/v1"):
        yield f"policy/v1: {version} has policy/v1beta1, by which budgets and evictions went"
    # The kit's says its minor version nowhere else.
    if (minor := re.match(r"v1\.(\d+)", version)) and int(minor[1]) < STREAMS_LISTS:
        yield f"lists that are streamed: {version} sends pages"
    if kit is not None:
        yield "that a NetworkPolicy holds: it is applied, and nothing of the kit enforces one"
        yield "images out of a registry: the kit is given files"
    if not is_offered(cluster):
        yield "metrics-server itself: pod_metrics.py stood in its place"
