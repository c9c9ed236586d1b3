"""`metrics.k8s.io` for a cluster of the kit, which has no metrics-server: a server behind the API
server's aggregation that tells what the kubelets measure."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from cluster import Cluster
from manifests import ENTITY
from processes import eventually

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
PATH = f"/apis/{GROUP}/{VERSION}"
SERVICE = "pod-metrics"
NAMESPACE = "default"


def is_offered(cluster: Cluster) -> bool:
    """Whether the cluster measures pods already."""
    return cluster.offers(f"{GROUP}/{VERSION}")


class PodMetrics:
    """The server, from start to stop. Its API server must be on this machine."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.node = cluster.node()
        # Entities whose pods are said not to have been measured.
        self.withheld: set[str] = set()
        self.registry = client.ApiregistrationV1Api(cluster.api.api_client)
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> PodMetrics:
        self._withdraw()
        port = self.server.server_port
        # No address of a service leads anywhere here; such a one is reached by its name.
        service = {
            "metadata": {"name": SERVICE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        }
        self.cluster.surely(self.cluster.api.create_namespaced_service, NAMESPACE, service)
        offer = {
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": SERVICE, "namespace": NAMESPACE, "port": port},
            },
        }
        self.cluster.surely(self.registry.create_api_service, offer)
        eventually(lambda: is_offered(self.cluster) and self._is_available(), "pods are measured", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._withdraw()
        # Whoever lists what there is would wait for it.
        eventually(lambda: not is_offered(self.cluster), "pods are not measured any more", 60)
        self.server.shutdown()
        self.server.server_close()

    def _withdraw(self) -> None:
        for call, arguments in (
            (self.registry.delete_api_service, [f"{VERSION}.{GROUP}"]),
            (self.cluster.api.delete_namespaced_service, [SERVICE, NAMESPACE]),
        ):
            # Not there, or not any more.
            with suppress(ApiException):
                # A server of 2021 answers with another object than the client thinks.
                self.cluster.surely(call, *arguments, _preload_content=False)

    def _is_available(self) -> bool:
        offer = self.cluster.surely(self.registry.read_api_service, f"{VERSION}.{GROUP}")
        conditions = offer.status.conditions or [] if offer.status else []
        return any(it.type == "Available" and it.status == "True" for it in conditions)

    def measured(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """What the kubelet says of the pods of a namespace that it has measured."""
        answer = self.cluster.surely(
            self.cluster.api.connect_get_node_proxy_with_path,
            self.node,
            "stats/summary",
            _preload_content=False,
        )
        pods = self.cluster.surely(
            self.cluster.api.list_namespaced_pod, namespace, label_selector=selector
        )
        labels = {
            pod.metadata.uid: pod.metadata.labels
            for pod in pods.items
            if (pod.metadata.annotations or {}).get(ENTITY) not in self.withheld
        }
        return [
            {
                "metadata": {
                    "name": pod["podRef"]["name"],
                    "namespace": namespace,
                    "labels": labels[pod["podRef"]["uid"]],
                },
                "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
                "window": "10s",
                "containers": [container(each) for each in pod["containers"]],
            }
            for pod in json.loads(answer.data)["pods"]
            if pod["podRef"]["uid"] in labels and is_measured(pod)
        ]

    def answer(self, target: str) -> tuple[int, dict[str, Any]]:
        """As metrics-server answers."""
        url = urlsplit(target)
        match url.path.removeprefix(PATH).strip("/").split("/"):
            case [""]:
                verbs = ["get", "list"]
                pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics"}
                listed = {"groupVersion": f"{GROUP}/{VERSION}", "resources": [pods | {"verbs": verbs}]}
                return 200, {"kind": "APIResourceList", "apiVersion": "v1", **listed}
            case ["namespaces", namespace, "pods"]:
                selector = parse_qs(url.query).get("labelSelector", [""])[0]
                return 200, typed("PodMetricsList", items=self.measured(namespace, selector))
            case ["namespaces", namespace, "pods", name]:
                for pod in self.measured(namespace):
                    if pod["metadata"]["name"] == name:
                        return 200, typed("PodMetrics", **pod)
                said = f'podmetrics.{GROUP} "{namespace}/{name}" not found'
                return 404, failure("NotFound", said, 404)
            case _:
                said = "the server could not find the requested resource"
                return 404, failure("NotFound", said, 404)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                code, body = answer(self.path)
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler


def is_measured(pod: dict[str, Any]) -> bool:
    """The first look at a container has nothing to compare its time with."""
    containers = pod.get("containers") or []
    return bool(containers) and all(
        "usageNanoCores" in each.get("cpu", {}) and "workingSetBytes" in each.get("memory", {})
        for each in containers
    )


def container(each: dict[str, Any]) -> dict[str, Any]:
    """In the units that metrics-server writes."""
    usage = {
        "cpu": f"{each['cpu']['usageNanoCores']}n",
        "memory": f"{each['memory']['workingSetBytes'] // 1024}Ki",
    }
    return {"name": each["name"], "usage": usage}


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}, **fields}


def failure(reason: str, message: str, code: int) -> dict[str, Any]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return status | {"reason": reason, "message": message, "code": code}
