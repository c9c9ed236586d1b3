"""The verbs that change nothing, and files that are wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs import USERS_FILE, plain, quick
from log import Ev
from processes import eventually
from runner import Runner, run_once
from world import World

WRONG_FILE = """\
[runner]
server = "localhost:50051"
max_restart_attemps = 5
backoff_multiplier = 0.5
initial_backoff_ms = 5000
max_backoff_ms = 1000

[agents.default]
module = "agents.random_agent"
command = ["true"]

[jit]
enabled = "yes"
"""
# Each mistake, by any of the lines at which it may be shown.
MISTAKES = {
    "unknown key": {3},
    "multiplier below 1": {4},
    "max below initial": {5, 6},
    "module and command": {8, 9, 10},
    "wrong type": {13},
}


@pytest.mark.parametrize("verb", ["reconcile", "validate", "plan"])
def test_a_wrong_file_gets_all_its_mistakes_and_starts_nothing(tmp_path: Path, verb: str) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text(WRONG_FILE)
    logs = tmp_path / "logs"
    options = ["--config", str(config)]
    with World("--entities", "alice,bob") as world:
        if verb != "validate":
            options += ["--server", world.address, "--log-dir", str(logs)]
        done = run_once(verb, *options)
        assert world.asked() == 0
    assert done.returncode == 2, done.stderr
    lines = {int(line) for line in re.findall(r"wrong\.toml:(\d+):\d+", done.stderr)}
    missed = [mistake for mistake, where in MISTAKES.items() if not where & lines]
    assert not missed, f"not told: {missed}\n{done.stderr}"
    assert "max_restart_attempts" in done.stderr, "the nearest known key"
    assert "max_restart_attemps = 5" in done.stderr, "the offending line"
    assert not logs.exists()


def test_the_users_file_is_valid(tmp_path: Path) -> None:
    config = tmp_path / "users.toml"
    config.write_text(USERS_FILE)
    done = run_once("validate", "--config", str(config))
    assert done.returncode == 0, done.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert run_once("reconcile", "--no-such-option").returncode == 2
    assert run_once("no-such-verb").returncode == 2


def test_plan_tells_what_would_start_and_why_and_changes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "users.toml"
    config.write_text(USERS_FILE)
    with World("--entities", "alice,bob,carol") as world:
        world.lease("carol", "somebody else")
        logs = tmp_path / "logs"
        options = ["--config", str(config), "--server", world.address, "--log-dir", str(logs)]
        done = run_once("plan", *options)
        assert done.returncode == 0, done.stderr
        for entity, template in (("alice", "alice"), ("bob", "default")):
            told = [line for line in done.stdout.splitlines() if entity in line]
            assert any("start" in line.lower() for line in told), done.stdout
            assert template in " ".join(told), done.stdout
        starts = [line for line in done.stdout.splitlines() if re.search(r"\bstart\b", line)]
        assert not any("carol" in line for line in starts), "she is leased elsewhere"
        assert world.leases() == {"carol": "somebody else"}
        assert world.calls("AcquireLease") == 0
        assert world.asked() >= 1
        assert not logs.exists()


def test_a_wrong_file_saved_while_it_runs_changes_nothing_until_it_is_right(
    tmp_path: Path,
) -> None:
    good = quick(agents={"default": plain()})
    with World("--entities", "a,b") as world, Runner(tmp_path, world.address, good) as runner:
        runner.wait_started("a", "b")
        for wrong in (WRONG_FILE, "", "[runner", good[: len(good) // 2] + "\n= 3"):
            mark = runner.mark()
            runner.save(wrong)
            runner.wait_for(Ev.CONFIG_REJECTED, since=mark)
            asked = world.asked()
            eventually(lambda n=asked: world.asked() >= n + 1, "the old one still runs")
            assert runner.touched(mark) == []
            assert runner.count(Ev.CONFIG_APPLIED, mark) == 0
        mark = runner.mark()
        runner.save(quick(agents={"default": plain(), "b": plain("--note", "new")}))
        runner.wait_started("b", since=mark)
        assert runner.touched(mark, but=("b",)) == []
