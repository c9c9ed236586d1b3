"""`runner reconcile` on a Python world behind TLS: who is believed, who is let in, what is rotated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trustme

import processes
from configs import plain, quick
from log import Ev
from processes import eventually
from runner import Runner, run_once
from world import World

DEBUG = {"RUST_LOG": "runner=debug"}
TOKEN = "s3cret-token-of-the-test"


class Pki:
    """Certificates in a directory, as the world and the runner are given them."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory / "pki"
        self.dir.mkdir(mode=0o700)
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.dir / "ca.pem"))

    def __getitem__(self, name: str) -> str:
        return str(self.dir / name)

    def issue(self, name: str, *hosts: str, authority: trustme.CA | None = None) -> None:
        """`name.pem` and `name.key`, in place of what was there."""
        issued = (authority or self.authority).issue_cert(*hosts)
        self.write(f"{name}.key", issued.private_key_pem.bytes())
        self.write(f"{name}.pem", issued.cert_chain_pems[0].bytes())

    def write(self, name: str, content: bytes) -> None:
        """Replaces the file as rotators do: whole, and by a rename."""
        fresh = self.dir / f"{name}.new"
        fresh.write_bytes(content)
        fresh.chmod(0o600)
        fresh.rename(self.dir / name)

    def server(self, *, clients: bool = False) -> list[str]:
        options = ["--tls-cert", self["world.pem"], "--tls-key", self["world.key"]]
        return options + (["--tls-client-ca", self["ca.pem"]] if clients else [])


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path)
    made.issue("world", "127.0.0.1")
    made.issue("runner", "runner@example.org")
    return made


def config(tls: dict[str, Any] | None, **more: Any) -> str:
    runner = {"initial_backoff_ms": 200, **({} if tls is None else {"tls": tls}), **more}
    return quick(runner=runner, agents={"default": plain()})


def outage(runner: Runner, mark: int, why: str, pids: dict[str, int]) -> None:
    """The world is unknown, the log says why, and nobody is touched."""
    lost = runner.wait_for(Ev.WORLD_LOST, since=mark)
    assert re.search(why, str(lost.fields["error"])), lost.text
    assert runner.touched(mark) == []
    assert all(processes.in_group(pid) for pid in pids.values())


def test_a_world_behind_tls_is_served(tmp_path: Path, pki: Pki) -> None:
    with World("--entities", "a,b", *pki.server()) as world:
        with Runner(tmp_path, world.address, config({"ca": pki["ca.pem"]})) as runner:
            runner.wait_started("a", "b")
            mark = runner.mark()
            world.add("c")
            runner.wait_started("c", since=mark)
            runner.stop()


def test_mutual_tls_lets_in_who_has_a_certificate(tmp_path: Path, pki: Pki) -> None:
    without = {"ca": pki["ca.pem"]}
    with_cert = without | {"cert": pki["runner.pem"], "key": pki["runner.key"]}
    with World("--entities", "a", *pki.server(clients=True)) as world:
        waiting = config(without, connection_timeout_ms=500)
        with Runner(tmp_path, world.address, waiting) as runner:
            line = runner.wait_for(Ev.WORLD_WAITING)
            assert "TLS" in str(line.fields["error"]), line.text
            assert world.asked() == 0
            # The live file is enough.
            runner.save(config(with_cert))
            runner.wait_started("a")
            runner.stop()


def test_a_world_with_another_certificate_is_unknown_and_removes_nobody(
    tmp_path: Path, pki: Pki
) -> None:
    tls = {"ca": pki["ca.pem"]}
    with World("--entities", "a,b", *pki.server()) as world:
        with Runner(tmp_path, world.address, config(tls), env=DEBUG) as runner:
            pids = runner.wait_started("a", "b")
            mark = runner.mark()
            port = world.port
            world.kill()
            runner.wait_for(Ev.WORLD_LOST, since=mark)
            mark = runner.mark()
            # A stranger takes the address, and says that there is nobody.
            pki.issue("world", "127.0.0.1", authority=trustme.CA())
            with World(*pki.server(), port=port) as stranger:
                eventually(lambda: refusals(runner) >= 3, "it is tried", 30)
                assert stranger.asked() == 0
                assert runner.touched(mark) == []
                assert all(processes.in_group(pid) for pid in pids.values())
            pki.issue("world", "127.0.0.1")
            with World("--entities", "a,b", *pki.server(), port=port):
                # A certificate that was made anew is taken, and nothing was lost.
                runner.wait_for(Ev.WORLD_BACK, since=mark)
                assert runner.touched(mark) == []
                runner.stop()


def refusals(runner: Runner) -> int:
    """How often the world was not believed to be the world."""
    lines = runner.log.find("world.call_failed", 0)
    return sum("is not vouched for" in str(line.fields["error"]) for line in lines)


def test_another_ca_is_taken_without_a_restart(tmp_path: Path, pki: Pki) -> None:
    tls = {"ca": pki["ca.pem"]}
    with World("--entities", "a", *pki.server()) as world:
        with Runner(tmp_path, world.address, config(tls)) as runner:
            pids = runner.wait_started("a")
            mark = runner.mark()
            world.kill()
            runner.wait_for(Ev.WORLD_LOST, since=mark)
            fresh = trustme.CA()
            pki.issue("world", "127.0.0.1", authority=fresh)
            pki.write("ca.pem", fresh.cert_pem.bytes())
            with World("--entities", "a", *pki.server(), port=world.port):
                runner.wait_for(Ev.WORLD_BACK, since=mark)
                assert runner.touched(mark) == []
                assert all(processes.in_group(pid) for pid in pids.values())
                runner.stop()


def test_each_call_bears_the_token_of_now(tmp_path: Path, pki: Pki) -> None:
    pki.write("token", f"{TOKEN}\n".encode())
    told = config({"ca": pki["ca.pem"]}, token_file=pki["token"])
    with World("--entities", "a", *pki.server(), "--token", TOKEN) as world:
        # What an agent finds in its environment, and what is said of the configuration.
        with Runner(tmp_path, world.address, told, env={"RUST_LOG": "trace"}) as runner:
            pids = runner.wait_started("a")
            mark = runner.mark()
            world.ask("token", token="another-" + TOKEN)
            outage(runner, mark, "Unauthenticated", pids)
            pki.write("token", f"another-{TOKEN}".encode())
            runner.wait_for(Ev.WORLD_BACK, since=mark)
            assert runner.touched(mark) == []
            # A file that others may read is as good as none.
            mark = runner.mark()
            (pki.dir / "token").chmod(0o644)
            outage(runner, mark, "chmod 600", pids)
            (pki.dir / "token").chmod(0o600)
            runner.wait_for(Ev.WORLD_BACK, since=mark)
            shown = run_once("config", "--config", str(runner.config), "--server", world.address)
            assert shown.returncode == 0 and pki["token"] in shown.stdout
            environ = Path(f"/proc/{pids['a']}/environ").read_text()
            events = run_once("events", "--state-dir", str(runner.state_dir), "-o", "json")
            for said in (shown.stdout, environ, events.stdout, runner.log.tail(100_000)):
                assert TOKEN not in said
            runner.stop()
            kept = [path for path in runner.state_dir.iterdir() if path.is_file()]
            assert kept and all(TOKEN.encode() not in path.read_bytes() for path in kept)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "decides which processes run here"),
        ("insecure = true\ntoken_file = 'TOKEN'", "in plain text"),
    ],
)
def test_plain_text_to_another_machine_is_refused(
    tmp_path: Path, pki: Pki, lines: str, why: str
) -> None:
    pki.write("token", TOKEN.encode())
    file = tmp_path / "plain.toml"
    server = "[runner]\nserver = 'world.example:50051'\n"
    file.write_text(server + lines.replace("TOKEN", pki["token"]))
    for verb in ("validate", "plan", "config", "reconcile"):
        done = run_once(verb, "--config", str(file))
        assert done.returncode == 2, done
        assert why in done.stderr and "help: write `tls = {" in done.stderr
    file.write_text(server + "insecure = true\n")
    assert run_once("validate", "--config", str(file)).returncode == 0
    file.write_text("[runner]\n")
    assert run_once("validate", "--config", str(file)).returncode == 0
    over = run_once("validate", "--config", str(file), "--server", "world.example:50051")
    assert over.returncode == 2 and "`--server` is not on this machine" in over.stderr


def test_doctor_and_plan_say_how_the_world_is_reached_and_why_it_is_not(
    tmp_path: Path, pki: Pki
) -> None:
    file = tmp_path / "runner.toml"
    with World("--entities", "a", *pki.server()) as world:
        short = {"server": world.address, "connection_timeout_ms": 1500}
        file.write_text(quick(runner=short | {"tls": {"ca": pki["ca.pem"]}}))
        told = run_once("doctor", "--config", str(file), "--state-dir", str(tmp_path / "state"))
        assert "answers, by TLS: 1 entities" in told.stdout, told
        pki.write("ca.pem", trustme.CA().cert_pem.bytes())
        for verb in ("doctor", "plan"):
            told = run_once(verb, "--config", str(file), "--state-dir", str(tmp_path / "state"))
            assert told.returncode == 1, told
            assert "is not vouched for by `tls.ca`" in told.stdout + told.stderr, told
        (pki.dir / "ca.pem").chmod(0o666)
        told = run_once("doctor", "--config", str(file), "--state-dir", str(tmp_path / "state"))
        assert told.returncode == 2 and "chmod o-w" in told.stderr, told
