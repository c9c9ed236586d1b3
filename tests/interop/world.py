"""Starts `world_server.py` and talks to its admin interface."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("world_server.py")


class World:
    """A world server, from start to stop."""

    def __init__(self, *options: str, port: int = 0) -> None:
        command = [sys.executable, str(SERVER), "--port", str(port), *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # Bounded by itself: the server fails to start, or says that it did.
        hello = self._read()
        if not hello.startswith("listening on "):
            raise AssertionError(f"the world server did not start: {hello!r}")
        self.port = int(hello.split()[-1])
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, cmd: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"cmd": cmd, **arguments}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._read())
        if not answer["ok"]:
            raise AssertionError(f"{cmd} {arguments}: {answer['error']}")
        return answer

    def add(self, entity: str, **fields: Any) -> None:
        self.ask("add", id=entity, **fields)

    def remove(self, entity: str) -> None:
        self.ask("remove", id=entity)

    def mode(self, mode: str) -> None:
        self.ask("mode", mode=mode)

    def lease(self, entity: str, controller: str) -> None:
        self.ask("lease", id=entity, controller=controller)

    def release(self, entity: str) -> None:
        self.ask("release", id=entity)

    def leases(self) -> dict[str, str]:
        """Entity → controller."""
        leases: dict[str, str] = self.ask("leases")["leases"]
        return leases

    def calls(self, method: str) -> int:
        """How often it was called, answered or not."""
        return int(self.ask("counts")["calls"].get(method, 0))

    def streams(self) -> int:
        """How many workers are held by open streams."""
        return int(self.ask("counts")["streams"])

    def asked(self) -> int:
        """How often somebody asked for the entities."""
        return self.calls("ListControllableEntities")

    def kill(self) -> None:
        """SIGKILL: no call is ended decently."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
