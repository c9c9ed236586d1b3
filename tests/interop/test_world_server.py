"""The world server of the suite does what the contract and the observed facts say."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import grpc
import pytest

import stubs
from processes import eventually
from world import World

sys.path.insert(0, str(stubs.build()))

import world_pb2 as pb  # noqa: E402
import world_pb2_grpc as rpc  # noqa: E402


class Client:
    """All the stubs of one channel."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.discovery = rpc.EntityDiscoveryServiceStub(self.channel)
        self.leases = rpc.LeaseServiceStub(self.channel)
        self.ticks = rpc.TickServiceStub(self.channel)
        self.observations = rpc.ObservationServiceStub(self.channel)
        self.actions = rpc.ActionServiceStub(self.channel)

    def entities(self, timeout: float = 5.0) -> list[pb.ControllableEntity]:
        request = pb.ListControllableEntitiesRequest()
        return list(self.discovery.ListControllableEntities(request, timeout=timeout).entities)

    def acquire(self, entity: str, controller: str) -> pb.LeaseResponse:
        request = pb.AcquireLeaseRequest(entity_id=entity, controller_id=controller)
        return self.leases.AcquireLease(request, timeout=5)

    def code_of_list(self, timeout: float) -> grpc.StatusCode | None:
        try:
            self.entities(timeout)
        except grpc.RpcError as error:
            return error.code()
        return None


@pytest.fixture
def world() -> Iterator[World]:
    with World("--entities", "alice,bob", "--tick-ms", "50") as world:
        yield world


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    client = Client(world.address)
    yield client
    client.channel.close()


def test_lists_what_was_added(world: World, client: Client) -> None:
    world.add("carol", kind="miner", tags=["big", "slow"], spawn_tick=7)
    world.remove("alice")
    bob, carol = client.entities()
    assert bob.entity_id == "bob"
    assert (carol.entity_id, carol.entity_type, carol.spawn_tick) == ("carol", "miner", 7)
    assert list(carol.tags) == ["big", "slow"]
    assert not carol.has_active_lease


def test_a_lease_is_renewed_by_its_holder_and_refused_to_others(
    world: World, client: Client
) -> None:
    first = client.acquire("alice", "me")
    assert first.success
    assert 29_000 < first.expires_at_ms - time.time() * 1000 < 31_000
    again = client.acquire("alice", "me")
    assert again.success and again.lease_id == first.lease_id
    other = client.acquire("alice", "you")
    assert not other.success and other.reason
    assert world.leases() == {"alice": "me"}
    assert client.entities()[0].has_active_lease
    assert client.leases.RenewLease(pb.RenewLeaseRequest(lease_id=first.lease_id)).success
    assert client.leases.ReleaseLease(pb.ReleaseLeaseRequest(lease_id=first.lease_id)).success
    assert not client.leases.RenewLease(pb.RenewLeaseRequest(lease_id=first.lease_id)).success
    assert client.acquire("alice", "you").success


def test_a_lease_expires() -> None:
    with World("--entities", "alice", "--lease-ms", "200") as world:
        world.lease("alice", "somebody")
        assert world.leases() == {"alice": "somebody"}
        eventually(lambda: not world.leases(), "the lease expires")


def test_observations_need_the_lease_and_follow_the_moves(client: Client) -> None:
    lease = client.acquire("alice", "me").lease_id
    wrong = pb.StreamObservationsRequest(lease_id=lease, entity_id="bob")
    with pytest.raises(grpc.RpcError):
        next(client.observations.StreamObservations(wrong))
    stream = client.observations.StreamObservations(
        pb.StreamObservationsRequest(lease_id=lease, entity_id="alice")
    )
    before = next(stream)
    move = pb.SubmitIntentRequest(
        lease_id=lease,
        entity_id="alice",
        tick_id=before.tick_id,
        intent=pb.Intent(move=pb.MoveIntent(direction=pb.NORTH)),
    )
    assert client.actions.SubmitIntent(move).accepted
    here = getattr(before, "self").position
    moved = next(seen for seen in stream if getattr(seen, "self").position != here)
    assert getattr(moved, "self").position.y == here.y - 1
    assert moved.tick_id > before.tick_id
    stream.cancel()


def test_watching_is_not_offered_but_counted(world: World, client: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(client.discovery.WatchControllableEntities(pb.WatchControllableEntitiesRequest()))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert world.calls("WatchControllableEntities") == 1
    assert world.streams() == 0


def test_as_many_streams_as_workers_leave_no_worker_for_discovery() -> None:
    with World("--entities", "alice", "--workers", "3", "--tick-ms", "50") as world:
        client = Client(world.address)
        streams = [client.ticks.StreamTicks(pb.StreamTicksRequest()) for _ in range(3)]
        for stream in streams:
            next(stream)
        assert world.streams() == 3
        assert client.code_of_list(0.5) == grpc.StatusCode.DEADLINE_EXCEEDED
        assert world.asked() == 1, "a call is counted although no worker takes it"
        streams[0].cancel()
        eventually(lambda: world.streams() == 2, "the worker is free again")
        assert client.code_of_list(5.0) is None
        client.channel.close()


def test_modes_of_answering(world: World, client: Client) -> None:
    world.mode("empty")
    assert client.entities() == []
    world.mode("error")
    assert client.code_of_list(5.0) == grpc.StatusCode.INTERNAL
    world.mode("hang")
    assert client.code_of_list(0.3) == grpc.StatusCode.DEADLINE_EXCEEDED
    world.mode("normal")
    assert len(client.entities()) == 2


def test_killed_it_ends_every_stream_and_comes_back_on_its_port() -> None:
    with World("--entities", "alice", "--tick-ms", "50") as world:
        port = world.port
        mine = Client(world.address)
        stream = mine.ticks.StreamTicks(pb.StreamTicksRequest())
        next(stream)
        world.kill()
        with pytest.raises(grpc.RpcError):
            list(stream)
        mine.channel.close()
    with World("--entities", "alice", port=port) as again:
        assert Client(again.address).code_of_list(5.0) is None
