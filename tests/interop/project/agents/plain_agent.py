"""An agent that knows no gRPC: light enough to be started by the dozen.

Prints what it was given as one JSON line, then runs until SIGTERM (exit 0), unless an option
says otherwise. With `--connect` it holds a connection to the world and ends when that is lost,
as a real agent does when its stream ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from types import FrameType

# The client's half of an HTTP/2 handshake: without it a gRPC server drops the connection.
HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SHOWN = ("RUNNER_", "TEST_", "PYTHONUNBUFFERED")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--server", default="")
    parser.add_argument("--entity", default="")
    parser.add_argument("--crash-after-ms", type=int)
    parser.add_argument("--exit-code", type=int, default=1, help="of the crash")
    parser.add_argument("--connect", action="store_true", help="end when the world is lost")
    parser.add_argument("--lost-code", type=int, default=0, help="exit code when it is lost")
    parser.add_argument("--ignore-term", action="store_true")
    parser.add_argument("--note", default="", help="changes nothing but the command line")
    return parser.parse_args(argv)


def main() -> int:
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.ignore_term else on_term)
    say_hello()
    if options.crash_after_ms is not None:
        delay = options.crash_after_ms / 1000
        timer = threading.Timer(delay, os._exit, args=[options.exit_code])
        timer.daemon = True
        timer.start()
    if options.connect:
        return hold_connection(options.server, options.lost_code)
    while True:
        signal.pause()


def on_term(_signal: int, _frame: FrameType | None) -> None:
    print("SIGTERM: bye", flush=True)
    sys.exit(0)


def say_hello() -> None:
    env = {key: value for key, value in os.environ.items() if key.startswith(SHOWN)}
    hello = {"argv": sys.argv[1:], "cwd": os.getcwd(), "env": env, "pid": os.getpid()}
    print(json.dumps(hello), flush=True)


def hold_connection(server: str, lost_code: int) -> int:
    host, _, port = server.rpartition(":")
    try:
        connection = socket.create_connection((host, int(port)), timeout=2)
    except OSError as error:
        print(f"error: cannot reach the world: {error}", flush=True)
        return 1
    with connection:
        try:
            connection.settimeout(None)
            connection.sendall(HTTP2_HELLO)
            while connection.recv(4096):
                pass
        except OSError as error:
            print(f"error: the connection broke: {error}", flush=True)
    print("error: the world is gone", flush=True)
    return lost_code


if __name__ == "__main__":
    sys.exit(main())
