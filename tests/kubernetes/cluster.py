"""A Kubernetes cluster as a test sees it, through the official Python client.

A server that is away is waited for: every call and every wait survives its restart.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

import manifests
from processes import POLL_SECONDS

T = TypeVar("T")
# What a server says that is about to stop or has just started. Not 429, which an eviction gets that
# a disruption budget forbids.
PASSING = (500, 502, 503, 504)
CONNECT_SECONDS = 2.0
CALL_SECONDS = 10.0


class Cluster:
    """The cluster that KUBECONFIG names."""

    def __init__(self) -> None:
        settings = client.Configuration()
        config.load_kube_config(os.environ["KUBECONFIG"], client_configuration=settings)
        # Retried here, where it is known for how long; and no proxy stands before a test's server.
        settings.retries = False
        settings.proxy = None
        self.api = client.CoreV1Api(client.ApiClient(settings))

    def surely(
        self, call: Callable[..., T], *arguments: Any, timeout: float = 60.0, **more: Any
    ) -> T:
        """What the server answers, once it does. One that changes something may be made twice."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return call(*arguments, _request_timeout=(CONNECT_SECONDS, CALL_SECONDS), **more)
            except (ApiException, HTTPError, OSError) as error:
                if not passing(error) or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def wait_answering(self) -> None:
        """Until the server answers."""
        self.surely(self.api.list_namespace, limit=1)

    def node(self) -> str:
        """The name of its first node."""
        return str(self.surely(self.api.list_node).items[0].metadata.name)

    def offers(self, version: str) -> bool:
        """Whether its server has this version of a group: `policy/v1`."""
        groups = self.surely(client.ApisApi(self.api.api_client).get_api_versions).groups
        return any(each.group_version == version for group in groups for each in group.versions)

    def eviction(self) -> str:
        """The version of the Eviction that this server takes: 1.22 and later have `policy/v1`."""
        offered = self.surely(self.api.get_api_resources).resources
        (evict,) = (each for each in offered if each.name == "pods/eviction")
        return f"{evict.group}/{evict.version}"

    @contextmanager
    def namespace(self) -> Iterator[Namespace]:
        """A new namespace. Afterwards its pods are deleted at once, and it in the background."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.surely(self.api.create_namespace, {"metadata": {"name": name}})
        namespace = Namespace(self, name)
        try:
            # No pod can be made before.
            account = "metadata.name=default"
            namespace.wait_for(
                self.api.list_namespaced_service_account, bool, "a service account", account
            )
            yield namespace
        finally:
            at_once = client.V1DeleteOptions(grace_period_seconds=0)
            self.surely(self.api.delete_collection_namespaced_pod, name, body=at_once)
            self.surely(self.api.delete_namespace, name)


class Namespace:
    """One test's namespace."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.api = cluster.api
        self.name = name

    def create(self, pod: dict[str, Any]) -> client.V1Pod:
        """Creates a pod of a manifest."""
        try:
            return self.cluster.surely(self.api.create_namespaced_pod, self.name, pod)
        except ApiException as error:
            # Of an attempt before this one, whose answer was lost.
            if error.status != 409:
                raise
            return self.pod(pod["metadata"]["name"])

    def pod(self, name: str) -> client.V1Pod:
        return self.cluster.surely(self.api.read_namespaced_pod, name, self.name)

    def pods(self, **labels: str) -> list[client.V1Pod]:
        """Those with all of these labels: `run` for `runner.dev/run`, and so on."""
        found = self.cluster.surely(
            self.api.list_namespaced_pod, self.name, label_selector=selector(labels)
        )
        return list(found.items)

    def uids(self) -> set[str]:
        """Of the pods that there are."""
        return {pod.metadata.uid for pod in self.pods()}

    def delete(self, name: str, grace: int | None = None) -> None:
        """Asks for a pod's deletion, if it is there; `grace` in seconds, None for its own."""
        options = client.V1DeleteOptions(grace_period_seconds=grace)
        try:
            self.cluster.surely(self.api.delete_namespaced_pod, name, self.name, body=options)
        except ApiException as error:
            if error.status != 404:
                raise

    def evict(self, name: str) -> None:
        """Has it evicted, as `kubectl drain` does."""
        body = {
            "apiVersion": self.cluster.eviction(),
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": self.name},
        }
        self.cluster.surely(self.api.create_namespaced_pod_eviction, name, self.name, body)

    def log(self, name: str) -> str:
        """What its container printed."""
        return str(self.cluster.surely(self.api.read_namespaced_pod_log, name, self.name))

    def wait(
        self,
        wanted: Callable[[list[client.V1Pod]], T],
        what: str,
        timeout: float = 60.0,
        **labels: str,
    ) -> T:
        """The first truthy thing that `wanted` makes of the pods, looked at with every change."""
        labelled = selector(labels)
        return self.wait_for(
            self.api.list_namespaced_pod, wanted, what, timeout=timeout, label_selector=labelled
        )

    def wait_phase(self, name: str, *phases: str, timeout: float = 60.0) -> client.V1Pod:
        """The pod, once its phase is one of these."""

        def there(pods: list[client.V1Pod]) -> client.V1Pod | None:
            found = (pod for pod in pods if pod.metadata.name == name)
            return next((pod for pod in found if pod.status.phase in phases), None)

        pod = self.wait(there, f"{name} is {' or '.join(phases)}", timeout)
        assert pod is not None
        return pod

    def wait_gone(self, *names: str, timeout: float = 60.0) -> None:
        """Until there are no pods of these names."""

        def gone(pods: list[client.V1Pod]) -> bool:
            return not any(pod.metadata.name in names for pod in pods)

        self.wait(gone, f"{', '.join(names)} gone", timeout)

    def wait_for(
        self,
        list_them: Callable[..., Any],
        wanted: Callable[[list[Any]], T],
        what: str,
        field_selector: str = "",
        label_selector: str = "",
        timeout: float = 60.0,
    ) -> T:
        """Lists and watches until `wanted` makes something truthy of the objects, by level: each
        look is at all of them. What breaks, such as the server's end, begins again with a list."""
        deadline = time.monotonic() + timeout
        chosen = {"field_selector": field_selector, "label_selector": label_selector}
        last: object = "nothing was seen"
        while (left := deadline - time.monotonic()) > 0:
            try:
                for objects in self._looks(list_them, chosen, left):
                    if seen := wanted(objects):
                        return seen
                    last = [summary(each) for each in objects]
            except (ApiException, HTTPError, OSError) as error:
                if not passing(error):
                    raise
                time.sleep(POLL_SECONDS)
        raise AssertionError(f"not within {timeout} s: {what}; last seen: {last}")

    def _looks(
        self, list_them: Callable[..., Any], chosen: dict[str, str], seconds: float
    ) -> Iterator[list[Any]]:
        """All objects, and all of them again after each change, for so many seconds."""
        listed = list_them(self.name, _request_timeout=(CONNECT_SECONDS, seconds), **chosen)
        objects = {each.metadata.uid: each for each in listed.items}
        yield list(objects.values())
        changes = watch.Watch().stream(
            list_them,
            self.name,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=max(1, round(seconds)),
            # A server that hangs is not waited for longer either.
            _request_timeout=(CONNECT_SECONDS, seconds),
            **chosen,
        )
        for change in changes:
            each = change["object"]
            if change["type"] == "DELETED":
                objects.pop(each.metadata.uid, None)
            else:
                objects[each.metadata.uid] = each
            yield list(objects.values())


def passing(error: Exception) -> bool:
    """Whether the server may answer the same call well later: it is away, busy, or has forgotten
    since when it was watched."""
    return not isinstance(error, ApiException) or error.status in (0, 410, *PASSING)


def selector(labels: dict[str, str]) -> str:
    """A selector of labels that are named for short."""
    names = {"instance": manifests.INSTANCE, "run": manifests.RUN}
    return ",".join(f"{names.get(key, key)}={value}" for key, value in labels.items())


def summary(each: Any) -> str:
    phase = getattr(each.status, "phase", "") if hasattr(each, "status") else ""
    return f"{each.metadata.name} {phase}".strip()
