"""The real Prometheus, its `promtool`, and what the runner tells them."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from configs import plain, quick
from log import Ev
from paths import CONFIGS, program
from processes import eventually
from runner import Runner
from world import World

RULES = CONFIGS / "prometheus" / "alerts.yml"

FILE = quick(metrics={"listen": "127.0.0.1:0"}, agents={"default": plain()})


def get(url: str) -> str:
    # No proxy has a business between processes of one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        return answer.read().decode()


def listening(runner: Runner) -> str:
    return str(runner.wait_for(Ev.METRICS_LISTENING).fields["address"])


def promtool(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], input=stdin, capture_output=True, text=True, timeout=60
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"promtool {arguments}:\n{said}"
    return said


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Any]:
    """A Prometheus that scrapes the target every second; a way to ask its API."""
    config = (CONFIGS / "prometheus" / "prometheus.yml").read_text()
    for ours, theirs in (("127.0.0.1:9464", target), ("15s", "1s"), ("alerts.yml", str(RULES))):
        assert ours in config
        config = config.replace(ours, theirs)
    (directory / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = (directory / "prometheus.log").open("w")
    server = subprocess.Popen(
        [
            program("prometheus"), f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address={address}",
        ],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
    )  # fmt: skip

    def ask(path: str, **query: str) -> Any:
        url = f"http://{address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        answer = json.loads(get(url))
        assert answer["status"] == "success", answer
        return answer["data"]

    def is_there() -> bool:
        try:
            return get(f"http://{address}/-/ready") != ""
        except OSError:
            return False

    try:
        eventually(is_there, "Prometheus", timeout=60)
        yield ask
    finally:
        server.kill()
        server.wait()
        log.close()


def test_a_prometheus_scrapes_a_live_instance_and_finds_its_agents(tmp_path: Path) -> None:
    program("prometheus")
    with World("--entities", "alice,bob,carol") as world:
        with Runner(tmp_path, world.address, FILE) as runner:
            runner.wait_started("alice", "bob", "carol")
            with prometheus(tmp_path, listening(runner)) as ask:

                def value(query: str) -> float | None:
                    found = ask("query", query=query)["result"]
                    return float(found[0]["value"][1]) if found else None

                def running() -> bool:
                    return value('runner_agents{template="default", phase="Running"}') == 3

                eventually(running, "three agents in Prometheus", timeout=30)
                assert value('up{job="runner"}') == 1
                assert value("sum(runner_agent_starts_total)") == 3
                rules = ask("rules")["groups"][0]["rules"]
                eventually(
                    lambda: {rule["health"] for rule in ask("rules")["groups"][0]["rules"]} == {"ok"},
                    "rules that can be evaluated",
                )
                assert len(rules) == 8
                world.kill()

                def alerts() -> set[str]:
                    return {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"]}

                # Not firing yet: it has to be so for a while.
                eventually(lambda: alerts() == {"RunnerWorldAway"}, "the alert", timeout=30)


def test_promtool_finds_nothing_wrong_with_the_metrics_and_the_rules(tmp_path: Path) -> None:
    crashing = plain("--note", "never ends well")
    file = quick(
        metrics={"listen": "127.0.0.1:0"},
        runner={"initial_backoff_ms": 10, "max_restart_attempts": 1},
        agents={"default": plain(), "bob": {"command": ["false"]}, "carol": crashing},
    )
    with World("--entities", "alice,bob,carol") as world:
        with Runner(tmp_path, world.address, file) as runner:
            runner.wait_started("alice", "carol")
            runner.wait_for(Ev.FAILED, entity="bob")
            metrics = get(f"http://{listening(runner)}/metrics")
    assert 'runner_agents{phase="Failed",template="bob"} 1' in metrics
    assert promtool("check", "metrics", stdin=metrics) == ""
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(RULES.with_name("alerts_test.yml")))
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    program("prometheus")
    dashboard = json.loads((CONFIGS / "grafana" / "runner.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [it["expr"] for it in dashboard["annotations"]["list"]]
    assert len(queries) > 30
    with World("--entities", "alice") as world:
        with Runner(tmp_path, world.address, FILE) as runner:
            runner.wait_started("alice")
            with prometheus(tmp_path, listening(runner)) as ask:
                for query in queries:
                    filled = query.replace("$__rate_interval", "5s")
                    for variable in ("$job", "$instance"):
                        filled = filled.replace(variable, ".*")
                    ask("query", query=filled)
