"""Where things are: nothing that is built lies outside the target directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

INTEROP = Path(__file__).resolve().parent
ROOT = INTEROP.parent.parent
PROTOS = [ROOT / "proto" / "world.proto", ROOT / "proto" / "runner" / "v1" / "control.proto"]
PROJECT = INTEROP / "project"

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
VENV = TARGET / "interop-venv"
BUILD = TARGET / "interop"
STUBS = BUILD / "stubs"
AGENTS_VENV = BUILD / "agents-venv"
PYCACHE = BUILD / "pycache"
# Of Debian's packages, unpacked by setup.sh.
DEBIAN = BUILD / "debian"
CONFIGS = ROOT / "configs"

RUNNER_BIN = Path(os.environ.get("RUNNER_BIN") or TARGET / "release" / "runner").resolve()


def program(name: str) -> str:
    """A program of a Debian package; the test is skipped, and says so, where there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(DEBIAN / "usr" / "bin"))
    if found is None:
        pytest.skip(f"NOT TESTED: there is no {name} on this machine, and it could not be had")
    return found
