# /// script
# requires-python = ">=3.11"
# dependencies = ["rich>=13"]
# ///
"""Makes the pictures of the README from real runs: `uv run docs/record.py [PATH OF runner]`.

A runner keeps the agents of a small demo world; the verbs are run in a terminal of their own each,
and what they print is drawn as it is. No other runner may run, as the verbs are to find this one by
themselves. `runner top` needs tmux.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import fcntl
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).resolve().parent
WIDTH = 120
# Without fonts from elsewhere.
FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""

AGENT = 'command = ["{runner}", "agent", "--server", "{server}", "--entity", "{entity_id}"]'


def scene(version: int) -> str:
    """The configuration. Deer of version 2 cannot start."""
    deer = AGENT if version == 1 else 'command = ["sh", "-c", "echo cannot load model v2 >&2; exit 3"]'
    entities = [("alice", "forager"), ("bob", "forager"), ("carol", "forager"), ("dora", "forager")]
    entities += [(f"deer-{number:02}", "deer") for number in range(1, 41)]
    return f"""
[runner]
server = "embedded"
name = "meadow"
initial_backoff_ms = 1000
max_restart_attempts = 10
rollout = {{ min_ready_ms = 500 }}

[agents.default]
{AGENT}

[agents.bob]
{AGENT}
args = ["--crash-after-ms", "1500"]

[agents.deer]
match = {{ types = ["deer"] }}
{deer}
env = {{ MODEL = "v{version}" }}

[world]
width = 64
height = 64

""" + "\n".join(
        f'[[entities]]\nid = "{name}"\ntype = "{kind}"\nx = {number}\ny = {number}'
        for number, (name, kind) in enumerate(entities)
    )


class Instance:
    """A running `runner reconcile`, and a terminal beside it."""

    def __init__(self, runner: str, directory: Path) -> None:
        self.runner, self.directory = runner, directory
        self.config = directory / "meadow.toml"
        self.config.write_text(scene(1))
        bin_dir = directory / "bin"
        bin_dir.mkdir()
        (bin_dir / "runner").symlink_to(runner)
        self.env = {
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "HOME": str(directory),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": str(directory / "state"),
        }
        command = ["runner", "reconcile", "--config", "meadow.toml"]
        self.process = subprocess.Popen(
            command, cwd=directory, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)

    def shown(self, command: str) -> str:
        """What a command shows in a terminal."""
        control, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
        process = subprocess.Popen(
            ["sh", "-c", command], cwd=self.directory, env=self.env,
            stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        text = b""
        while select.select([control], [], [], 120)[0]:
            try:
                piece = os.read(control, 65536)
            except OSError:
                break
            if not piece:
                break
            text += piece
        process.wait(timeout=10)
        os.close(control)
        return text.decode().replace("\r\n", "\n")

    def asked(self, *args: str) -> None:
        subprocess.run(["runner", *args], cwd=self.directory, env=self.env, check=True, stdout=subprocess.DEVNULL)

    def session(self, *commands: str) -> str:
        """Commands with what they show. Where one shows nothing, it is only a comment."""
        parts = []
        for command in commands:
            name, _, rest = command.partition(" ")
            parts.append(f"\x1b[1m$ {name}\x1b[0m {rest}")
            if name != "$EDITOR":
                parts.append(self.shown(command).rstrip("\n"))
            parts.append("")
        return "\n".join(parts[:-1])

    def screen(self, command: str, keys: str, width: int, height: int, seconds: float) -> str:
        """The screen of a program that takes all of a terminal, after these keys."""
        tmux = ["tmux", "-L", f"record-{os.getpid()}", "-f", "/dev/null"]

        def run(*args: str) -> str:
            return subprocess.run([*tmux, *args], env=self.env, cwd=self.directory, check=True, capture_output=True, text=True).stdout

        run("new-session", "-d", "-x", str(width), "-y", str(height), command)
        try:
            for key in keys:
                time.sleep(0.5)
                run("send-keys", key)
            # It measures what has been used since the last look.
            time.sleep(seconds)
            return run("capture-pane", "-p", "-e")
        finally:
            run("kill-server")


def draw(name: str, title: str, text: str) -> None:
    # Carriage returns and cursor movements are for terminals that go on.
    text = re.sub(r"\x1b\[\?[0-9]+[hl]", "", text)
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)
    console.print(Text.from_ansi(text), no_wrap=True, overflow="crop", crop=False)
    svg = console.export_svg(title=title, theme=MONOKAI, code_format=FORMAT, unique_id=name)
    (DOCS / f"{name}.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
    print(f"docs/{name}.svg")


def main() -> None:
    runner = shutil.which(sys.argv[1] if len(sys.argv) > 1 else "target/release/runner")
    if runner is None:
        sys.exit("there is no runner: `cargo build --release`, or give its path")
    with tempfile.TemporaryDirectory() as directory:
        instance = Instance(str(Path(runner).resolve()), Path(directory))
        try:
            record(instance)
        finally:
            instance.stop()


def record(instance: Instance) -> None:
    time.sleep(2)
    instance.asked("wait", "--for=condition=Ready", "alice", "deer-*")
    instance.asked("suspend", "dora")
    instance.asked("wait", "--for=phase=BackingOff", "bob", "--timeout", "60s")
    foragers = instance.session(
        "runner status -l type=forager",
        "runner get agents -l type=deer -o wide --sort-by memory | head -n 4",
        "runner get entities dora",
    )
    draw("get", "runner get", foragers)
    instance.asked("wait", "--for=phase=Running", "bob", "--timeout", "60s")
    instance.asked("wait", "--for=phase=BackingOff", "bob", "--timeout", "60s")
    draw("why", "runner why", instance.session("runner why bob | tail -n 9", "runner why dora"))
    if shutil.which("tmux"):
        draw("top", "runner top", instance.screen("runner top", "e", WIDTH, 26, 8))
    instance.config.write_text(scene(2))
    rollout = instance.session(
        "$EDITOR meadow.toml    # [agents.deer]: another model, which does not load",
        "runner reload",
        "runner rollout status deer --wait",
        "runner why deer-40 | tail -n 1",
        "runner rollout undo deer",
        "runner rollout status deer --wait",
    )
    draw("rollout", "runner rollout", rollout)


main()
