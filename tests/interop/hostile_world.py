"""A world that means harm: HTTP/2 by hand, as every decent library refuses to send such things.

It is honest until it is told to attack, and again when the attack is over. An attack replaces one
of three things: what becomes of a connection, of a list call, of a watch. It is given the means
below and runs on a thread of its own until it has done its worst or `over` says so.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 3, 4, 5
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
MAX_FRAME = 16_384
OK_HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def varint(number: int) -> bytes:
    """Of a negative one its two's complement, as protobuf has it."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def blob(tag: int, content: bytes) -> bytes:
    return varint(tag << 3 | 2) + varint(len(content)) + content


def entity(
    name: str | bytes, kind: str | bytes = b"forager", tags: Iterable[str] = (), tick: int = 0
) -> bytes:
    """A ControllableEntity; bytes stay as they are, whether they are UTF-8 or not."""
    raw = [text if isinstance(text, bytes) else text.encode() for text in (name, kind)]
    said = blob(1, raw[0]) + blob(2, raw[1]) + b"".join(blob(3, tag.encode()) for tag in tags)
    return said + (varint(4 << 3) + varint(tick) if tick else b"")


def listing(entities: Iterable[bytes]) -> bytes:
    """A ControllableEntitiesResponse."""
    return b"".join(blob(1, one) for one in entities)


def grpc_message(content: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(content) if length is None else length) + content


class Gone(Exception):
    """The other side is gone, or wants no more of it."""


@dataclass
class Stream:
    """One call: what an attack has in its hands."""

    connection: Connection
    number: int
    path: str
    window: int

    @property
    def over(self) -> bool:
        return self.connection.over

    def wait_until_over(self) -> None:
        self.connection.world.over.wait()

    def headers(self, headers: list[tuple[str, str]], *, end: bool = False) -> None:
        self.connection.send_headers(self.number, headers, end=end)

    def frame(self, kind: int, payload: bytes = b"", flags: int = 0) -> None:
        self.connection.send(frame(kind, flags, self.number, payload))

    def data(self, content: bytes, *, end: bool = False) -> None:
        """Sends as much at a time as the other side has room for."""
        view = memoryview(content)
        while view:
            size = self.connection.reserve(self, min(len(view), MAX_FRAME))
            self.frame(DATA, bytes(view[:size]), END_STREAM if end and size == len(view) else 0)
            view = view[size:]

    def trailers(self, status: str = "0", message: str = "") -> None:
        more = [("grpc-message", message)] if message else []
        self.headers([("grpc-status", status), *more], end=True)

    def answer(self, content: bytes) -> None:
        """As an honest world does."""
        self.headers(OK_HEADERS)
        self.data(grpc_message(content))
        self.trailers()

    def fail(self, status: str, message: str) -> None:
        headers = [*OK_HEADERS, ("grpc-status", status), ("grpc-message", message)]
        self.headers(headers, end=True)


class Connection:
    """The server's end of one connection."""

    def __init__(self, world: HostileWorld, peer: socket.socket) -> None:
        self.world = world
        self.peer = peer
        self.reading = peer.makefile("rb")
        self.sending = threading.RLock()
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.room = threading.Condition()
        self.window = self.initial_window = 65_535
        self.streams: dict[int, Stream] = {}
        self.closed = False
        self.unread = threading.Event()

    @property
    def over(self) -> bool:
        return self.closed or self.world.over.is_set()

    def send(self, raw: bytes) -> None:
        with self.sending:
            try:
                self.peer.sendall(raw)
            except OSError as error:
                self.close()
                raise Gone from error

    def send_headers(self, stream: int, headers: list[tuple[str, str]], *, end: bool) -> None:
        # In one go, as the other side's table follows the order of what it is sent.
        with self.sending:
            block = self.encoder.encode(headers)
            self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block))

    def reserve(self, stream: Stream, wanted: int) -> int:
        """Room for DATA, once there is some. An attack does not notice that it is unwanted."""
        with self.room:
            while not (self.window > 0 and stream.window > 0):
                if self.over:
                    raise Gone
                self.room.wait(0.1)
            size = min(wanted, self.window, stream.window)
            self.window -= size
            stream.window -= size
            return size

    def close(self) -> None:
        already, self.closed = self.closed, True
        if not already:
            with suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)

    def vanish(self) -> None:
        """As of a machine that was switched off. What is sent of it is one RST, which a test sees
        lost, and never a word again."""
        self.closed = True
        # Says nothing to the other side, and has our reader let go of the socket.
        self.peer.shutdown(socket.SHUT_RD)
        assert self.unread.wait(20)
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.reading.close()
        self.peer.close()

    def serve(self) -> None:
        try:
            if self.reading.read(len(PREFACE)) != PREFACE:
                return
            self.send(frame(SETTINGS, 0, 0))
            while head := self.reading.read(9):
                length = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                self.received(kind, flags, stream & 0x7FFF_FFFF, self.reading.read(length))
        except (Gone, OSError, ValueError, struct.error):
            pass
        finally:
            self.close()
            self.unread.set()

    def received(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == INITIAL_WINDOW_SIZE:
                    self.initial_window = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            with self.room:
                more = int.from_bytes(payload, "big")
                if number == 0:
                    self.window += more
                elif number in self.streams:
                    self.streams[number].window += more
                self.room.notify_all()
        elif kind == HEADERS:
            fields = dict(self.decoder.decode(payload))
            stream = Stream(self, number, str(fields[":path"]), self.initial_window)
            self.streams[number] = stream
            threading.Thread(target=self.handle, args=[stream], daemon=True).start()
        elif kind == RST_STREAM:
            # It says that nobody reads any more. So it is given room without end.
            with self.room:
                if number in self.streams:
                    self.streams[number].window = 1 << 30
                self.room.notify_all()

    def handle(self, stream: Stream) -> None:
        with suppress(Gone):
            try:
                self.world.handle(stream)
            finally:
                # The attack is over: nobody is to wait for what it did not bring to an end.
                if self.world.over.is_set():
                    stream.frame(RST_STREAM, struct.pack(">I", 8))


Attack = Callable[[Stream], None]
Welcome = Callable[[Connection], None]


@dataclass
class HostileWorld:
    """Listens, and does to each connection and call what it is told to."""

    entities: list[bytes] = field(default_factory=list)
    welcome: Welcome | None = None
    on_list: Attack | None = None
    on_watch: Attack | None = None
    over: threading.Event = field(default_factory=threading.Event)
    # How many calls or connections met the attack, and to how many it was done to the end.
    met: int = 0
    done: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        host, port = self.listener.getsockname()
        self.address = f"{host}:{port}"
        self.connections: list[Connection] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> HostileWorld:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        with suppress(OSError):
            self.shut()

    def shut(self) -> None:
        """Nobody can connect any more, and nobody is connected."""
        # Else the thread that waits for somebody keeps the listener open.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop()

    def accept(self) -> None:
        with suppress(OSError):
            while self.listener.fileno() >= 0:
                peer, _ = self.listener.accept()
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(self, peer)
                with self.lock:
                    self.connections.append(connection)
                target = connection.serve
                if self.welcome is not None:
                    welcome = self.welcome
                    target = lambda connection=connection: self.greet(welcome, connection)  # noqa: E731
                threading.Thread(target=target, daemon=True).start()

    def greet(self, welcome: Welcome, connection: Connection) -> None:
        self.meet()
        try:
            welcome(connection)
        except (Gone, OSError):
            pass
        finally:
            connection.close()

    def meet(self) -> None:
        with self.lock:
            self.met += 1
            self.lock.notify_all()

    def handle(self, stream: Stream) -> None:
        is_list = stream.path.endswith("/ListControllableEntities")
        attack = self.on_list if is_list else self.on_watch
        if attack is not None:
            self.meet()
            attack(stream)
            with self.lock:
                self.done += 1
                self.lock.notify_all()
        elif is_list:
            stream.answer(listing(self.entities))
        else:
            stream.fail("12", "this world does not tell of changes")

    def attack(
        self,
        *,
        welcome: Welcome | None = None,
        on_list: Attack | None = None,
        on_watch: Attack | None = None,
    ) -> None:
        """From now on; connections are new, where it is about them or the watch."""
        with self.lock:
            self.met = self.done = 0
            self.over.clear()
            self.welcome, self.on_list, self.on_watch = welcome, on_list, on_watch
        if welcome is not None or on_watch is not None:
            self.drop()

    def wait_met(self, count: int, timeout: float, *, to_the_end: bool = False) -> None:
        def times() -> int:
            return self.done if to_the_end else self.met

        with self.lock:
            assert self.lock.wait_for(lambda: times() >= count, timeout), (
                f"the attack was met {times()} times in {timeout} s, not {count}"
            )

    def be_honest(self) -> None:
        """The attack is over. What it holds open comes to an end."""
        with self.lock:
            self.welcome = self.on_list = self.on_watch = None
        self.over.set()

    def ping(self) -> None:
        """Has the other side of each connection say a word."""
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            connection.send(frame(PING, 0, 0, bytes(8)))

    def drop(self) -> None:
        for connection in self.forget():
            connection.close()

    def forget(self) -> list[Connection]:
        with self.lock:
            forgotten, self.connections = self.connections, []
        return forgotten
