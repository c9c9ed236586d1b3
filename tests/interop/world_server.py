"""A world server as the runner's users have it: Python, grpcio, ten workers.

It speaks the whole contract of `proto/world.proto` but its extension: WatchControllableEntities
is not registered, so that grpcio answers UNIMPLEMENTED, as servers do that never heard of it.
Each open stream holds one worker of the thread pool for its whole life, by design of grpcio; with
as many streams as workers every further call hangs until its deadline.

Prints `listening on PORT`, then obeys one JSON command a line on stdin and answers each with one
JSON line on stdout. It ends when told to, and when stdin ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import stubs

sys.path.insert(0, str(stubs.build()))

import world_pb2 as pb  # noqa: E402

MODES = ("normal", "empty", "hang", "error")
SIZE = 32
DIRECTIONS = {
    pb.NORTH: (0, -1),
    pb.NORTHEAST: (1, -1),
    pb.EAST: (1, 0),
    pb.SOUTHEAST: (1, 1),
    pb.SOUTH: (0, 1),
    pb.SOUTHWEST: (-1, 1),
    pb.WEST: (-1, 0),
    pb.NORTHWEST: (-1, -1),
}


@dataclass
class Being:
    """A controllable entity."""

    id: str
    kind: str = "forager"
    tags: tuple[str, ...] = ()
    spawn_tick: int = 0
    x: int = SIZE // 2
    y: int = SIZE // 2
    berries: int = 3


@dataclass
class Lease:
    id: str
    controller: str
    expires: float


@dataclass
class World:
    """What there is, behind one lock; `changed` is notified at each tick and each change."""

    lease_seconds: float
    tick_seconds: float
    beings: list[Being] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=dict)
    mode: str = "normal"
    tick: int = 0
    lease_count: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def find(self, entity_id: str) -> Being | None:
        return next((being for being in self.beings if being.id == entity_id), None)

    def lease_of(self, entity_id: str) -> Lease | None:
        """The entity's lease, if it has not expired."""
        lease = self.leases.get(entity_id)
        if lease is not None and lease.expires <= time.time():
            del self.leases[entity_id]
            return None
        return lease

    def by_lease(self, lease_id: str) -> tuple[str, Lease] | None:
        for entity_id in list(self.leases):
            lease = self.lease_of(entity_id)
            if lease is not None and lease.id == lease_id:
                return entity_id, lease
        return None

    def acquire(self, entity_id: str, controller: str) -> Lease | str:
        """The lease, new or renewed, or why not."""
        if self.find(entity_id) is None:
            return "no such entity"
        lease = self.lease_of(entity_id)
        if lease is None:
            self.lease_count += 1
            lease = Lease(f"lease-{self.lease_count}", controller, 0.0)
            self.leases[entity_id] = lease
        elif lease.controller != controller:
            return "already leased by another controller"
        lease.expires = time.time() + self.lease_seconds
        return lease

    def run_clock(self) -> None:
        while True:
            time.sleep(self.tick_seconds)
            with self.changed:
                self.tick += 1
                self.changed.notify_all()


class Service(grpc.GenericRpcHandler):
    """Counts every call as it comes in, before it waits for a worker, and finds its handler."""

    def __init__(self, world: World) -> None:
        self.world = world
        unary = grpc.unary_unary_rpc_method_handler
        stream = grpc.unary_stream_rpc_method_handler
        # (service, method): (kind of call, its function, the request's type)
        table: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]] = {
            "EntityDiscoveryService/ListControllableEntities": (
                unary, self.list_entities, pb.ListControllableEntitiesRequest),
            "LeaseService/AcquireLease": (unary, self.acquire, pb.AcquireLeaseRequest),
            "LeaseService/RenewLease": (unary, self.renew, pb.RenewLeaseRequest),
            "LeaseService/ReleaseLease": (unary, self.release, pb.ReleaseLeaseRequest),
            "TickService/StreamTicks": (stream, self.ticks, pb.StreamTicksRequest),
            "ObservationService/StreamObservations": (
                stream, self.observations, pb.StreamObservationsRequest),
            "ActionService/SubmitIntent": (unary, self.submit, pb.SubmitIntentRequest),
        }  # fmt: skip
        self.handlers = {
            f"/world.{path}": kind(
                function,
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for path, (kind, function, request) in table.items()
        }

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        with self.world.changed:
            self.world.calls[call.method.rpartition("/")[2]] += 1
        return self.handlers.get(call.method)

    # EntityDiscoveryService

    def list_entities(self, _request: Any, context: grpc.ServicerContext) -> Any:
        world = self.world
        with world.changed:
            while world.mode == "hang" and context.is_active():
                world.changed.wait()
            if world.mode == "error":
                context.abort(grpc.StatusCode.INTERNAL, "the world is out of order")
            shown = [] if world.mode == "empty" else world.beings
            return pb.ControllableEntitiesResponse(entities=map(self.describe, shown))

    def describe(self, being: Being) -> Any:
        return pb.ControllableEntity(
            entity_id=being.id,
            entity_type=being.kind,
            tags=being.tags,
            spawn_tick=being.spawn_tick,
            has_active_lease=self.world.lease_of(being.id) is not None,
        )

    # LeaseService

    def acquire(self, request: Any, _context: grpc.ServicerContext) -> Any:
        with self.world.changed:
            return lease_response(self.world.acquire(request.entity_id, request.controller_id))

    def renew(self, request: Any, _context: grpc.ServicerContext) -> Any:
        with self.world.changed:
            held = self.world.by_lease(request.lease_id)
            if held is None:
                return lease_response("no such lease")
            entity_id, lease = held
            return lease_response(self.world.acquire(entity_id, lease.controller))

    def release(self, request: Any, _context: grpc.ServicerContext) -> Any:
        with self.world.changed:
            held = self.world.by_lease(request.lease_id)
            if held is not None:
                del self.world.leases[held[0]]
            return pb.ReleaseLeaseResponse(success=held is not None)

    # TickService, ObservationService

    def ticks(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for tick in self.each_tick(context):
            start, deadline = self.times()
            yield pb.TickEvent(
                tick_id=tick,
                tick_start_server_time_ms=start,
                intent_deadline_server_time_ms=deadline,
                tick_duration_ms=int(self.world.tick_seconds * 1000),
                world_version="interop",
            )

    def observations(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with self.world.changed:
            held = self.world.by_lease(request.lease_id)
        if held is None or held[0] != request.entity_id:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no lease for this entity")
        for tick in self.each_tick(context):
            being = self.world.find(request.entity_id)
            if being is None:
                return
            yield observation(being, tick, self.times()[1])

    def each_tick(self, context: grpc.ServicerContext) -> Iterator[int]:
        """The ticks for as long as the call is open. The caller's worker is held all the while."""
        world = self.world
        with world.changed:
            world.streams += 1
        try:
            last = -1
            while context.is_active():
                with world.changed:
                    while world.tick == last and context.is_active():
                        world.changed.wait()
                    last = world.tick
                yield last
        finally:
            with world.changed:
                world.streams -= 1

    def times(self) -> tuple[int, int]:
        now = time.time()
        return int(now * 1000), int((now + self.world.tick_seconds) * 1000)

    # ActionService

    def submit(self, request: Any, _context: grpc.ServicerContext) -> Any:
        with self.world.changed:
            held = self.world.by_lease(request.lease_id)
            being = self.world.find(request.entity_id)
            if held is None or being is None or held[0] != being.id:
                return pb.SubmitIntentResponse(accepted=False, reason="no lease for this entity")
            reason = act(being, request.intent)
            return pb.SubmitIntentResponse(accepted=not reason, reason=reason)


def lease_response(outcome: Lease | str) -> Any:
    if isinstance(outcome, str):
        return pb.LeaseResponse(success=False, reason=outcome)
    return pb.LeaseResponse(
        success=True, lease_id=outcome.id, expires_at_ms=int(outcome.expires * 1000)
    )


def observation(being: Being, tick: int, deadline_ms: int) -> Any:
    position = pb.Position(x=being.x, y=being.y)
    items = [pb.InventoryItem(kind="berry", quantity=being.berries)]
    return pb.Observation(
        tick_id=tick,
        deadline_ms=deadline_ms,
        self=pb.Entity(
            entity_id=being.id,
            position=position,
            entity_type=being.kind,
            tags=being.tags,
            inventory=pb.Inventory(items=items),
        ),
        visible_tiles=[pb.Tile(position=position, walkable=True, floor_type="grass")],
    )


def act(being: Being, intent: Any) -> str:
    """Does what is asked; says why not, if not."""
    match intent.WhichOneof("action"):
        case "move":
            if intent.move.direction not in DIRECTIONS:
                return "no such direction"
            dx, dy = DIRECTIONS[intent.move.direction]
            x, y = being.x + dx, being.y + dy
            if not (0 <= x < SIZE and 0 <= y < SIZE):
                return "the world ends here"
            being.x, being.y = x, y
        case "wait":
            pass
        case "eat":
            if being.berries < intent.eat.amount:
                return "not that many left"
            being.berries -= intent.eat.amount
        case "collect":
            being.berries += intent.collect.amount
        case _:
            return "no action"
    return ""


class Doorkeeper(grpc.ServerInterceptor):
    """Lets calls in that bear the token; says to others what they bore, as careless servers do."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        call: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        shown = dict(call.invocation_metadata).get("authorization", "nothing")
        if self.token is None or shown == f"Bearer {self.token}":
            return continuation(call)

        def refuse(_request: Any, context: grpc.ServicerContext) -> Any:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"not let in with {shown}")

        return grpc.unary_unary_rpc_method_handler(refuse)


class Admin:
    """What a test may ask for on stdin."""

    def __init__(self, world: World, server: grpc.Server, door: Doorkeeper) -> None:
        self.world = world
        self.server = server
        self.door = door

    def serve(self) -> None:
        for line in sys.stdin:
            try:
                answer = self.obey(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
            if answer.get("stopped"):
                return

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        world = self.world
        with world.changed:
            world.changed.notify_all()
            match command.pop("cmd"):
                case "add":
                    command["tags"] = tuple(command.get("tags", ()))
                    world.beings.append(Being(**command))
                case "remove":
                    world.beings = [being for being in world.beings if being.id != command["id"]]
                    world.leases.pop(command["id"], None)
                case "mode":
                    if command["mode"] not in MODES:
                        raise ValueError(f"mode is one of {MODES}")
                    world.mode = command["mode"]
                case "lease":
                    lease = world.acquire(command["id"], command["controller"])
                    if isinstance(lease, str):
                        raise ValueError(lease)
                case "release":
                    world.leases.pop(command["id"], None)
                case "leases":
                    leases = {id: world.lease_of(id) for id in list(world.leases)}
                    held = {id: lease.controller for id, lease in leases.items() if lease}
                    return {"ok": True, "leases": held}
                case "counts":
                    return {"ok": True, "calls": dict(world.calls), "streams": world.streams}
                case "token":
                    self.door.token = command["token"]
                case "stop":
                    self.server.stop(None)
                    return {"ok": True, "stopped": True}
                case other:
                    raise ValueError(f"no command {other!r}")
        return {"ok": True}


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--entities", default="", help="ids, with commas between them")
    parser.add_argument("--count", type=int, default=0, help="that many more: e000, e001, …")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--tick-ms", type=int, default=250)
    parser.add_argument("--lease-ms", type=int, default=30_000)
    parser.add_argument("--tls-cert", type=Path, help="with --tls-key, TLS instead of plain text")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--tls-client-ca", type=Path, help="who vouches for clients (mutual TLS)")
    parser.add_argument("--token", help="what each call must bear")
    return parser.parse_args(argv)


def listen(server: grpc.Server, options: argparse.Namespace) -> int:
    address = f"127.0.0.1:{options.port}"
    if options.tls_cert is None:
        return int(server.add_insecure_port(address))
    ca = options.tls_client_ca
    credentials = grpc.ssl_server_credentials(
        [(options.tls_key.read_bytes(), options.tls_cert.read_bytes())],
        root_certificates=ca.read_bytes() if ca else None,
        require_client_auth=ca is not None,
    )
    return int(server.add_secure_port(address, credentials))


def main() -> None:
    options = parse(sys.argv[1:])
    ids = [id for id in options.entities.split(",") if id]
    ids += [f"e{number:03}" for number in range(options.count)]
    world = World(options.lease_ms / 1000, options.tick_ms / 1000, [Being(id) for id in ids])
    door = Doorkeeper(options.token)
    server = grpc.server(
        ThreadPoolExecutor(max_workers=options.workers),
        handlers=[Service(world)],
        interceptors=[door],
        # Two servers on one port would share its connections; the second is to fail instead.
        options=[("grpc.so_reuseport", 0)],
    )
    port = listen(server, options)
    server.start()
    threading.Thread(target=world.run_clock, daemon=True).start()
    print(f"listening on {port}", flush=True)
    Admin(world, server, door).serve()
    sys.stdout.flush()
    # Workers may be held by streams for ever: nothing here is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
