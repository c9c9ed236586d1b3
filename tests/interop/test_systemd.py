"""What a service manager is told, and whether systemd takes the unit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs import plain, quick
from paths import CONFIGS, RUNNER_BIN, program
from processes import eventually
from runner import Runner
from world import World

FILE = quick(agents={"default": plain()})
WATCHDOG_SECONDS = 1.0


class Manager:
    """A socket such as systemd's, and what came in at it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path.replace("@", "\0"))
        self.heard: list[dict[str, str]] = []

    def listen(self, seconds: float = 0) -> None:
        """Takes what has come, and what comes within the time."""
        until = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.0, until - time.monotonic()))
            try:
                text = self.socket.recv(65536).decode()
            except (TimeoutError, BlockingIOError):
                return
            assert not text.endswith("\n\n"), text
            self.heard.append(dict(line.split("=", 1) for line in text.splitlines()))

    def wait_for(self, since: int, **wanted: str) -> dict[str, str]:
        def found() -> dict[str, str] | None:
            self.listen(0.05)
            fits = (it for it in self.heard[since:] if wanted.items() <= it.items())
            return next(fits, None)

        return eventually(found, f"{wanted} of {self.heard}", timeout=20)

    def count(self, key: str) -> int:
        self.listen()
        return sum(key in message for message in self.heard)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@runner-{os.getpid()}"
    manager = Manager(path)
    yield manager
    manager.socket.close()


def told(manager: Manager, *more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.path, **dict(word.split("=") for word in more)}


def test_a_manager_is_told_how_it_fares(tmp_path: Path, manager: Manager) -> None:
    file = quick(agents={"default": plain()}, runner={"env_inherit": ["*"]})
    with World("--entities", "alice,bob") as world:
        with Runner(tmp_path, world.address, file, env=told(manager)) as runner:
            pid = runner.wait_started("alice", "bob")["alice"]
            manager.wait_for(0, READY="1")
            assert "READY" in manager.heard[0], "first of all"
            status = "2 running · world ok · config #1"
            manager.wait_for(0, STATUS=status)
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"NOTIFY_SOCKET" not in environ, "an agent could speak for the runner"

            # As `systemctl reload` does: it waits for the one, then for the other.
            for reload in ("a signal", "a file", "a wrong file"):
                since = len(manager.heard)
                before = time.clock_gettime(time.CLOCK_MONOTONIC)
                if reload == "a signal":
                    runner.process.send_signal(signal.SIGHUP)
                else:
                    text = quick(agents={"default": plain("--note", "new")})
                    runner.save(text if reload == "a file" else "[runner")
                reloading = manager.wait_for(since, RELOADING="1")
                micros = int(reloading["MONOTONIC_USEC"])
                assert before * 1e6 - 1 <= micros <= time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
                manager.wait_for(manager.heard.index(reloading), READY="1")
            manager.wait_for(0, STATUS=status.replace("#1", "#2"))
            assert manager.count("RELOADING") == 3
            assert manager.count("READY") == 4
            assert manager.count("WATCHDOG") == 0, "nobody asked for it"
            runner.stop()
            manager.wait_for(0, STOPPING="1")
            assert manager.count("READY") == 4


def test_it_is_ready_and_says_so_while_the_world_is_away(tmp_path: Path, manager: Manager) -> None:
    with Runner(tmp_path, "127.0.0.1:1", FILE, env=told(manager)):
        manager.wait_for(0, READY="1")
        manager.wait_for(0, STATUS="no agents · world away · config #1")


def test_the_watchdog_hears_from_a_loop_that_goes_round_and_of_no_other(
    tmp_path: Path, manager: Manager
) -> None:
    usec = int(WATCHDOG_SECONDS * 1e6)
    with World("--entities", "alice") as world:
        env = told(manager, f"WATCHDOG_USEC={usec}")
        with Runner(tmp_path, world.address, FILE, env=env) as runner:
            runner.wait_started("alice")
            for _ in range(4):
                since = len(manager.heard)
                manager.wait_for(since, WATCHDOG="1")
            runner.process.send_signal(signal.SIGSTOP)
            # What was sent before it stopped.
            manager.listen(0.2)
            before = manager.count("WATCHDOG")
            manager.listen(3 * WATCHDOG_SECONDS)
            assert manager.count("WATCHDOG") == before
            runner.process.send_signal(signal.SIGCONT)
            manager.wait_for(len(manager.heard), WATCHDOG="1")
            # Its successor goes on with it: the same process.
            since = len(manager.heard)
            runner.process.send_signal(signal.SIGUSR2)
            manager.wait_for(since, READY="1")
            manager.wait_for(len(manager.heard), WATCHDOG="1")
            assert manager.count("STOPPING") == 0


def test_a_watchdog_of_another_process_is_none(tmp_path: Path, manager: Manager) -> None:
    env = told(manager, "WATCHDOG_USEC=100000", "WATCHDOG_PID=1")
    with Runner(tmp_path, "127.0.0.1:1", FILE, env=env):
        manager.wait_for(0, STATUS="no agents · world away · config #1")
        manager.listen(0.5)
        assert manager.count("WATCHDOG") == 0


def test_a_socket_that_is_not_there_is_no_harm(tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "100000"}
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, FILE, env=env) as runner:
            runner.wait_started("alice")


def verify(unit: Path, *options: str) -> str:
    runtime = unit.parent / "runtime"
    runtime.mkdir(exist_ok=True)
    done = subprocess.run(
        [program("systemd-analyze"), *options, "verify", str(unit)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or said, "it says why"
    return said


@pytest.mark.parametrize("option", ["--system", "--user"])
def test_systemd_takes_the_unit(tmp_path: Path, option: str) -> None:
    version = subprocess.run([program("systemd-analyze"), "--version"], capture_output=True)
    number = int(re.search(rb"systemd (\d+)", version.stdout).group(1))
    shutil.copytree(CONFIGS / "systemd", tmp_path, dirs_exist_ok=True)
    template = tmp_path / "runner@.service"
    text = template.read_text()
    binary = "/usr/local/bin/runner"
    assert f"ExecStart={binary} reconcile" in text
    text = text.replace(binary, str(RUNNER_BIN))
    if option == "--user":
        shutil.rmtree(tmp_path / "runner@.service.d")
    template.write_text(text)
    unit = tmp_path / "runner@foraging.service"
    said = verify(unit, option)
    if number < 253:
        # It knows no such type: that, and nothing else, is what it says.
        complaint = r".*runner@\.service:\d+: Failed to parse service type, ignoring: notify-reload\n"
        assert re.fullmatch(f"({complaint})+", said), said
        text = text.replace("Type=notify-reload", "Type=notify\nExecReload=/bin/kill -HUP $MAINPID")
        template.write_text(text)
        said = verify(unit, option)
        print(f"NOT TESTED: Type=notify-reload with systemd-analyze, which is {number} and not 253")
    assert said == ""
    # That it would say so.
    template.write_text(text.replace("OOMPolicy=continue", "OOMPolicy=contineu"))
    assert "contineu" in verify(unit, option)
