"""A real terminal: a private tmux, that nobody else's settings reach."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping

from paths import program
from processes import POLL_SECONDS

PROMPT = "$"


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, env: Mapping[str, str], columns: int = 100, rows: int = 30) -> None:
        # Of all paths only a short one can be a socket's.
        self._directory = tempfile.mkdtemp(prefix="runner-tmux-")
        kept = {key: value for key, value in env.items() if key not in ("TMUX", "ENV", "NO_COLOR")}
        self._env = kept | {"TMUX_TMPDIR": self._directory, "LC_ALL": "C.UTF-8"}
        self._tmux = [program("tmux"), "-L", "runner", "-f", "/dev/null"]
        shell = shlex.join(["env", f"PS1={PROMPT} ", "sh"])
        self.tmux(
            "start-server", ";", "set", "-g", "status", "off", ";",
            "set", "-g", "default-terminal", "screen-256color", ";",
            "new-session", "-d", "-x", str(columns), "-y", str(rows), shell,
        )  # fmt: skip
        self.wait_for(f"^{re.escape(PROMPT)}")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        # It may have ended with its shell.
        subprocess.run([*self._tmux, "kill-server"], env=self._env, capture_output=True)
        shutil.rmtree(self._directory, ignore_errors=True)

    def tmux(self, *command: str) -> str:
        done = subprocess.run(
            [*self._tmux, *command], env=self._env, capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, f"tmux {command}: {done.stderr}"
        return done.stdout

    def type(self, text: str) -> None:
        """Types it as it is."""
        self.tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Presses keys by tmux's names for them: `Enter`, `C-c`, `PageDown`."""
        self.tmux("send-keys", *keys)

    def run(self, *command: str) -> None:
        """Has the shell run a command."""
        self.type(shlex.join(command))
        self.press("Enter")

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self.tmux("capture-pane", "-p").split("\n")[:-1]]

    def scrolled(self) -> list[str]:
        """What is on the screen, and what was and has left it; lines that were wrapped are whole."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-").rstrip("\n").split("\n")

    def painted(self) -> str:
        """What is on the screen, with its colours and the spaces at the ends of lines."""
        return self.tmux("capture-pane", "-p", "-e", "-N")

    def ask(self, what: str) -> str:
        """One of tmux's variables: `cursor_flag`, `alternate_on`, `pane_pid`, …"""
        return self.tmux("display-message", "-p", f"#{{{what}}}").strip()

    def wait_for(self, pattern: str, timeout: float = 15.0) -> re.Match[str]:
        """Waits until the screen has the pattern, in which `^` and `$` are those of a line."""
        return self._wait(lambda screen: re.search(pattern, screen, re.MULTILINE), pattern, timeout)

    def wait_without(self, pattern: str, timeout: float = 15.0) -> None:
        self._wait(
            lambda screen: not re.search(pattern, screen, re.MULTILINE), f"no {pattern}", timeout
        )

    def _wait(self, look, what: str, timeout: float):
        deadline = time.monotonic() + timeout
        while True:
            screen = "\n".join(self.lines())
            seen = look(screen)
            if seen:
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {what}\n{screen}")
            time.sleep(POLL_SECONDS)

    def modes(self) -> set[str]:
        """What `stty` says of the terminal."""
        self.run("clear")
        self.wait_without("clear")
        self.run("stty", "-a")
        self.wait_for(r"\becho\b.*")
        return set(re.split(r"[\s;]+", "\n".join(self.lines())))

    def is_as_it_was(self) -> bool:
        """No screen of another program, a cursor, and keys that are shown and make lines."""
        ask = (self.ask("alternate_on"), self.ask("cursor_flag"))
        return ask == ("0", "1") and {"echo", "icanon", "isig", "icrnl", "opost"} <= self.modes()
