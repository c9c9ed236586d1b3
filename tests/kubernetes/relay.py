"""A wire between a runner and the API server, which can be cut without a word to either end."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Relay:
    """Hands on what comes. While it is cut nothing is handed on, and nothing is lost: what was on its
    way arrives when it is mended, as on a network that comes back."""

    def __init__(self) -> None:
        self.file = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        server = urlsplit(self._cluster()["server"])
        self.host = server.hostname or ""
        self.server = (self.host, server.port or 443)
        self.whole = threading.Event()
        self.whole.set()
        self.ends: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self.listener, *self.ends):
            # An accept or a read that is under way ends with it.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.whole.set()

    def kubeconfig(self, file: Path) -> dict[str, str]:
        """The environment of who is to use the relay; `file` is written for it."""
        port = self.listener.getsockname()[1]
        self._cluster().update({"server": f"https://127.0.0.1:{port}", "tls-server-name": self.host})
        file.write_text(yaml.safe_dump(self.file))
        return {"KUBECONFIG": str(file)}

    def cut(self) -> None:
        self.whole.clear()

    def mend(self) -> None:
        self.whole.set()

    def _cluster(self) -> dict[str, str]:
        (cluster,) = self.file["clusters"]
        inner: dict[str, str] = cluster["cluster"]
        return inner

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self.listener.accept()
                there = socket.create_connection(self.server)
                self.ends += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._hand_on, args=[source, sink], daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.whole.wait()
                sink.sendall(data)
            self.whole.wait()
            sink.shutdown(socket.SHUT_WR)
