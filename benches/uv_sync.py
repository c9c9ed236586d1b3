"""A hundred agents by `uv-sync` against as many by `uv run`.

    cargo build --release && PATH=$PWD/target/interop-venv/bin:$PATH python3 benches/uv_sync.py

Prints a markdown table. Wall time is from the start of the runner to the line that the last agent
prints; CPU is that of the runner, uv and the agents until then (a process that has ended counts
with the one that waited for it); memory is what the same processes hold after that. The project
has no dependencies, and its lock and an empty environment are there before, so that it is about
starting agents and not about a network.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
RUNNER = Path(os.environ.get("RUNNER_BIN") or TARGET / "release" / "runner")
AGENTS = int(os.environ.get("AGENTS", "100"))
REPETITIONS = int(os.environ.get("REPETITIONS", "3"))
TOKEN = "RUNNER_BENCH_TOKEN"
TICK = os.sysconf("SC_CLK_TCK")

LAUNCHERS = {"uv run": '["uv", "run", "python", "-m"]', "uv-sync": '"uv-sync"'}
AGENT = """\
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("here", flush=True)
signal.pause()
"""
PROJECT = """\
[project]
name = "bench"
version = "0.1.0"
requires-python = ">=3.9"

[tool.uv]
package = false
"""


def environment(token: str) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "RUST_LOG")}
    return env | {TOKEN: token, "UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never"}


def config(launcher: str, token: str) -> str:
    entities = "".join(f'[[entities]]\nid = "a{number}"\ntype = "forager"\nx = 1\ny = 1\n' for number in range(AGENTS))
    return (
        f'[runner]\nserver = "embedded"\nlauncher = {launcher}\n'
        f'[agents.default]\nmodule = "agent"\nenv = {{ {TOKEN} = "{token}" }}\n{entities}'
    )


def bearing(token: str) -> list[Path]:
    """All live processes that were started under this token, told by their environment."""
    mark = f"{TOKEN}={token}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            with suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(entry)
    return found


def cpu_seconds(processes: list[Path]) -> float:
    """Their own, and that of the children that they waited for."""
    ticks = 0
    for process in processes:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        # utime, stime, cutime and cstime: 14 to 17 in proc_pid_stat(5), where these begin with 3.
        ticks += sum(map(int, fields[11:15]))
    return ticks / TICK


def memory_mib(processes: list[Path], key: str) -> float:
    kib = 0
    for process in processes:
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith(key + ":"):
                kib += int(line.split()[1])
    return kib / 1024


def printed(logs: Path) -> int:
    return sum("here\n" in log.read_text() for log in logs.glob("agent-*.log"))


def measure(launcher: str) -> list[float]:
    """Wall and CPU seconds, MiB of PSS and of RSS, processes, and those of them that are uv."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "agent.py").write_text(AGENT)
        (directory / "pyproject.toml").write_text(PROJECT)
        token = f"{os.getpid()}-{time.monotonic_ns()}"
        (directory / "config.toml").write_text(config(launcher, token))
        env = environment(token)
        subprocess.run(["uv", "sync", "--quiet"], cwd=directory, env=env, check=True)
        command = [RUNNER, "reconcile", "--config", "config.toml", "--state-dir", "state"]
        began = time.monotonic()
        runner = subprocess.Popen(command, cwd=directory, env=env, stderr=subprocess.DEVNULL)
        try:
            while printed(directory / "logs") < AGENTS:
                if runner.poll() is not None or time.monotonic() - began > 300:
                    sys.exit("the agents did not come up")
                time.sleep(0.02)
            wall = time.monotonic() - began
            processes = bearing(token)
            if len(processes) <= AGENTS:
                sys.exit(f"only {len(processes)} processes were found")
            figures = [wall, cpu_seconds(processes)]
            figures += [memory_mib(processes, key) for key in ("Pss", "Rss")]
            programs = [(process / "cmdline").read_bytes().split(b"\0")[0] for process in processes]
            return [*figures, len(processes), sum(program.endswith(b"uv") for program in programs)]
        finally:
            runner.send_signal(signal.SIGTERM)
            runner.wait()


def main() -> None:
    if shutil.which("uv") is None or not RUNNER.is_file():
        sys.exit("needs uv in PATH, and `cargo build --release`")
    print(f"| {AGENTS} agents | wall, s | CPU, s | PSS, MiB | RSS, MiB | processes | of them uv |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, launcher in LAUNCHERS.items():
        # The median of each.
        runs = [sorted(column) for column in zip(*(measure(launcher) for _ in range(REPETITIONS)))]
        wall, cpu, pss, rss, count, uv = (column[len(column) // 2] for column in runs)
        print(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {pss:.0f} | {rss:.0f} | {count:.0f} | {uv:.0f} |")


if __name__ == "__main__":
    main()
