"""`runner reconcile` on a world that answers: who runs, who is restarted, who is left alone."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from urllib.parse import unquote

import processes
from configs import PYTHON, USERS_FILE, forager, plain, quick
from log import Ev
from processes import eventually
from runner import Runner
from world import World

FORAGER = "agents.random_agent"


def test_the_users_file_works_unchanged(tmp_path: Path) -> None:
    with World("--entities", "alice,bob") as world:
        with Runner(tmp_path, world.address, USERS_FILE) as runner:
            pids = runner.wait_started("alice", "bob")
            eventually(lambda: set(world.leases()) == {"alice", "bob"}, "both hold their lease")
            for entity, probability in (("alice", "0.2"), ("bob", "0.1")):
                given = ["--server", world.address, "--entity", entity]
                given += ["--eat-probability", probability]
                uv, *rest = processes.argv(pids[entity])
                assert Path(uv).name == "uv"
                assert rest == ["run", "python", "-m", FORAGER, *given]
                assert f"start {given}" in runner.agent_log(entity)
                # uv and python, in one group whose leader is what the log names.
                assert len(processes.in_group(pids[entity])) == 2
        assert world.leases() == {}, "SIGTERM reached the agents, and they released"
        assert runner.count(Ev.STARTED) == 2
        assert runner.count(Ev.RUNNER_STOPPED) == 1


def test_a_template_saved_while_it_runs_starts_its_agent_and_touches_nobody(
    tmp_path: Path,
) -> None:
    named = quick(
        runner={"auto_discover": False},
        agents={"alice": forager(), "bob": forager()},
    )
    with World("--entities", "alice,bob,carol") as world:
        with Runner(tmp_path, world.address, named) as runner:
            before = runner.wait_started("alice", "bob")
            # Two more answers, so that carol would have been started, if she were to be.
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 2, "the world is asked again")
            assert runner.count(Ev.STARTING, entity="carol") == 0
            mark = runner.mark()
            more = "\n[agents.carol]\nmodule = 'agents.random_agent'\n"
            runner.save(named + more)
            runner.wait_started("carol", since=mark)
            eventually(lambda: "carol" in world.leases(), "carol holds her lease")
            assert runner.touched(mark, but=("carol",)) == []
            for pid in before.values():
                assert len(processes.in_group(pid)) == 2


def test_an_edited_template_restarts_exactly_its_agents(tmp_path: Path) -> None:
    def file(note: str, max_backoff_ms: int = 30_000) -> str:
        return quick(
            runner={"max_backoff_ms": max_backoff_ms},
            agents={
                "default": plain(),
                "miners": plain("--note", note, match={"types": ["miner"]}),
            },
        )

    with World("--entities", "a,b") as world:
        world.add("m1", kind="miner")
        world.add("m2", kind="miner")
        with Runner(tmp_path, world.address, file("old")) as runner:
            before = runner.wait_started("a", "b", "m1", "m2")
            mark = runner.mark()
            runner.save(file("old", max_backoff_ms=20_000))
            runner.wait_for(Ev.CONFIG_APPLIED, since=mark)
            mark = runner.mark()
            runner.save(file("new", max_backoff_ms=20_000))
            after = runner.wait_started("m1", "m2", since=mark)
            assert runner.touched(since=mark, but=("m1", "m2")) == []
            assert before["m1"] != after["m1"] and before["m2"] != after["m2"]
            for entity in ("m1", "m2"):
                # Two starts: at first, and this one. The other edit restarted nobody.
                assert runner.count(Ev.STARTED, entity=entity) == 2
                order = [
                    line.event
                    for line in runner.log.lines(mark)
                    if line.entity == entity and line.event in (Ev.GONE, Ev.STARTED)
                ]
                assert order == [Ev.GONE, Ev.STARTED], "the old one is gone before the new one"
                eventually(lambda e=entity: "new" in processes.argv(after[e]), "its new argv")


def test_latecomers_and_leavers(tmp_path: Path) -> None:
    config = quick(
        agents={"default": plain("--note", "first"), "late": plain("--note", "late")},
        jit={"template": "late"},
        discovery={"removal_confirmations": 5},
    )
    with World("--entities", "a,b,c") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b", "c")
        mark = runner.mark()
        world.add("d")
        runner.wait_for(Ev.STARTING, entity="d", template="late", since=mark)
        runner.wait_started("d", since=mark)
        eventually(lambda: '"late"' in runner.agent_log("d"), "d was given jit.template's args")
        assert '"first"' in runner.agent_log("a")
        mark = runner.mark()
        world.remove("d")
        asked = world.asked()
        runner.wait_for(Ev.STOPPING, entity="d", since=mark)
        # One call may have been counted already when the entity was taken away.
        assert world.asked() - asked >= 4, "five answers lacked it before it was stopped"
        runner.wait_for(Ev.GONE, entity="d", since=mark)
        assert runner.touched(mark, but=("d",)) == []


def test_an_entity_that_is_back_before_it_counts_as_gone_keeps_its_agent(tmp_path: Path) -> None:
    config = quick(agents={"default": plain()}, discovery={"removal_confirmations": 4})
    with World("--entities", "a,b,c") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b", "c")
        mark = runner.mark()
        for _ in range(3):
            world.remove("c")
            asked = world.asked()
            eventually(lambda n=asked: world.asked() >= n + 2, "two answers lack it")
            world.add("c")
            asked = world.asked()
            eventually(lambda n=asked: world.asked() >= n + 2, "two answers have it")
        assert runner.touched(mark) == []


def test_a_new_incarnation_gets_a_new_agent(tmp_path: Path) -> None:
    config = quick(agents={"default": plain()})
    with World("--entities", "a,b") as world, Runner(tmp_path, world.address, config) as runner:
        before = runner.wait_started("a", "b")
        mark = runner.mark()
        world.add("a", spawn_tick=99)
        # The first of two with one id wins: still the old one.
        asked = world.asked()
        eventually(lambda: world.asked() >= asked + 3, "three more answers")
        assert runner.touched(mark) == []
        world.remove("a")
        world.add("a", spawn_tick=100)
        after = runner.wait_started("a", since=mark)
        assert after["a"] != before["a"]
        runner.wait_for(Ev.GONE, entity="a", since=mark)
        assert runner.touched(mark, but=("a",)) == []


def test_newcomers_above_max_agents_wait_for_their_turn(tmp_path: Path) -> None:
    config = quick(
        runner={"max_agents": 2},
        agents={"default": plain()},
        discovery={"removal_confirmations": 1},
    )
    with World("--entities", "a,b,c") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b")
        asked = world.asked()
        eventually(lambda: world.asked() >= asked + 2, "two more answers")
        assert runner.count(Ev.STARTING) == 2
        world.remove("a")
        runner.wait_started("c")
        gone = runner.log.find(Ev.GONE, entity="a")
        assert gone, "there was never one too many"


def test_a_crash_loop_ends_as_failed_and_a_new_template_revives_it(tmp_path: Path) -> None:
    def file(*arguments: str) -> str:
        return quick(
            runner={"max_restart_attempts": 2, "initial_backoff_ms": 100},
            agents={"default": plain(), "a": plain(*arguments)},
        )

    crash = ("--crash-after-ms", "1")
    with World("--entities", "a,b") as world:
        with Runner(tmp_path, world.address, file(*crash)) as runner:
            runner.wait_for(Ev.FAILED, entity="a")
            assert runner.count(Ev.STARTED, entity="a") == 3, "once, and two attempts"
            delays = [int(line.fields["delay_ms"]) for line in runner.log.find(Ev.BACKOFF)]
            assert delays == [100, 200]
            mark = runner.mark()
            runner.save(file())
            runner.wait_started("a", since=mark)
            assert runner.count(Ev.STARTED, entity="b") == 1


def test_exit_0_is_completed_unless_it_is_to_run_always(tmp_path: Path) -> None:
    done = ("--crash-after-ms", "1", "--exit-code", "0")
    config = quick(
        agents={
            "default": plain(),
            "once": plain(*done),
            "never": plain("--crash-after-ms", "1", restart="never"),
            "ever": plain(*done, restart="always"),
        },
    )
    with World("--entities", "once,ever,never") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_for(Ev.COMPLETED, entity="once")
            runner.wait_for(Ev.BACKOFF, entity="ever")
            first = runner.log.find(Ev.STARTED, entity="ever")[0]
            runner.log.wait_until(
                lambda line: line.is_a(Ev.STARTED, entity="ever") and line.pid != first.pid,
                "second start",
                timeout=10,
            )
            runner.wait_for(Ev.EXITED, entity="never")
            asked = world.asked()
            eventually(lambda: world.asked() >= asked + 3, "three more answers")
            assert runner.count(Ev.STARTED, entity="once") == 1
            assert runner.count(Ev.STARTED, entity="never") == 1


def test_hostile_ids_are_data_and_unusable_ones_harm_nobody(tmp_path: Path) -> None:
    hostile = ["../x", "-rf", "a b", "x/y", "Ünïcødé ☂", "..", "$(id)", "%2e%2e"]
    refused = ["", "line\nbreak", "nul\0", "e" * 257]
    # A module, not a command: the flag's form for a leading dash is ours to choose.
    config = quick(
        runner={"launcher": PYTHON},
        agents={"default": {"module": "agents.plain_agent", "env": {"TEST_KEY": "a value"}}},
    )
    with World() as world:
        for entity in [*refused, *hostile, hostile[0]]:
            world.add(entity, kind="a type")
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started(*hostile)
            eventually(lambda: len(hellos(runner)) == len(hostile), "every agent said hello")
            for name, hello in hellos(runner).items():
                assert hello["env"]["RUNNER_ENTITY_ID"] == name
                assert hello["env"]["RUNNER_ENTITY_TYPE"] == "a type"
                assert hello["env"]["RUNNER_SERVER"] == world.address
                assert hello["env"]["PYTHONUNBUFFERED"] == "1"
                assert hello["env"]["TEST_KEY"] == "a value"
                named = ["--entity=-rf"] if name == "-rf" else ["--entity", name]
                assert hello["argv"] == ["--server", world.address, *named]
            assert set(hellos(runner)) == set(hostile)
            assert runner.count(Ev.STARTED) == len(hostile), "a duplicate is one entity"
    outside = {path.name for path in tmp_path.iterdir()} - {"config.toml", "logs", "state"}
    assert outside == set(), "nothing was written beside the logs and the state"
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"events", "journal", "lock"}
    assert all(path.is_file() for path in runner.log_dir.iterdir())


def hellos(runner: Runner) -> dict[str, dict]:
    """Entity → the first line that its agent printed, below the head, by the names of the logs."""
    read = {}
    for path in runner.log_dir.glob("agent-*.log"):
        _head, first, rest = [*path.read_text().split("\n", 2), "", ""][:3]
        if rest or first.endswith("}"):
            read[unquote(path.name[len("agent-") : -len(".log")])] = json.loads(first)
    return read


def test_no_stream_is_held_open_on_a_server_that_offers_none(tmp_path: Path) -> None:
    config = quick(agents={"default": plain()}, jit={"watch_interval_ms": 100})
    with World("--entities", "a,b") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b")
        asked = world.asked()
        eventually(lambda: world.asked() >= asked + 5, "it polls")
        watched = world.calls("WatchControllableEntities")
        assert watched <= 2, "asked for once, not at every poll"
        eventually(lambda: world.asked() >= asked + 15, "it polls on")
        assert world.calls("WatchControllableEntities") == watched
        assert world.calls("StreamTicks") == 0
        assert world.calls("StreamObservations") == 0
        assert world.streams() == 0


def test_sigterm_ends_all_in_parallel_and_whole_trees_at_their_grace(tmp_path: Path) -> None:
    grace = 1.5
    config = quick(
        runner={"shutdown_grace_ms": int(grace * 1000)},
        agents={
            "default": forager(),
            "deaf1": plain("--ignore-term"),
            "deaf2": plain("--ignore-term"),
            "hung": forager("--hang-after-ms", "1"),
        },
    )
    with World("--entities", "alice,bob,deaf1,deaf2,hung", "--tick-ms", "100") as world:
        with Runner(tmp_path, world.address, config) as runner:
            runner.wait_started("alice", "bob", "deaf1", "deaf2", "hung")
            eventually(lambda: "hanging" in runner.agent_log("hung"), "it hangs", 20)
            eventually(lambda: {"alice", "bob"} <= set(world.leases()), "they forage", 20)
            eventually(lambda: world.streams() == 3, "they observe")
            # uv and python are both there to be ended.
            hung = runner.log.find(Ev.STARTED, entity="hung")[0].pid
            assert len(processes.in_group(hung)) == 2
            took = runner.stop(within=grace + 5)
        assert grace <= took < grace + 2
        for entity in ("deaf1", "deaf2", "hung"):
            runner.wait_for(Ev.KILLING, entity=entity)
        for entity in ("alice", "bob"):
            assert runner.count(Ev.KILLING, entity=entity) == 0
            assert "released" in runner.agent_log(entity)


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    config = quick(
        runner={"shutdown_grace_ms": 60_000}, agents={"default": plain("--ignore-term")}
    )
    with World("--entities", "a,b") as world, Runner(tmp_path, world.address, config) as runner:
        runner.wait_started("a", "b")
        eventually(lambda: len(hellos(runner)) == 2, "they ignore SIGTERM now")
        runner.process.send_signal(signal.SIGTERM)
        for entity in ("a", "b"):
            runner.wait_for(Ev.STOPPING, entity=entity)
        runner.ends_by(signal.SIGINT, within=2)


def test_a_killed_agent_is_back_with_its_lease_and_its_tree_is_gone(tmp_path: Path) -> None:
    with World("--entities", "alice,bob") as world:
        config = quick(agents={"default": forager()})
        with Runner(tmp_path, world.address, config) as runner:
            uv = runner.wait_started("alice", "bob")["alice"]
            eventually(lambda: len(world.leases()) == 2, "both hold their lease")
            tree = processes.in_group(uv)
            assert len(tree) == 2
            mark = runner.mark()
            # It leads a live group of this very runner: the pid is that agent's.
            os.kill(uv, signal.SIGKILL)
            again = runner.wait_started("alice", since=mark)["alice"]
            assert not set(tree) & set(processes.bearing(runner.token)), "python went with uv"
            assert again != uv
            ended = runner.wait_for(Ev.EXITED, entity="alice", since=mark)
            started = runner.wait_for(Ev.STARTED, entity="alice", since=mark)
            assert ended.at <= started.at
            leased = "leased alice"
            eventually(lambda: runner.agent_log("alice").count(leased) == 2, "leased again")
            assert runner.touched(mark, but=("alice",)) == []
