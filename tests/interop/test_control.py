"""The control API, by a client that knows nothing but its `.proto`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from configs import plain, quick
from log import Ev
from paths import STUBS
from runner import Runner
from world import World

# What a process of another user runs: it says how far it came.
KNOCK = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
peer = socket.socket(socket.AF_UNIX)
try:
    peer.connect(sys.argv[1])
except PermissionError:
    print("no way")
    sys.exit()
peer.settimeout(20)
try:
    peer.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(9))
    print("shown out" if peer.recv(1) == b"" else "let in")
except (BrokenPipeError, ConnectionResetError):
    print("shown out")
"""

FILE = quick(agents={"default": plain()})


def control(runner: Runner, directory: Path):
    """The generated client of this runner's socket, and the module of its messages."""
    sys.path.insert(0, str(STUBS))
    try:
        import control_pb2
        import control_pb2_grpc
    finally:
        sys.path.remove(str(STUBS))
    socket = directory / "state" / "control.sock"
    # Else it sends the path, percent-encoded, which is no authority to an HTTP/2 server.
    options = [("grpc.default_authority", "localhost")]
    channel = grpc.insecure_channel(f"unix:{socket}", options)
    return control_pb2_grpc.RunnerStub(channel), control_pb2


def test_a_python_client_lists_watches_and_restarts(tmp_path: Path) -> None:
    with World("--entities", "alice,bob") as world:
        with Runner(tmp_path, world.address, FILE) as runner:
            runner.wait_started("alice", "bob")
            stub, pb = control(runner, tmp_path)
            agents = stub.ListAgents(pb.ListAgentsRequest(), timeout=20).agents
            assert [(agent.name, agent.phase) for agent in agents] == [
                ("alice", "Running"),
                ("bob", "Running"),
            ]
            before = {agent.name: agent.pid for agent in agents}
            watch = stub.WatchAgents(pb.ListAgentsRequest(), timeout=60)
            first = next(watch)
            assert first.kind == pb.AgentsChanged.SYNC
            assert {agent.name for agent in first.agents} == {"alice", "bob"}

            order = pb.OrderRequest(selector=pb.Selector(names=["alice"]))
            assert stub.RestartAgents(order, timeout=20).names == ["alice"]
            for change in watch:
                alice = [agent for agent in change.agents if agent.name == "alice"]
                assert not [agent for agent in change.agents if agent.name == "bob"]
                if any(it.phase == "Running" and it.pid != before["alice"] for it in alice):
                    break
            assert alice[0].restarts == 1
            watch.cancel()

            unknown = pb.OrderRequest(selector=pb.Selector(names=["nobody"]))
            with pytest.raises(grpc.RpcError) as refused:
                stub.RestartAgents(unknown, timeout=20)
            assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_let_in(tmp_path: Path) -> None:
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, FILE) as runner:
            runner.wait_started("alice")
            socket = tmp_path / "state" / "control.sock"

            def knock() -> str:
                command = [sys.executable, "-c", KNOCK, str(socket)]
                return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

            assert knock().strip() == "no way"
            # Not for its mode only: the kernel is asked who it is.
            socket.chmod(0o777)
            for directory in (socket.parent, *socket.parent.parents):
                if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
                    directory.chmod(directory.stat().st_mode | 0o011)
            assert knock().strip() == "shown out"
            runner.wait_for(Ev.CONTROL_REFUSED, uid=65534)
