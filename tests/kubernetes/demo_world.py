"""The demo world as a process of its own on the host: `runner world`."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import grpc
import world_pb2 as pb
import world_pb2_grpc as rpc

from configs import toml
from log import Log
from paths import RUNNER_BIN

OPEN = "the demo world is open"


class DemoWorld:
    """A demo world, from start to stop."""

    def __init__(self, directory: Path, entities: str) -> None:
        file = directory / "world.toml"
        world = {"width": 16, "height": 10, "tick_duration_ms": 200}
        file.write_text(toml({"world": world}) + entities)
        command = [
            str(RUNNER_BIN), "world", "--log-format", "json",
            "--config", str(file), "--listen", "127.0.0.1:0",
        ]  # fmt: skip
        self.log = Log()
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(
            target=self.log.feed, args=[self.process.stderr], daemon=True
        )
        self._reader.start()
        opened = self.log.wait_until(lambda line: OPEN in line.text, OPEN, timeout=10)
        self.address = str(opened.fields["address"])

    def __enter__(self) -> DemoWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(2)

    def wait_leased(self, *entities: str, leased: bool = True, timeout: float = 60.0) -> None:
        """Until all of them are leased, or none of them is."""
        states: dict[str, bool] = {}
        with grpc.insecure_channel(self.address) as channel:
            stub = rpc.EntityDiscoveryServiceStub(channel)
            changes = stub.WatchControllableEntities(
                pb.WatchControllableEntitiesRequest(), timeout=timeout
            )
            try:
                for change in changes:
                    news = [change.upserted] if change.HasField("upserted") else []
                    if change.HasField("snapshot"):
                        news = list(change.snapshot.entities)
                    states |= {each.entity_id: each.has_active_lease for each in news}
                    if all(states.get(entity) is leased for entity in entities):
                        return
            except grpc.RpcError as error:
                raise AssertionError(f"{entities} not leased={leased}: {states}: {error}") from None
