"""Configuration files of the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paths import VENV

# What users have today. It must work unchanged: do not touch.
USERS_FILE = """\
[runner]
server = "localhost:50051"
auto_discover = true
log_dir = "logs"
max_restart_attempts = 5
initial_backoff_ms = 1000
max_backoff_ms = 30000
backoff_multiplier = 2.0

[agents.default]
module = "agents.random_agent"
args = ["--eat-probability", "0.1"]

[agents.alice]
module = "agents.random_agent"
args = ["--eat-probability", "0.2"]

[jit]
enabled = true
template = "default"
watch_interval_ms = 5000
"""

# Python without uv in between, where a test needs many agents rather than uv.
PYTHON = [str(VENV / "bin" / "python"), "-m"]

QUICK: dict[str, dict[str, Any]] = {
    "runner": {"initial_backoff_ms": 200, "max_backoff_ms": 30_000, "shutdown_grace_ms": 2000},
    "discovery": {"timeout_ms": 1000},
    "jit": {"watch_interval_ms": 300},
}


def quick(**tables: Mapping[str, Any]) -> str:
    """A file with short times; `tables` add to `QUICK` or override it, key by key."""
    names = [*QUICK, *(name for name in tables if name not in QUICK)]
    return toml({name: {**QUICK.get(name, {}), **tables.get(name, {})} for name in names})


def demo(entities: str, **tables: Mapping[str, Any]) -> str:
    """A file with the demo world, its entities, and the program's own agents for them."""
    runner = {"server": "embedded", **tables.get("runner", {})}
    command = ["{runner}", "agent", "--server", "{server}", "--entity", "{entity_id}"]
    agents = {"default": {"command": command}, **tables.get("agents", {})}
    world = {"width": 16, "height": 10, "tick_duration_ms": 100}
    all_tables = {"world": world, **tables, "runner": runner, "agents": agents}
    return quick(**all_tables) + entities


def foragers(*ids: str) -> str:
    """Entities of a demo world."""
    return "".join(
        f'[[entities]]\nid = "{name}"\ntype = "forager"\nx = {place % 16}\ny = {place // 16 % 10}\n'
        for place, name in enumerate(ids)
    )


def toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML with one table a name; `agents` holds one table a template."""
    text = []
    for name, table in tables.items():
        nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
        text.append(f"[{name}]")
        text += [f"{k} = {literal(v)}" for k, v in table.items() if k not in nested]
        for key, value in nested.items():
            text.append(f"[{name}.{key}]")
            text += [f"{k} = {literal(v)}" for k, v in value.items()]
    return "\n".join(text) + "\n"


def literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {literal(v)}" for k, v in value.items()) + " }"
    # JSON's strings, numbers, booleans and lists of them are TOML's as well.
    return json.dumps(value)


def plain(*arguments: str, **more: Any) -> dict[str, Any]:
    """A template of agents that know no gRPC."""
    command = [*PYTHON, "agents.plain_agent", "--server={server}", "--entity={entity_id}"]
    return {"command": command, "args": list(arguments), **more}


def forager(*arguments: str, **more: Any) -> dict[str, Any]:
    """A template of real agents, started by the launcher."""
    return {"module": "agents.random_agent", "args": list(arguments), **more}
