"""An OpenTelemetry collector that keeps what it is sent: by gRPC, or by HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from processes import eventually


def attributes(pairs: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    read = {pair.key: value(pair) for pair in pairs}
    assert len(read) == len(pairs), "an attribute is there twice"
    return read


@dataclass(frozen=True)
class Span:
    resource: dict[str, Any]
    scope: str
    attributes: dict[str, Any]
    # The message itself: ids, times, status.
    raw: Any

    @property
    def name(self) -> str:
        return str(self.raw.name)

    @property
    def ms(self) -> float:
        return float(self.raw.end_time_unix_nano - self.raw.start_time_unix_nano) / 1e6


class Collector(TraceServiceServicer):
    """What was sent by now."""

    def __init__(self) -> None:
        self.address = ""
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._lock:
            for resource in request.resource_spans:
                of = attributes(resource.resource.attributes)
                for scope in resource.scope_spans:
                    self._spans += [
                        Span(of, scope.scope.name, attributes(span.attributes), span)
                        for span in scope.spans
                    ]

    def spans(self, name: str, **wanted: Any) -> list[Span]:
        """Those of this name whose attributes `runner.…` are as wanted."""
        with self._lock:
            return [
                span
                for span in self._spans
                if span.name == name
                and all(span.attributes.get(f"runner.{k}") == v for k, v in wanted.items())
            ]

    def wait_for(self, name: str, **wanted: Any) -> Span:
        return eventually(lambda: self.spans(name, **wanted), f"{name} {wanted}", timeout=20)[0]

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        self.take(request)
        return ExportTraceServiceResponse()


@contextmanager
def by_grpc(port: int = 0) -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    add_TraceServiceServicer_to_server(collector, server)
    collector.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()


@contextmanager
def by_http() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["content-length"]))
            right = self.path == "/v1/traces"
            right &= self.headers["content-type"] == "application/x-protobuf"
            if right:
                collector.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200 if right else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
