"""What all tests of the suite stand on."""

from __future__ import annotations

import pytest

import stubs
from paths import RUNNER_BIN, VENV

NEEDS_NO_RUNNER = {"test_world_server", "test_agents", "test_harness"}


def pytest_sessionstart(session: pytest.Session) -> None:
    if not (VENV / "bin" / "uv").exists():
        raise pytest.UsageError("run tests/interop/run, or tests/interop/setup.sh before")
    stubs.build()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needed = any(item.path.stem not in NEEDS_NO_RUNNER for item in items)
    if needed and not RUNNER_BIN.is_file():
        # A skip would look like a pass.
        raise pytest.UsageError("no runner binary: `cargo build --release`, or set RUNNER_BIN")
