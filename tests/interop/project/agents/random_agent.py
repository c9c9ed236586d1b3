"""A real agent of the contract: leases its entity, and moves it about at random.

Exits 0 with an error in its log when it cannot get its lease or its stream of observations ends,
1 when it cannot reach the server at all, 0 on SIGTERM after it released its lease.

`grpc` and the generated stubs are named to the environment by setup.sh: the project itself has no
dependencies.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

import grpc
import world_pb2 as pb
import world_pb2_grpc as rpc

CONNECT_SECONDS = 2.0
# A busy server answers late; one that never answers is no reason to give a lease up.
LEASE_SECONDS = 30.0
CALL_SECONDS = 2.0
RELEASE_SECONDS = 1.0
FAILED = 3


class Terminated(Exception):
    """SIGTERM came."""


class NoLease(Exception):
    """The world refused the lease, or took it away."""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--server", required=True)
    parser.add_argument("--entity", required=True)
    parser.add_argument("--eat-probability", type=float, default=0.0)
    parser.add_argument("--fail-after-ms", type=int, help=f"then exit {FAILED}")
    parser.add_argument("--hang-after-ms", type=int, help="then live on, deaf to everything")
    return parser.parse_args(argv)


def main() -> int:
    signal.signal(signal.SIGTERM, on_term)
    options = parse(sys.argv[1:])
    say(f"start {sys.argv[1:]}")
    try:
        return live(options)
    except Terminated:
        say("SIGTERM: bye")
        return 0


def on_term(_signal: int, _frame: FrameType | None) -> NoReturn:
    # Under `uv run` the signal may come twice; once is enough.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def say(text: str) -> None:
    print(text, flush=True)


def live(options: argparse.Namespace) -> int:
    if options.fail_after_ms is not None:
        timer = threading.Timer(options.fail_after_ms / 1000, os._exit, args=[FAILED])
        timer.daemon = True
        timer.start()
    channel = grpc.insecure_channel(options.server)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        say(f"error: cannot reach {options.server}")
        return 1
    try:
        Agent(channel, options).run()
    except NoLease as error:
        say(f"error: no lease: {error}")
    except grpc.RpcError as error:
        say(f"error: {code_of(error)}")
    return 0


def code_of(error: grpc.RpcError) -> str:
    return error.code().name if isinstance(error, grpc.Call) else repr(error)


class Agent:
    """One entity's controller, from lease to release."""

    def __init__(self, channel: grpc.Channel, options: argparse.Namespace) -> None:
        self.options = options
        self.leases = rpc.LeaseServiceStub(channel)
        self.observations = rpc.ObservationServiceStub(channel)
        self.actions = rpc.ActionServiceStub(channel)
        self.lease_id = ""
        self.started = time.monotonic()

    def run(self) -> None:
        self.acquire()
        request = pb.StreamObservationsRequest(
            lease_id=self.lease_id, entity_id=self.options.entity
        )
        stream = self.observations.StreamObservations(request)
        try:
            for observation in stream:
                self.hang_if_due()
                self.renew()
                self.act(observation)
            say("error: the stream of observations ended")
        except Terminated:
            # It holds one of the server's workers, which the release may need.
            stream.cancel()
            self.release()
            raise

    def acquire(self) -> None:
        # The same name at every start: a successor takes over its predecessor's lease.
        request = pb.AcquireLeaseRequest(
            entity_id=self.options.entity, controller_id=f"random-agent:{self.options.entity}"
        )
        answer = self.leases.AcquireLease(request, timeout=LEASE_SECONDS)
        if not answer.success:
            raise NoLease(answer.reason)
        self.lease_id = answer.lease_id
        say(f"leased {self.options.entity}")

    def renew(self) -> None:
        request = pb.RenewLeaseRequest(lease_id=self.lease_id)
        try:
            answer = self.leases.RenewLease(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            say(f"warning: lease not renewed: {code_of(error)}")
            return
        if not answer.success:
            raise NoLease(answer.reason)

    def act(self, observation: pb.Observation) -> None:
        if random.random() < self.options.eat_probability:
            intent = pb.Intent(eat=pb.EatIntent(item_type="berry", amount=1))
        else:
            intent = pb.Intent(move=pb.MoveIntent(direction=random.randint(1, 8)))
        request = pb.SubmitIntentRequest(
            lease_id=self.lease_id,
            entity_id=self.options.entity,
            tick_id=observation.tick_id,
            intent=intent,
        )
        try:
            self.actions.SubmitIntent(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            say(f"warning: intent not taken: {code_of(error)}")

    def release(self) -> None:
        request = pb.ReleaseLeaseRequest(lease_id=self.lease_id)
        try:
            self.leases.ReleaseLease(request, timeout=RELEASE_SECONDS)
            say("released")
        except grpc.RpcError as error:
            say(f"warning: not released: {code_of(error)}")

    def hang_if_due(self) -> None:
        after = self.options.hang_after_ms
        if after is None or time.monotonic() - self.started < after / 1000:
            return
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("hanging")
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main())
