"""`runner reconcile` and the leases of agents, its own and other people's."""

from __future__ import annotations

from pathlib import Path

from configs import forager, plain, quick
from log import Ev
from processes import eventually
from runner import Runner
from world import World


def test_an_entity_leased_by_somebody_else_waits_until_it_is_released(tmp_path: Path) -> None:
    with World("--entities", "alice,bob") as world:
        world.lease("bob", "somebody else")
        config = quick(agents={"default": plain()})
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("alice")
            pending = runner.wait_for(Ev.PENDING, entity="bob")
            assert "lease" in pending.reason.lower()
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 3, "three more answers")
            assert runner.count(Ev.STARTING, entity="bob") == 0
            assert world.leases() == {"bob": "somebody else"}
            world.release("bob")
            runner.wait_started("bob")
            assert runner.count(Ev.STARTED, entity="alice") == 1


def test_an_agent_that_hangs_is_restarted_when_its_lease_is_gone(tmp_path: Path) -> None:
    config = quick(
        runner={"shutdown_grace_ms": 500},
        agents={"default": forager(), "alice": forager("--hang-after-ms", "500")},
        health={"lease": True, "lease_grace_ms": 4000},
    )
    options = ("--entities", "alice,bob", "--tick-ms", "100", "--lease-ms", "1500")
    with World(*options) as world, Runner(tmp_path, world.address, config) as runner:
        first = runner.wait_started("alice", "bob")["alice"]
        eventually(lambda: "hanging" in runner.agent_log("alice"), "it hangs", 20)
        mark = runner.mark()
        stopping = runner.wait_for(Ev.STOPPING, entity="alice", since=mark, timeout=20)
        assert "lease" in stopping.reason.lower()
        # Deaf to SIGTERM as well: it takes the kill.
        runner.wait_for(Ev.KILLING, entity="alice", since=mark)
        runner.wait_for(Ev.GONE, entity="alice", since=mark)
        assert runner.wait_started("alice", since=mark)["alice"] != first
        assert runner.touched(mark, but=("alice",)) == []


def test_without_lease_health_a_lease_is_nobodys_business(tmp_path: Path) -> None:
    config = quick(agents={"default": plain()}, health={"lease": False, "lease_grace_ms": 300})
    with World("--entities", "a,b") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b")
        mark = runner.mark()
        asked = world.asked()
        eventually(lambda: world.asked() >= asked + 5, "five more answers")
        assert world.leases() == {}
        assert runner.touched(mark) == []


def test_the_lease_check_never_restarts_while_the_world_is_away(tmp_path: Path) -> None:
    config = quick(
        agents={"default": plain()},
        health={"lease": True, "lease_grace_ms": 2500},
        discovery={"timeout_ms": 200},
    )
    with World("--entities", "a,b", "--workers", "50") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("a", "b")
            mark = runner.mark()
            world.mode("hang")
            runner.wait_for(Ev.WORLD_LOST, since=mark)
            since = runner.mark()
            asked = world.asked()
            # Well over the grace: an answer takes 200 ms to be given up, 300 ms to be asked again.
            eventually(lambda: world.asked() >= asked + 9, "it goes on asking", 30)
            assert runner.touched(since) == []
