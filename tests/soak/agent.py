"""An agent of the soak: idles, and ends when it is told to.

Its whole tree holds a lock on its entity's file for life: whoever comes while another one lives
notes that, and leaves. `--kind` says what is hard about it: `stubborn` ignores SIGTERM, `tree` has
children, one of which left the session, `slow` takes its time at SIGTERM. SIGUSR1 crashes it, SIGUSR2
ends it with 0.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time


def start_another(options: argparse.Namespace, lock: int, *, leaves: bool) -> None:
    command = [sys.executable, "-I", "-S", *sys.argv, "--of", str(os.getpid())]
    actions = [(os.POSIX_SPAWN_DUP2, lock, 9)]
    os.posix_spawn(sys.executable, command, os.environ, file_actions=actions, setsid=leaves)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entity", required=True)
    parser.add_argument("--kind", default="steady")
    parser.add_argument("--version", default="")
    parser.add_argument("--locks", default="")
    parser.add_argument("--of", type=int, default=0, help="the leader of the tree it belongs to")
    options = parser.parse_args()
    if options.kind == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.kind == "slow":
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os._exit(0)))
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(7))
    signal.signal(signal.SIGUSR2, lambda *_: os._exit(0))
    if not options.of and options.locks:
        path = os.path.join(options.locks, options.entity)
        lock = os.open(path, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with open(f"{path}.violations", "a") as file:
                file.write(f"{os.getpid()}\n")
            os._exit(99)
        if options.kind == "tree":
            start_another(options, lock, leaves=False)
            start_another(options, lock, leaves=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
