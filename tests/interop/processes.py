"""Processes of one test: told from all others by a token in their environment, never by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
# Of the names that agents inherit without being told to: no file of a test has to name it.
TOKEN = "UV_INTEROP_TOKEN"
POLL_SECONDS = 0.02


def eventually(look: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """The first truthy thing that `look` returns: for what cannot be awaited, only looked at."""
    deadline = time.monotonic() + timeout
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last seen: {seen!r})")
        time.sleep(POLL_SECONDS)


def bearing(token: str) -> list[int]:
    """The pids of all live processes that were started under this token."""
    mark = f"{TOKEN}={token}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        # It may end, or be a zombie, at any moment: then there is nothing to read.
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def in_group(group: int) -> list[int]:
    """The pids of all live processes of a process group, zombies not among them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            state, _parent, its_group = stat_fields(entry)[:3]
            if state != "Z" and int(its_group) == group:
                found.append(int(entry.name))
    return found


def stat_fields(entry: Path) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent, group, …"""
    return (entry / "stat").read_text().rpartition(")")[2].split()


def argv(pid: int) -> list[str]:
    with suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_text().split("\0")[:-1]
    return []


def kill_bearing(token: str) -> None:
    """SIGKILL to what bears the token, through pidfds that are checked after they were opened."""
    for pid in bearing(token):
        with suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                if pid in bearing(token):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
