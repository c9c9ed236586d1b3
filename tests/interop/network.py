"""A network between a runner and its world, that does what a test wants with each packet.

Two network namespaces, each with a TUN device, of which this process holds the other end: what
one sends is handed to the other late, twice, or never. No netem and no firewall is needed, and
nothing of the machine's own network is touched. Where it cannot be had, the test is skipped.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
RUNNER, WORLD, ELSEWHERE = "10.77.0.1", "10.77.0.2", "10.77.0.3"
NAME = "world.test"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CLONE_NEWNET = 0x4000_0000
# A world of these tests is not on loopback: a runner speaks to such a one in the clear only if it is
# told to.
PLAINTEXT = {"insecure": True}


@dataclass
class Weather:
    """What becomes of packets."""

    # The part of them that is lost, and that comes twice, in each direction.
    loss: float = 0.0
    twice: float = 0.0
    # How late they come, and how much later at most: they overtake each other.
    delay: float = 0.0
    jitter: float = 0.0
    # Addresses to and from which nothing comes.
    dead: tuple[str, ...] = ()
    # Addresses to which nothing comes.
    deaf: tuple[str, ...] = ()


class Network:
    """Two namespaces, and the way between them."""

    def __init__(self, seed: int = 1) -> None:
        token = uuid.uuid4().hex[:6]
        self.runner_side, self.world_side = f"rt-r-{token}", f"rt-w-{token}"
        self.random = random.Random(seed)
        self.weather = Weather()
        self.hosts = Path("/etc/netns") / self.runner_side / "hosts"
        self.ends: list[int] = []
        self.closed, self.closer = os.pipe()
        self.carried = self.lost = 0
        try:
            for side in (self.runner_side, self.world_side):
                ip("netns", "add", side)
                self.ends.append(self.plug(side))
            addresses = [(self.runner_side, RUNNER), (self.world_side, WORLD)]
            for side, address in [*addresses, (self.world_side, ELSEWHERE)]:
                ip("-n", side, "address", "add", f"{address}/24", "dev", "tun0")
            for side in (self.runner_side, self.world_side):
                ip("-n", side, "link", "set", "lo", "up")
                ip("-n", side, "link", "set", "tun0", "up")
            self.hosts.parent.mkdir(parents=True)
            self.name(WORLD)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or b""
            self.close()
            pytest.skip(f"NOT TESTED: no network of our own here: {error} {said!r}")
        self.carrier = threading.Thread(target=self.carry, daemon=True)
        self.carrier.start()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self.closer, b"x")
        self.carrier.join()
        self.close()

    def close(self) -> None:
        for end in (*self.ends, self.closed, self.closer):
            os.close(end)
        for side in (self.runner_side, self.world_side):
            with suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "delete", side)
        with suppress(OSError):
            self.hosts.unlink(missing_ok=True)
            self.hosts.parent.rmdir()

    def plug(self, side: str) -> int:
        """A device in a namespace; what it sends is read from what this returns."""
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        name = f"rt{uuid.uuid4().hex[:8]}"
        fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        ip("link", "set", name, "netns", side, "name", "tun0")
        return end

    def name(self, address: str) -> None:
        """From now on the world's name is that of this address. It is written in place, as the
        file is mounted where programs look for it."""
        self.hosts.write_text(f"127.0.0.1 localhost\n{address} {NAME}\n")

    def within(self) -> tuple[str, ...]:
        """What is put before a command that is to be run on the runner's side."""
        return ("ip", "netns", "exec", self.runner_side)

    def listen(self, address: str, port: int = 50051) -> socket.socket:
        return self.on_world_side(lambda: socket.create_server((address, port)))

    def on_world_side(self, make: Callable[[], T]) -> T:
        """A socket is of the namespace of the thread that made it."""
        made: list[T | BaseException] = []

        def run() -> None:
            try:
                with open(f"/run/netns/{self.world_side}") as there:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                made.append(make())
            except BaseException as error:  # noqa: BLE001: it is raised where it is awaited
                made.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        [result] = made
        if isinstance(result, BaseException):
            raise result
        return result

    def carry(self) -> None:
        """Hands packets on, each when its time has come."""
        waiting: list[tuple[float, int, int, bytes]] = []
        count = 0
        there = {self.ends[0]: self.ends[1], self.ends[1]: self.ends[0]}
        while True:
            timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            readable, _, _ = select.select([*self.ends, self.closed], [], [], timeout)
            if self.closed in readable:
                return
            for end in readable:
                for packet in packets(end):
                    for at in self.fate(packet):
                        count += 1
                        heapq.heappush(waiting, (at, count, there[end], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                with suppress(OSError):
                    os.write(end, packet)

    def fate(self, packet: bytes) -> list[float]:
        """When it arrives: not at all, once, or twice."""
        weather, now = self.weather, time.monotonic()
        source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
        cut_off = {source, target} & set(weather.dead) or target in weather.deaf
        if packet[0] >> 4 != 4 or cut_off or self.random.random() < weather.loss:
            self.lost += 1
            return []
        self.carried += 1
        copies = 2 if self.random.random() < weather.twice else 1
        return [now + weather.delay + self.random.random() * weather.jitter for _ in range(copies)]


def packets(end: int) -> list[bytes]:
    read = []
    with suppress(BlockingIOError):
        while len(read) < 100:
            read.append(os.read(end, 65_536))
    return read


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)
