"""Where things are: nothing that is built lies outside the target directory."""

from __future__ import annotations

import os
from pathlib import Path

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

RUNNER_BIN = Path(os.environ.get("RUNNER_BIN") or TARGET / "release" / "runner").resolve()
