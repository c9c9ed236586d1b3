"""`runner reconcile` on a world that is away, late, mute or wrong: nobody loses an agent by it."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

import processes
from configs import PYTHON, forager, plain, quick
from log import Ev
from processes import eventually
from runner import Runner
from world import World

AWAY_SECONDS = 5.0


def stay_away(since: float) -> None:
    """The outage itself: a length of time, not a wait for something."""
    time.sleep(max(0.0, since + AWAY_SECONDS - time.monotonic()))


def spent_attempts(runner: Runner, since: int) -> list[str]:
    """The signs that a crash was counted against an agent."""
    lines = runner.log.find(Ev.BACKOFF, since)
    counted = [line.text for line in lines if int(line.fields.get("attempt", 1)) > 0]
    return counted + [line.text for line in runner.log.find(Ev.FAILED, since)]


def test_a_saturated_world_is_unknown_not_empty(tmp_path: Path) -> None:
    config = quick(runner={"launcher": PYTHON}, agents={"default": forager()})
    with World("--count", "12", "--workers", "10", "--tick-ms", "1000") as world:
        with Runner(tmp_path, world.address, config) as runner:
            ids = [f"e{number:03}" for number in range(12)]
            pids = runner.wait_started(*ids)
            eventually(lambda: world.streams() == 10, "all workers are held", 30)
            mark = runner.mark()
            runner.wait_for(Ev.WORLD_LOST, since=0)
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 3, "it goes on asking", 30)
            assert runner.touched(mark) == []
            assert runner.count(Ev.STARTED) == 12
            assert all(processes.in_group(pid) for pid in pids.values())


def test_real_agents_are_back_after_a_restart_of_the_world(tmp_path: Path) -> None:
    with World("--entities", "alice,bob,carol") as world:
        config = quick(agents={"default": forager()})
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("alice", "bob", "carol")
            eventually(lambda: world.streams() == 3, "all forage", 20)
            mark = runner.mark()
            away = time.monotonic()
            world.kill()
            for entity in ("alice", "bob", "carol"):
                runner.wait_for(Ev.EXITED, entity=entity, since=mark)
                runner.wait_for(Ev.WAITING_FOR_WORLD, entity=entity, since=mark)
            stay_away(since=away)
            with World("--entities", "alice,bob,carol", port=world.port) as again:
                back = runner.mark()
                runner.wait_started("alice", "bob", "carol", since=back)
                eventually(lambda: len(again.leases()) == 3, "all forage again", 20)
                assert spent_attempts(runner, mark) == []
                assert runner.count(Ev.COMPLETED, mark) == 0, "exit 0 was the world's doing"
                runner.stop()


@pytest.mark.parametrize("code", [0, 7])
def test_twenty_agents_are_back_within_two_seconds_whatever_their_exit_code(
    tmp_path: Path, code: int
) -> None:
    ids = [f"e{number:03}" for number in range(20)]
    with World("--count", "20") as world:
        config = quick(agents={"default": plain("--connect", "--lost-code", str(code))})
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started(*ids)
            eventually(lambda: all(runner.agent_log(id) for id in ids), "all are connected")
            mark = runner.mark()
            away = time.monotonic()
            world.kill()
            for id in ids:
                runner.wait_for(Ev.WAITING_FOR_WORLD, entity=id, since=mark)
            stay_away(since=away)
            with World("--count", "20", port=world.port):
                back = time.monotonic()
                mark_back = runner.mark()
                runner.wait_started(*ids, since=mark_back)
                last = max(line.at for line in runner.log.find(Ev.STARTED, mark_back))
                assert last - back < 2
                assert spent_attempts(runner, mark) == []
                runner.stop()


def test_a_world_that_is_not_there_at_first_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = quick(runner={"connection_timeout_ms": 1000}, agents={"default": plain()})
    with Runner(tmp_path, f"127.0.0.1:{port}", config) as runner:
        waiting = runner.wait_for(Ev.WORLD_WAITING)
        assert str(waiting.fields.get("level", "")).upper() == "WARN"
        assert runner.count(Ev.STARTING) == 0
        assert runner.process.poll() is None
        with World("--entities", "a,b", port=port):
            runner.wait_started("a", "b")
            runner.stop()


def test_an_empty_answer_removes_nobody_until_it_has_stood(tmp_path: Path) -> None:
    hold_ms = 2500
    config = quick(agents={"default": plain()}, discovery={"timeout_ms": 1000, "hold_ms": hold_ms})
    ids = ("a", "b", "c", "d")
    with World("--entities", ",".join(ids)) as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started(*ids)
            mark = runner.mark()
            world.mode("empty")
            runner.wait_for(Ev.REMOVAL_HELD, since=mark)
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 4, "well above the confirmations")
            world.mode("normal")
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 3, "all are seen again")
            assert runner.touched(mark) == []

            mark = runner.mark()
            empty_since = time.monotonic()
            world.mode("empty")
            for id in ids:
                line = runner.wait_for(Ev.STOPPING, entity=id, since=mark)
                assert line.at - empty_since >= hold_ms / 1000
                runner.wait_for(Ev.GONE, entity=id, since=mark)


def test_an_answer_that_removes_most_is_held_and_one_that_removes_two_is_not(
    tmp_path: Path,
) -> None:
    ids = ("a", "b", "c", "d", "e", "f")
    config = quick(agents={"default": plain()}, discovery={"hold_ms": 60_000})
    with World("--entities", ",".join(ids)) as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started(*ids)
            world.remove("a")
            world.remove("b")
            runner.wait_for(Ev.GONE, entity="a")
            runner.wait_for(Ev.GONE, entity="b")
            mark = runner.mark()
            for id in ("c", "d", "e"):
                world.remove(id)
            runner.wait_for(Ev.REMOVAL_HELD, since=mark)
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 5, "well above the confirmations")
            assert runner.touched(mark) == []


@pytest.mark.parametrize("mode", ["hang", "error"])
def test_a_world_that_does_not_answer_removes_nobody(tmp_path: Path, mode: str) -> None:
    config = quick(agents={"default": plain()}, discovery={"timeout_ms": 300, "hold_ms": 0})
    with World("--entities", "a,b,c", "--workers", "50") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("a", "b", "c")
            mark = runner.mark()
            world.mode(mode)
            # Entities that leave meanwhile are not known to have left.
            world.remove("c")
            runner.wait_for(Ev.WORLD_LOST, since=mark)
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 4, "it goes on asking", 30)
            assert runner.touched(mark) == []
            world.mode("normal")
            runner.wait_for(Ev.WORLD_BACK, since=mark)
            runner.wait_for(Ev.GONE, entity="c", since=mark)
            assert runner.touched(mark, but=("c",)) == []
