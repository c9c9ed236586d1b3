"""The kit's cluster: its components, which a test may kill, stop or pause, and its images."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

SERVER = ("etcd", "kube-apiserver")
# As in /proc/PID/stat.
PAUSED = "T"


class Kit:
    """A cluster of the kit that is up. `ctl.sh` of the kit does everything."""

    def __init__(self, scripts: Path, directory: Path) -> None:
        self.scripts = scripts
        self.directory = directory

    @classmethod
    def of_environment(cls) -> Kit | None:
        """None on a cluster that the kit did not make."""
        scripts, directory = os.environ.get("K8S_KIT"), os.environ.get("K8S_DIR")
        return cls(Path(scripts), Path(directory)) if scripts and directory else None

    def kill(self, name: str) -> None:
        """SIGKILL; returns when it is gone."""
        self._ctl("kill", name)

    def stop(self, name: str) -> None:
        """SIGTERM; returns when it is gone."""
        self._ctl("stop", name)

    def start(self, name: str) -> None:
        """Runs it again, as it was; it may not answer yet."""
        self._ctl("start", name)

    def pause(self, name: str) -> None:
        """SIGSTOP."""
        self._ctl("pause", name)

    def cont(self, name: str) -> None:
        """SIGCONT."""
        self._ctl("cont", name)

    def load(self, image: Path) -> None:
        """Gives an image to the node."""
        self._ctl("image", str(image))

    def status(self) -> dict[str, str | None]:
        """Component → the state of its process as in /proc/PID/stat, None if it is not running."""
        states: dict[str, str | None] = {}
        for line in self._ctl("status").splitlines():
            name, *rest = line.split()
            states[name] = rest[2] if rest[0] == "pid" else None
        return states

    def restore(self, wait_answering: Callable[[], None]) -> list[str]:
        """Has everything run again that a test left otherwise. Returns what that was."""
        states = self.status()
        for name, state in states.items():
            if state == PAUSED:
                self.cont(name)
        ended = [name for name, state in states.items() if state is None]
        for name in sorted(ended, key=lambda name: name not in SERVER):
            if name not in SERVER:
                # Some end again at once where no server answers.
                wait_answering()
            self.start(name)
        wait_answering()
        return sorted(name for name, state in states.items() if state in (None, PAUSED))

    def _ctl(self, verb: str, *arguments: str) -> str:
        command = [str(self.scripts / "ctl.sh"), str(self.directory), verb, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"ctl.sh {verb} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
