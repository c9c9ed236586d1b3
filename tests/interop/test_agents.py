"""The agents under test end as the contract says, started by the real uv."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from paths import PROJECT
from processes import eventually
from runner import environment
from world import World

UV = ["uv", "run", "python", "-m"]
NOBODY = "127.0.0.1:1"


class Agent:
    """An agent without a runner."""

    def __init__(self, directory: Path, module: str, *arguments: str) -> None:
        self.token = uuid.uuid4().hex
        self.output = directory / f"{self.token}.log"
        env = environment(self.token) | {"PYTHONUNBUFFERED": "1"}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*UV, module, *arguments],
                env=env,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text: str) -> bool:
        return text in self.output.read_text()

    def wait_said(self, text: str) -> None:
        eventually(lambda: self.said(text), f"the agent says {text!r}")

    def ends_with(self, code: int) -> None:
        assert self.process.wait(10) == code, self.output.read_text()

    def sweep(self) -> None:
        processes.kill_bearing(self.token)
        self.process.wait()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[type[Agent]]:
    made: list[Agent] = []

    class Swept(Agent):
        def __init__(self, *arguments: str) -> None:
            super().__init__(tmp_path, *arguments)
            made.append(self)

    yield Swept
    for agent in made:
        agent.sweep()


@pytest.fixture
def world() -> Iterator[World]:
    with World("--entities", "alice", "--tick-ms", "50") as world:
        yield world


def forage(world: World, *more: str) -> list[str]:
    return ["agents.random_agent", "--server", world.address, "--entity", "alice", *more]


def test_leases_moves_and_releases_on_sigterm(agents: type[Agent], world: World) -> None:
    agent = agents(*forage(world, "--eat-probability", "0.5"))
    eventually(lambda: world.calls("SubmitIntent") > 3, "it acts")
    assert world.calls("RenewLease") > 3
    assert list(world.leases()) == ["alice"]
    # uv stays, as the parent of python.
    eventually(lambda: len(processes.bearing(agent.token)) == 2, "uv and python")
    agent.process.send_signal(signal.SIGTERM)
    agent.ends_with(0)
    assert world.leases() == {}
    assert processes.bearing(agent.token) == []


def test_exits_0_when_its_world_dies(agents: type[Agent], world: World) -> None:
    agent = agents(*forage(world))
    eventually(lambda: world.streams() == 1, "it observes")
    world.kill()
    agent.ends_with(0)
    assert agent.said("error:")


def test_exits_0_without_a_lease(agents: type[Agent], world: World) -> None:
    world.lease("alice", "somebody")
    agent = agents(*forage(world))
    agent.ends_with(0)
    assert agent.said("error: no lease")


def test_exits_1_without_a_world(agents: type[Agent]) -> None:
    agent = agents("agents.random_agent", "--server", NOBODY, "--entity", "alice")
    agent.ends_with(1)


def test_a_killed_one_is_succeeded_although_its_lease_is_there(
    agents: type[Agent], world: World
) -> None:
    first = agents(*forage(world))
    eventually(lambda: world.streams() == 1, "it observes")
    first.sweep()
    assert list(world.leases()) == ["alice"]
    second = agents(*forage(world))
    second.wait_said("leased alice")


def test_fails_and_hangs_when_told(agents: type[Agent], world: World) -> None:
    agents(*forage(world, "--fail-after-ms", "10")).ends_with(3)
    hung = agents(*forage(world, "--hang-after-ms", "10"))
    hung.wait_said("hanging")
    before = world.calls("RenewLease")
    tick = world.calls("StreamObservations")
    hung.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        hung.process.wait(1)
    assert (world.calls("RenewLease"), world.calls("StreamObservations")) == (before, tick)


def test_plain_says_what_it_was_given(agents: type[Agent]) -> None:
    agent = agents("agents.plain_agent", "--entity=-rf", "--note", "a b")
    agent.wait_said("}\n")
    hello = json.loads(agent.output.read_text())
    assert hello["argv"] == ["--entity=-rf", "--note", "a b"]
    assert hello["env"]["PYTHONUNBUFFERED"] == "1"
    assert Path(hello["cwd"]) == PROJECT
    agent.process.send_signal(signal.SIGTERM)
    agent.ends_with(0)


def test_plain_crashes_and_loses_its_world(agents: type[Agent], world: World) -> None:
    crash = ["--crash-after-ms", "1", "--exit-code", "9"]
    agents("agents.plain_agent", *crash).ends_with(9)
    agents("agents.plain_agent", "--connect", "--server", NOBODY).ends_with(1)
    arguments = ["--connect", "--server", world.address, "--lost-code", "7"]
    agent = agents("agents.plain_agent", *arguments)
    agent.wait_said("}\n")
    with pytest.raises(subprocess.TimeoutExpired):
        agent.process.wait(1)
    world.kill()
    agent.ends_with(7)
