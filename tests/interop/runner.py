"""The harness: starts the real runner, follows its log, and sees that nothing survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import processes
from log import Ev, Line, Log
from paths import AGENTS_VENV, BUILD, PROJECT, RUNNER_BIN, VENV


def environment(token: str) -> dict[str, str]:
    """What the runner gets, and of it what agents inherit: PATH, and what uv is told.

    Where Python finds grpcio and the stubs is no such variable: setup.sh tells the environments.
    """
    removed = ("RUNNER_", "OTEL_", "UV_", "PYTHON", "VIRTUAL_ENV", "RUST_LOG")
    env = {key: value for key, value in os.environ.items() if not key.startswith(removed)}
    return env | {
        "PATH": f"{VENV / 'bin'}:{env['PATH']}",
        "UV_CACHE_DIR": str(BUILD / "uv-cache"),
        "UV_OFFLINE": "1",
        "UV_PROJECT_ENVIRONMENT": str(AGENTS_VENV),
        "UV_PYTHON": str(VENV / "bin" / "python"),
        "UV_PYTHON_DOWNLOADS": "never",
        # Proxies have no business between processes of one machine.
        "no_proxy": "127.0.0.1,localhost",
        processes.TOKEN: token,
    }


def run_once(*arguments: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Runs a verb that ends by itself."""
    token = uuid.uuid4().hex
    try:
        return subprocess.run(
            [str(RUNNER_BIN), *arguments],
            env=environment(token),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    finally:
        left = processes.bearing(token)
        processes.kill_bearing(token)
        assert not left, f"processes survived `runner {arguments[0]}`: {left}"


class Runner:
    """One `runner reconcile`, its config file, and its log.

    With no server it is the one of the file. `within` is a command that becomes another one: it
    is put before it.
    """

    def __init__(
        self,
        directory: Path,
        server: str | None,
        config: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        within: tuple[str, ...] = (),
    ) -> None:
        self.config = directory / "config.toml"
        self.log_dir = directory / "logs"
        self.state_dir = directory / "state"
        self.token = uuid.uuid4().hex
        self.log = Log()
        self.ended = False
        self.save(config)
        command = [
            *within, str(RUNNER_BIN), "reconcile", "--config", str(self.config), "--log-format", "json",
            "--state-dir", str(self.state_dir), "--log-dir", str(self.log_dir),
            "--agents-dir", str(PROJECT), *(["--server", server] if server else []), *options,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command,
            env=environment(self.token) | dict(env or {}),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        self._reader = threading.Thread(target=self.log.feed, args=[self.process.stderr])
        self._reader.daemon = True
        self._reader.start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self.ended:
                self.stop()
        finally:
            self.sweep()

    def save(self, config: str) -> None:
        """Saves the file as most editors do: a new one, renamed over the old."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(config)
        fresh.rename(self.config)

    def stop(self, within: float = 15.0) -> float:
        """SIGTERM; it must end well, and leave nothing. Returns the seconds that it took."""
        if self.process.poll() is not None:
            raise AssertionError(
                f"the runner ended by itself: {self.process.returncode}\n{self.log.tail()}"
            )
        return self.ends_by(signal.SIGTERM, within)

    def ends_by(self, number: signal.Signals, within: float) -> float:
        """Sends the signal, of which it must end well. Returns the seconds that it took."""
        asked = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {within} s\n{self.log.tail()}") from None
        took = time.monotonic() - asked
        self.ended = True
        assert code == 0, f"exit code {code}\n{self.log.tail()}"
        survivors = self.survivors()
        assert not survivors, f"survived the runner: {survivors}\n{self.log.tail()}"
        return took

    def survivors(self) -> list[int]:
        """Everything alive that it started, by its log and by the token in their environment; of
        agents that are pods there is neither."""
        groups = {line.pid for line in self.log.find(Ev.STARTED) if "pid" in line.fields}
        alive = {pid for group in groups for pid in processes.in_group(group)}
        return sorted(alive | set(processes.bearing(self.token)))

    def sweep(self) -> None:
        """Ends what a failed test left, the runner first so that it restarts nobody."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        processes.kill_bearing(self.token)
        # A survivor may hold the pipe: then the reader is left to it.
        self._reader.join(2)
        if not self._reader.is_alive() and self.process.stderr is not None:
            self.process.stderr.close()

    # The log, for short.

    def mark(self) -> int:
        return self.log.mark()

    def wait_for(self, event: str, **wanted: Any) -> Line:
        return self.log.wait_for(event, **wanted)

    def wait_started(self, *entities: str, since: int = 0, timeout: float = 20.0) -> dict[str, int]:
        """Waits until all of them have started; entity → pid."""
        deadline = time.monotonic() + timeout
        started = {}
        for entity in entities:
            left = max(0.0, deadline - time.monotonic())
            line = self.wait_for(Ev.STARTED, entity=entity, since=since, timeout=left)
            started[entity] = line.pid
        return started

    def touched(self, since: int = 0, *, but: tuple[str, ...] = ()) -> list[str]:
        """What was done to agents since then, apart from those of `but`: best nothing."""
        verbs = (Ev.STARTING, Ev.STARTED, Ev.NOT_STARTED, Ev.STOPPING, Ev.KILLING)
        verbs += (Ev.LEADER_EXITED, Ev.EXITED, Ev.GONE)
        lines = self.log.lines(since)
        return [line.text for line in lines if line.event in verbs and line.entity not in but]

    def count(self, event: str, since: int = 0, **fields: Any) -> int:
        return len(self.log.find(event, since, **fields))

    def agent_log(self, name: str) -> str:
        """What an agent printed; `name` is its id, percent-encoded."""
        path = self.log_dir / f"agent-{name}.log"
        return path.read_text() if path.exists() else ""
