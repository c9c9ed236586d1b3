"""Traces of the runner, as a collector has them that is not written in Rust."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

import collector
import processes
from configs import plain, quick
from log import Ev
from processes import eventually
from runner import Runner
from world import World

FILE = quick(
    runner={"initial_backoff_ms": 20, "max_restart_attempts": 1},
    agents={"default": plain(), "bob": {"command": ["no-such-program"]}},
)


def to(address: str, **more: str) -> dict[str, str]:
    """What asks for traces there, soon after they are made."""
    endpoint = f"http://{address}"
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "50"} | more


def threads(runner: Runner) -> set[str]:
    tasks = Path(f"/proc/{runner.process.pid}/task").iterdir()
    return {(task / "comm").read_text().strip() for task in tasks}


def traces_threads(runner: Runner) -> set[str]:
    return {name for name in threads(runner) if name.startswith(("traces", "OpenTelemetry"))}


def test_a_start_is_a_span_within_that_of_the_pass_that_decided_it(tmp_path: Path) -> None:
    with collector.by_grpc() as told, World("--entities", "alice,bob") as world:
        named = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test"}
        with Runner(tmp_path, world.address, FILE, env=to(told.address, **named)) as runner:
            pid = runner.wait_started("alice")["alice"]
            runner.wait_for(Ev.FAILED, entity="bob")
            # While it runs, and not only when it ends.
            alice = told.wait_for("spawn", entity="alice")
        assert runner.count(Ev.TRACES_FAILED) == 0
        passes = {span.raw.span_id: span for span in told.spans("pass")}
        spawns = told.spans("spawn")
        assert len(spawns) == runner.count(Ev.STARTING)

    started = runner.log.find(Ev.STARTED, entity="alice")[0].fields
    assert alice.attributes == {
        "runner.entity": "alice",
        "runner.template": "default",
        "runner.run": started["run"],
        "runner.chosen_by": "default template",
        "runner.attempt": 0,
        "runner.cause": "no_agent",
        "runner.reason": runner.log.find(Ev.STARTING, entity="alice")[0].reason,
        "process.pid": pid,
    }
    assert alice.ms == pytest.approx(started["took_ms"], abs=200)
    assert not alice.raw.status.code
    for spawn in spawns:
        within = passes[spawn.raw.parent_span_id]
        assert spawn.raw.trace_id == within.raw.trace_id
        assert spawn.raw.start_time_unix_nano == within.raw.start_time_unix_nano
    # Once, and once again.
    failed = [span for span in spawns if span.attributes["runner.entity"] == "bob"]
    assert [span.attributes["runner.cause"] for span in failed] == ["no_agent", "crashed"]
    for span in failed:
        assert span.raw.status.code == span.raw.status.STATUS_CODE_ERROR
        assert "no-such-program" in span.raw.status.message
        assert "process.pid" not in span.attributes

    for span in passes.values():
        assert not span.raw.parent_span_id
        assert span.scope == "runner"
        counts = {
            key: value
            for key, value in span.attributes.items()
            if key.startswith("runner.actions.") and key != "runner.actions.total"
        }
        assert 0 < sum(counts.values()) == span.attributes["runner.actions.total"]
        within = [it for it in spawns if it.raw.parent_span_id == span.raw.span_id]
        assert len(within) == counts.get("runner.actions.start", 0)
    first = passes[alice.raw.parent_span_id]
    assert first.attributes["runner.cause"] == "world"
    assert first.attributes["runner.actions.start"] == 2

    resource = alice.resource
    assert resource["service.name"] == "runner"
    assert resource["service.instance.id"] == runner.config.stem
    assert resource["service.version"]
    assert resource["deployment.environment"] == "test"
    assert resource["telemetry.sdk.language"] == "rust"


def test_it_speaks_http_as_well_and_what_the_user_calls_it_wins(tmp_path: Path) -> None:
    with collector.by_http() as told, World("--entities", "alice") as world:
        asked = to(
            told.address,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_SERVICE_NAME="my-runner",
            OTEL_RESOURCE_ATTRIBUTES="service.name=another,service.instance.id=7",
        )
        with Runner(tmp_path, world.address, quick(agents={"default": plain()}), env=asked) as it:
            it.wait_started("alice")
            alice = told.wait_for("spawn", entity="alice")
        assert it.count(Ev.TRACES_FAILED) == 0
    assert alice.resource["service.name"] == "my-runner"
    assert alice.resource["service.instance.id"] == "7"


@pytest.mark.parametrize("disabled", [True, False])
def test_nobody_is_connected_to_unless_it_is_asked_for(tmp_path: Path, disabled: bool) -> None:
    with ExitStack() as stack:
        world = stack.enter_context(World("--entities", "alice"))
        heard = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        heard.setblocking(False)
        address = f"127.0.0.1:{heard.getsockname()[1]}"
        asked = to(address, OTEL_SDK_DISABLED="true") if disabled else {}
        file = quick(agents={"default": plain()})
        with Runner(tmp_path, world.address, file, env=asked) as runner:
            runner.wait_started("alice")
            assert traces_threads(runner) == set()
        with pytest.raises(BlockingIOError):
            heard.accept()
        if disabled:
            # That would have been seen here.
            directory = tmp_path / "asked"
            directory.mkdir()
            with Runner(directory, world.address, file, env=to(address)) as runner:
                runner.wait_started("alice")
                assert len(traces_threads(runner)) == 2
                heard.settimeout(20)
                heard.accept()[0].close()


@pytest.mark.parametrize("silent", [True, False])
def test_an_endpoint_that_is_away_is_told_of_once_and_holds_up_nothing(
    tmp_path: Path, silent: bool
) -> None:
    crashing = quick(
        runner={"initial_backoff_ms": 10, "max_backoff_ms": 20, "max_restart_attempts": 1000},
        agents={"default": plain(), "bob": {"command": ["false"]}},
    )
    with ExitStack() as stack:
        world = stack.enter_context(World("--entities", "alice,bob"))
        # Takes connections and never says a word; or is not there at all.
        endpoint = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = endpoint.getsockname()[1]
        if not silent:
            endpoint.close()
        # Of a batch that never ends, only the end of the runner tells.
        asked = to(f"127.0.0.1:{port}", OTEL_BSP_MAX_QUEUE_SIZE="8")
        with Runner(tmp_path, world.address, crashing, env=asked) as runner:
            runner.wait_started("alice")
            if not silent:
                runner.wait_for(Ev.TRACES_FAILED)
            # More than there is room for.
            eventually(lambda: runner.count(Ev.STARTED, entity="bob") > 20, "20 restarts", 60)
            world.add("carol")
            runner.wait_started("carol")
            # Code 0, and nobody left: `stop` sees to it.
            runner.stop()
    assert runner.count(Ev.TRACES_FAILED) == 1
    assert runner.count(Ev.RUNNER_STOPPED) == 1
    assert processes.bearing(runner.token) == []


def test_what_was_away_is_sent_to_when_it_is_there(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = quick(agents={"default": plain()})
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, file, env=to(f"127.0.0.1:{port}")) as runner:
            runner.wait_started("alice")
            failed = runner.wait_for(Ev.TRACES_FAILED)
            assert "Connection refused" in str(failed.fields["error"])
            with collector.by_grpc(port) as told:
                world.add("bob")
                told.wait_for("spawn", entity="bob")
                runner.wait_for(Ev.TRACES_SENT)
                runner.stop()
        assert runner.count(Ev.TRACES_FAILED) == runner.count(Ev.TRACES_SENT) == 1


def test_an_endpoint_that_cannot_be_is_told_of_with_what_to_write(tmp_path: Path) -> None:
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1"}
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, FILE, env=asked) as runner:
            runner.wait_started("alice")
            failed = runner.wait_for(Ev.TRACES_FAILED)
            assert "write http://HOST:PORT" in str(failed.fields["error"])
            assert traces_threads(runner) == set()


def test_the_program_that_takes_over_goes_on_with_it(tmp_path: Path) -> None:
    file = quick(agents={"default": plain()})
    with collector.by_grpc() as told, World("--entities", "alice") as world:
        # Nothing is sent before something ends.
        late = to(told.address, OTEL_BSP_SCHEDULE_DELAY="600000")
        with Runner(tmp_path, world.address, file, env=late) as runner:
            runner.wait_started("alice")
            mark = runner.mark()
            runner.process.send_signal(signal.SIGUSR2)
            runner.wait_for(Ev.RUNNER_STARTED, since=mark)
            told.wait_for("spawn", entity="alice")
            world.add("bob")
            runner.wait_started("bob", since=mark)
            assert told.spans("spawn", entity="bob") == []
            runner.stop()
        assert len(told.spans("spawn")) == 2
