"""The suite's own tools: what they must not miss."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tomllib
import uuid

import pytest

import processes
from configs import USERS_FILE, forager, plain, quick
from log import Ev, Log, parse


def test_both_shapes_of_json_lines_are_read() -> None:
    flat = parse('{"level":"INFO","event":"agent.started","entity":"alice","pid":12}')
    nested = parse('{"fields":{"event":"agent.started","entity":"alice","pid":"12"}}')
    for line in (flat, nested):
        assert line.is_a(Ev.STARTED, entity="alice", pid=12)
        assert not line.is_a(Ev.STARTED, entity="bob")
        assert not line.is_a(Ev.STARTED, run=1)
        assert line.pid == 12
    assert parse("thread 'main' panicked").event == ""
    assert parse("12").event == ""


def test_waiting_sees_what_is_there_and_what_comes() -> None:
    log = Log()
    log.feed(['{"event":"a"}\n'])
    assert log.wait_for("a").event == "a"
    mark = log.mark()
    with pytest.raises(AssertionError, match="the log ended"):
        log.wait_for("a", since=mark)


def test_waiting_is_bounded_and_wakes_up() -> None:
    log = Log()
    source, sink = os.pipe()
    reader = threading.Thread(target=log.feed, args=[open(source)], daemon=True)
    reader.start()
    with pytest.raises(AssertionError, match="not within"):
        log.wait_for("late", timeout=0.1)
    os.write(sink, b'{"event":"late"}\n')
    log.wait_for("late", timeout=5)
    os.close(sink)
    reader.join(5)
    assert not reader.is_alive()


def test_what_bears_a_token_is_found_and_ended_wherever_it_hid() -> None:
    token = uuid.uuid4().hex
    program = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
    child = subprocess.Popen(
        [sys.executable, "-c", program], env={processes.TOKEN: token}, start_new_session=True
    )
    # Popen returns in the middle of its exec, when the kernel does not tell its environment yet.
    processes.eventually(lambda: processes.bearing(token) == [child.pid], "it is found")
    assert processes.in_group(child.pid) == [child.pid]
    processes.kill_bearing(token)
    assert child.wait(5) == -9
    assert processes.bearing(token) == []


def test_files_are_what_they_should_be() -> None:
    assert tomllib.loads(USERS_FILE)["agents"]["alice"]["args"] == ["--eat-probability", "0.2"]
    text = quick(
        runner={"max_agents": 3, "launcher": ["python", "-m"]},
        agents={"default": plain("--note", 'a "b"'), "x": forager(env={"A": "b"})},
        health={"lease": True},
    )
    read = tomllib.loads(text)
    assert read["runner"]["max_agents"] == 3 and read["runner"]["initial_backoff_ms"] == 200
    assert read["agents"]["default"]["args"] == ["--note", 'a "b"']
    assert read["agents"]["x"]["env"] == {"A": "b"}
    assert read["health"]["lease"] is True
