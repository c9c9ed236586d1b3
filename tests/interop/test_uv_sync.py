"""`runner.launcher = "uv-sync"`, with the real uv: one sync a project, no uv beside the agents."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import processes
from configs import PYTHON, QUICK, toml
from log import Ev
from paths import PROJECT
from processes import eventually
from runner import Runner
from world import World


def project(tmp_path: Path, name: str = "project") -> Path:
    """A project of the test's own, as it is edited and its environment lies within."""
    skipped = shutil.ignore_patterns(".venv", "__pycache__")
    return Path(shutil.copytree(PROJECT, tmp_path / name, ignore=skipped))


def config(directory: Path, **agents: dict[str, Any]) -> str:
    default = {"module": "agents.plain_agent", "cwd": str(directory)}
    runner = {**QUICK["runner"], "launcher": "uv-sync"}
    return toml({**QUICK, "runner": runner, "agents": {"default": default, **agents}})


def uv_processes(runner: Runner) -> list[list[str]]:
    lines = [processes.argv(pid) for pid in processes.bearing(runner.token)]
    return [argv for argv in lines if argv and Path(argv[0]).name == "uv"]


def edit(file: Path, old: str, new: str) -> None:
    """Saves as most editors do."""
    text = file.read_text()
    assert old in text
    fresh = file.with_suffix(".new")
    fresh.write_text(text.replace(old, new))
    fresh.rename(file)


def test_many_agents_one_sync_and_no_uv_beside_them(tmp_path: Path) -> None:
    directory = project(tmp_path)
    ids = [f"a{number}" for number in range(12)]
    with World("--entities", ",".join(ids)) as world:
        with Runner(tmp_path, world.address, config(directory)) as runner:
            pids = runner.wait_started(*ids, timeout=60)
            for id in ids:
                eventually(lambda id=id: "argv" in runner.agent_log(id), f"{id} runs")
            synced = runner.wait_for(Ev.PROJECT_SYNCED, project=directory)
            assert runner.count(Ev.PROJECT_SYNCING) == 1
            for id, pid in pids.items():
                python, *rest = processes.argv(pid)
                assert python == str(directory / ".venv/bin/python")
                assert rest == ["-m", "agents.plain_agent", "--server", world.address, "--entity", id]
                assert processes.in_group(pid) == [pid]
            assert uv_processes(runner) == []
            starts = runner.log.find(Ev.STARTING)
            assert all(line.at >= synced.at for line in starts)
        assert runner.count(Ev.STARTED) == len(ids)


def test_a_failure_is_told_once_in_uvs_words_and_spends_nothing(tmp_path: Path) -> None:
    directory = project(tmp_path)
    edit(directory / "pyproject.toml", ">=3.11", ">=3.99")
    (directory / "uv.lock").unlink()
    beside = {"command": [*PYTHON, "agents.plain_agent"], "cwd": str(PROJECT)}
    with World("--entities", "alice,bob") as world:
        text = config(directory, bob=beside)
        with Runner(tmp_path, world.address, text) as runner:
            runner.wait_started("bob")
            failed = runner.wait_for(Ev.PROJECT_FAILED, timeout=60)
            assert "error" in failed.fields["message"].lower(), failed.text
            assert "3.99" in failed.fields["message"], failed.text
            pending = runner.wait_for(Ev.PENDING, entity="alice")
            assert pending.reason == f"waits for uv sync of {directory}"
            mark = runner.mark()
            edit(directory / "pyproject.toml", ">=3.99", ">=3.11")
            runner.wait_started("alice", since=mark, timeout=60)
            assert runner.count(Ev.PROJECT_FAILED) == 1
            assert runner.count(Ev.BACKOFF) == runner.count(Ev.NOT_STARTED) == 0


def test_a_changed_project_is_synced_again_and_disturbs_nobody(tmp_path: Path) -> None:
    directory = project(tmp_path)
    with World("--entities", "alice,bob") as world:
        with Runner(tmp_path, world.address, config(directory)) as runner:
            runner.wait_started("alice", "bob", timeout=60)
            mark = runner.mark()
            edit(directory / "pyproject.toml", '"0.1.0"', '"0.2.0"')
            runner.wait_for(Ev.PROJECT_SYNCED, since=mark, timeout=60)
            version = 'version = "0.2.0"'
            eventually(lambda: version in (directory / "uv.lock").read_text(), "uv saw the edit")
            assert runner.touched(mark) == []


def test_no_pyproject_is_said_with_what_to_do(tmp_path: Path) -> None:
    directory = tmp_path / "empty"
    directory.mkdir()
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, config(directory)) as runner:
            message = runner.wait_for(Ev.PROJECT_FAILED).fields["message"]
            assert message.startswith(f"no pyproject.toml in {directory}"), message
            assert "runner.launcher" in message


def test_each_directory_has_its_own_sync(tmp_path: Path) -> None:
    one, two = project(tmp_path, "one"), project(tmp_path, "two")
    second = {"module": "agents.plain_agent", "cwd": str(two)}
    with World("--entities", "alice,bob,carol") as world:
        with Runner(tmp_path, world.address, config(one, bob=second)) as runner:
            pids = runner.wait_started("alice", "bob", "carol", timeout=60)
            places = {id: processes.argv(pid)[0] for id, pid in pids.items()}
            assert places == {
                "alice": str(one / ".venv/bin/python"),
                "bob": str(two / ".venv/bin/python"),
                "carol": str(one / ".venv/bin/python"),
            }
            synced = sorted(line.fields["project"] for line in runner.log.find(Ev.PROJECT_SYNCED))
            assert synced == [str(one), str(two)]
