"""The trouble of the soak. What is right is judged by checker.py alone, from outside.

In turns of about twenty seconds of trouble: entities come, go and are born again; agents crash,
hang, ignore SIGTERM and leave trees behind; the file is edited well and badly; the world falls
silent, dies, lies; the runner is killed and started again, replaced, stopped and continued;
operators restart, suspend and resume. Then a quiet time: within a bound all must be as it should
be, and then nothing may move. All of it follows from the seed, but for the moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import checker
from configs import toml
from hostile_world import HostileWorld, entity
from paths import RUNNER_BIN

HERE = Path(__file__).parent
KINDS = ("steady", "stubborn", "tree", "slow")
TROUBLE_SECONDS = 20.0
# For how long nothing may move once it is at rest, beyond what makes it count as rest.
STILL_SECONDS = 3.0
# How long a quiet time may take until all is as it should be. On an idle machine it takes three
# seconds; this one may have a lot to do.
BOUND_SECONDS = 45.0
LIMITS = {"files": 400, "threads": 64, "MiB": 256}
LASTING = 12
AT_MOST = 24


class Soak:
    """One runner, its world, and who is in it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.directory = Path(tempfile.mkdtemp(prefix="runner-soak-"))
        for name in ("locks", "work", "stranger", "checker"):
            (self.directory / name).mkdir()
        self.program = self.directory / "agent.py"
        for name in ("agent.py", "stranger/agent.py"):
            shutil.copy(HERE / "agent.py", self.directory / name)
        self.world = HostileWorld()
        self.beings: dict[str, tuple[str, int]] = {}
        self.named = 0
        self.version = dict.fromkeys(KINDS, 0)
        self.suspended: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.runner: subprocess.Popen[bytes] | None = None
        self.broken: list[str] = []
        self.doubtful: set[str] = set()
        self.strangers = [self.stranger() for _ in range(2)]
        seen = [(it.pid, checker.stat(it.pid)) for it in self.strangers]
        self.named_strangers = [(pid, stat[2]) for pid, stat in seen if stat is not None]
        self.save(self.config())
        for _ in range(LASTING):
            self.arrive()
        self.start_runner()
        self.truth("trouble")
        command = [sys.executable, HERE / "checker.py", self.directory / "checker"]
        self.checker = subprocess.Popen(command)

    # What there is.

    def stranger(self) -> subprocess.Popen[bytes]:
        """Looks like an agent, and is none: another file, and not of this runner."""
        command = [sys.executable, "-I", "-S", self.directory / "stranger/agent.py"]
        env = {"RUNNER_ENTITY_ID": "e1", "PATH": os.environ["PATH"]}
        work = self.directory / "work"
        return subprocess.Popen([*command, "--entity", "e1"], env=env, cwd=work)

    def config(self) -> str:
        runner = {
            "server": self.world.address, "log_dir": "logs", "shutdown_grace_ms": 500,
            "initial_backoff_ms": 50, "max_backoff_ms": 500, "max_restart_attempts": 1_000_000,
            # One that exits with 0 would have done its work, and rightly have no successor.
            "restart": "always",
            # Short, as a rollout that goes on when all is quiet is no rest.
            "rollout": {"min_ready_ms": 100, "pause_on_failure": False},
        }  # fmt: skip
        tables = {
            "runner": runner,
            "jit": {"template": "steady", "watch_interval_ms": 200},
            "discovery": {"timeout_ms": 1000, "hold_ms": 3000},
        }
        return toml(tables) + "".join(map(self.template, KINDS))

    def template(self, kind: str) -> str:
        command = [sys.executable, "-I", "-S", str(self.program), "--entity", "{entity_id}"]
        command += ["--kind", kind, "--locks", str(self.directory / "locks")]
        command += ["--version", str(self.version[kind])]
        mark = json.dumps(str(self.directory))
        return (
            f"[agents.{kind}]\ncommand = {json.dumps(command)}\nmatch = {{ types = [\"{kind}\"] }}\n"
            f"cwd = {json.dumps(str(self.directory / 'work'))}\nenv = {{ SOAK = {mark} }}\n"
        )

    def save(self, text: str) -> None:
        fresh = self.directory / "runner.new"
        fresh.write_text(text)
        fresh.rename(self.directory / "runner.toml")

    def tell(self) -> None:
        """What the world says from now on."""
        said = [entity(name, kind, (), tick) for name, (kind, tick) in self.beings.items()]
        self.world.entities = said

    def truth(self, phase: str) -> None:
        runner = self.runner.pid if self.runner else 0
        seen = checker.stat(runner) if runner else None
        self.since = time.monotonic()
        truth = {
            "phase": phase, "since": self.since, "program": str(self.program),
            "mark": f"SOAK={self.directory}", "locks": str(self.directory / "locks"),
            "wanted": self.wanted(), "bound": BOUND_SECONDS,
            "strangers": self.named_strangers, "limits": LIMITS,
            "runner": (runner, seen[2]) if seen else (0, 0),
        }  # fmt: skip
        checker.write(self.directory / "checker" / "truth.json", truth)

    def wanted(self) -> dict[str, str]:
        """Who is to have an agent, and of which version."""
        there = self.beings.items()
        return {
            name: str(self.version[kind]) for name, (kind, _) in there if name not in self.suspended
        }

    def start_runner(self) -> None:
        command = [RUNNER_BIN, "reconcile", "--config", "runner.toml", "--state-dir", "state"]
        env = {"PATH": os.environ["PATH"], "SOAK": str(self.directory)}
        with open(self.directory / "runner.log", "ab") as log:
            self.runner = subprocess.Popen(
                command, cwd=self.directory, env=env, stdin=subprocess.DEVNULL, stderr=log
            )

    def verb(self, *words: str) -> bool:
        state = ["--state-dir", str(self.directory / "state")]
        command = [str(RUNNER_BIN), words[0], *state, *words[1:]]
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
        return False

    # Trouble.

    def arrive(self) -> None:
        self.named += 1
        self.beings[f"e{self.named}"] = (self.random.choice(KINDS), 0)
        self.tell()

    def leave(self) -> None:
        name = self.random.choice(sorted(self.beings))
        del self.beings[name]
        # Whoever is not there is not suspended any more for us; another will have another name.
        self.suspended.discard(name)
        self.tell()

    def come_or_go(self) -> None:
        few, many = len(self.beings) <= LASTING, len(self.beings) >= AT_MOST
        self.arrive() if few or (not many and self.random.random() < 0.5) else self.leave()

    def be_born_again(self) -> None:
        name = self.random.choice(sorted(self.beings))
        kind, tick = self.beings[name]
        self.beings[name] = (kind, tick + 1)
        self.tell()

    def signal_agent(self) -> None:
        """A crash, an end, a death or a hang."""
        names = ("SIGUSR1", "SIGUSR2", "SIGKILL", "SIGSEGV", "SIGSTOP", "SIGTERM")
        number = signal.Signals[self.random.choice(names)]
        pick = self.random.random()
        there = sorted(checker.agents(str(self.program)), key=lambda it: (it.entity, it.pid))
        if there:
            chosen = there[int(pick * len(there))]
            self.say(number.name, chosen)
            send(chosen, number)

    def edit_well(self) -> None:
        self.version[self.random.choice(KINDS)] += 1
        self.save(self.config())

    def edit_badly(self) -> None:
        whole = self.config()
        wrong = (whole[: len(whole) // 2], "", "[runner]\nservr = 1\n", whole + "[agents.", "\0")
        self.save(self.random.choice(wrong))
        self.wait(0.5)
        self.save(whole)

    def world_away(self) -> None:
        """It is shut, silent, ill, slow, or empty for a while."""
        message = "out of order"
        kinds = (
            {"welcome": lambda connection: connection.close()},
            {"welcome": lambda connection: connection.world.over.wait()},
            {"on_list": lambda stream: stream.wait_until_over()},
            {"on_list": lambda stream: stream.fail("14", message)},
            {"on_list": lambda stream: stream.answer(b"")},
            {"on_list": lambda stream: stream.answer(b"\x0a\x7f")},
        )
        self.world.attack(**self.random.choice(kinds))
        self.wait(self.random.uniform(0.5, 4))
        self.world.be_honest()

    def kill_runner(self) -> None:
        assert self.runner is not None
        self.runner.kill()
        self.runner.wait()
        self.wait(self.random.choice((0, 0.1, 1)))
        self.start_runner()

    def replace_runner(self) -> None:
        self.signal_runner(signal.SIGUSR2)

    def stop_runner(self) -> None:
        self.signal_runner(signal.SIGSTOP)
        self.wait(self.random.uniform(0.1, 1.5))
        self.signal_runner(signal.SIGCONT)

    def reload(self) -> None:
        self.signal_runner(signal.SIGHUP)

    def signal_runner(self, number: signal.Signals) -> None:
        # A signal before it listens to it would end it, as it would any program.
        if self.runner is not None and listens(self.runner.pid, number):
            self.runner.send_signal(number)

    def operator_restarts(self) -> None:
        self.verb("restart", "--", self.random.choice(sorted(self.beings)))

    def operator_suspends(self) -> None:
        name = self.random.choice(sorted(self.beings))
        if self.verb("suspend", "--", name):
            self.suspended.add(name)
        else:
            self.doubtful.add(name)

    def operator_resumes(self) -> None:
        if self.suspended:
            name = self.random.choice(sorted(self.suspended))
            if self.verb("resume", "--", name):
                self.suspended.discard(name)

    def say(self, *words: object) -> None:
        """Beside the runner's log, for whoever has to find out what happened."""
        with open(self.directory / "acts.log", "a") as file:
            print(datetime.now(UTC).isoformat(timespec="milliseconds"), *words, file=file)

    def wait(self, seconds: float) -> None:
        """A length of trouble, not a wait for something."""
        time.sleep(seconds)

    def trouble(self) -> None:
        acts = {
            self.come_or_go: 12, self.be_born_again: 4, self.signal_agent: 16, self.edit_well: 3,
            self.edit_badly: 2, self.world_away: 3, self.kill_runner: 2, self.replace_runner: 2,
            self.stop_runner: 1, self.reload: 1, self.operator_restarts: 3,
            self.operator_suspends: 2, self.operator_resumes: 2,
        }  # fmt: skip
        self.truth("trouble")
        until = time.monotonic() + TROUBLE_SECONDS
        while time.monotonic() < until:
            [act] = self.random.choices(list(acts), weights=list(acts.values()))
            self.say(act.__name__)
            act()
            self.counts[act.__name__] += 1
            self.see_that_the_runner_lives()
            self.wait(self.random.uniform(0, 0.4))

    def see_that_the_runner_lives(self) -> None:
        assert self.runner is not None
        code = self.runner.poll()
        if code is not None:
            self.broken.append(f"the runner ended by itself: {code}")
            self.start_runner()

    # Quiet.

    def quiet(self) -> None:
        """All is honest and well. The checker says whether it becomes so."""
        for process in checker.agents(str(self.program)):
            send(process, signal.SIGCONT)
        until = time.monotonic() + BOUND_SECONDS
        while self.doubtful and time.monotonic() < until:
            name = next(iter(self.doubtful))
            if name not in self.beings or self.verb("resume", "--", name):
                self.suspended.discard(name)
                self.doubtful.discard(name)
        self.truth("quiet")
        until = time.monotonic() + 2 * BOUND_SECONDS
        while time.monotonic() < until and self.checker.poll() is None:
            rested = self.seen().get("rested")
            if rested and time.monotonic() > rested + checker.REST_SECONDS + STILL_SECONDS:
                return
            self.see_that_the_runner_lives()
            time.sleep(0.05)
        self.broken.append("no rest")

    def seen(self) -> dict[str, float]:
        with suppress(OSError, ValueError):
            seen = json.loads((self.directory / "checker" / "seen.json").read_text())
            if seen["since"] == self.since:
                return seen
        return {}

    def end(self) -> None:
        assert self.runner is not None
        self.truth("ending")
        self.runner.terminate()
        try:
            code = self.runner.wait(BOUND_SECONDS)
            if code != 0:
                self.broken.append(f"exit code {code} of SIGTERM")
        except subprocess.TimeoutExpired:
            self.broken.append("it does not end of SIGTERM")
        self.truth("end")
        until = time.monotonic() + 2 * BOUND_SECONDS
        while not self.seen().get("rested") and time.monotonic() < until:
            time.sleep(0.05)
        (self.directory / "checker" / "end").touch()
        self.checker.wait(BOUND_SECONDS)

    def sweep(self) -> None:
        """Ends what a failure left; the runner first, so that it restarts nobody."""
        for process in (self.runner, self.checker, *self.strangers):
            if process is not None:
                process.kill()
                process.wait()
        for pid in checker.bearing(f"SOAK={self.directory}".encode()):
            if pid != os.getpid():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def send(process: checker.Process, number: signal.Signals) -> None:
    """By a handle that is of this very process."""
    with suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            if checker.lives(process.pid, process.start):
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def listens(pid: int, number: signal.Signals) -> bool:
    if number in (signal.SIGSTOP, signal.SIGCONT):
        return True
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def report(soak: Soak, seed: int, turns: int) -> bool:
    where = soak.directory / "checker"
    summary = {}
    with suppress(OSError):
        summary = json.loads((where / "summary.json").read_text())
    print(f"\nseed {seed}, {turns} turns")
    for name, count in sorted(soak.counts.items()):
        print(f"  {name:24}{count:8}")
    for name, value in summary.items():
        print(f"  {name:24}{value:8.4g}")
    evidence = where / "violations.jsonl"
    broken = evidence.read_text().splitlines() if evidence.exists() else []
    broken += soak.broken
    if not summary:
        broken.append("the checker did not come to its end")
    for line in broken:
        print(f"BROKEN  {line}")
    if broken:
        print(f"the log of the runner, and all else: {soak.directory}")
    return not broken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes} minutes", flush=True)
    until = time.monotonic() + options.minutes * 60
    soak = Soak(options.seed)
    turns = 0
    try:
        while not soak.broken and not soak.seen().get("violations"):
            soak.trouble()
            soak.quiet()
            turns += 1
            print(f"turn {turns}: {soak.seen()}", flush=True)
            if time.monotonic() > until:
                break
        soak.end()
    finally:
        soak.sweep()
    good = report(soak, options.seed, turns)
    if good:
        shutil.rmtree(soak.directory)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
