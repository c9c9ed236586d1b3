"""What a hostile world does. Each attack lasts until it has done its worst, or is told to end."""

from __future__ import annotations

import functools
import gzip
import itertools
import struct
from dataclasses import dataclass

from hostile_world import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    OK_HEADERS,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Attack,
    Connection,
    Gone,
    Stream,
    Welcome,
    blob,
    entity,
    frame,
    grpc_message,
    listing,
)

MIB = 1 << 20
HUGE = 200 * MIB
# The longest message that is read.
LONGEST = 64 * MIB
EVIL = "\x1b]0;PWNED\x07\x1b[31;7mPWNED\n\r\u202eDENWP\u200b"


@dataclass(frozen=True)
class Case:
    """An attack on one of three places."""

    name: str
    on_list: Attack | None = None
    on_watch: Attack | None = None
    welcome: Welcome | None = None
    # How often it is to be met before it is over.
    times: int = 1
    # The deadline of a call, for those that need one in which a lot can be sent.
    timeout_ms: int = 1000
    # Whether it is to be done to its end so often, and not only begun.
    to_the_end: bool = False
    # How many MiB of memory it may take at its peak, beside what the runner had.
    takes_mib: int = 64


LIST: list[Case] = []
WATCH: list[Case] = []
CONNECT: list[Case] = []


def on_list(**more: int):
    return lambda run: LIST.append(Case(run.__name__, on_list=run, **more)) or run


def on_watch(**more: int):
    return lambda run: WATCH.append(Case(run.__name__, on_watch=run, **more)) or run


def on_connect(**more: int):
    return lambda run: CONNECT.append(Case(run.__name__, welcome=run, **more)) or run


# Sizes.


@on_list(timeout_ms=10_000, to_the_end=True)
def two_hundred_mib_sent(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"", length=HUGE))
    chunk = bytes(MIB)
    for _ in range(HUGE // MIB):
        stream.data(chunk)


@on_list()
def two_hundred_mib_announced(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"", length=HUGE))
    stream.wait_until_over()


@on_list()
def the_longest_message_announced(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"", length=LONGEST))
    stream.wait_until_over()


@on_list(timeout_ms=20_000, to_the_end=True, takes_mib=320)
def the_longest_message_of_nothing(stream: Stream) -> None:
    """An unknown field fills it: the answer is valid, and empty."""
    stream.answer(blob(99, bytes(LONGEST - 64)))


@on_list(timeout_ms=20_000, to_the_end=True, takes_mib=320)
def ten_million_nameless_entities(stream: Stream) -> None:
    stream.answer(b"\x0a\x00" * 10_000_000)


@functools.cache
def a_million() -> bytes:
    return listing(entity(f"m{number:07}") for number in range(1_000_000))


@on_list(timeout_ms=60_000, to_the_end=True, takes_mib=1024)
def a_million_ids(stream: Stream) -> None:
    stream.answer(a_million())


counter = itertools.count()


@on_list(timeout_ms=20_000, times=5, to_the_end=True, takes_mib=320)
def ever_new_ids(stream: Stream) -> None:
    first = next(counter) * 100_000
    stream.answer(listing(entity(f"n{first + number}") for number in range(100_000)))


@on_list()
def a_bomb_of_gzip(stream: Stream) -> None:
    stream.headers([*OK_HEADERS, ("grpc-encoding", "gzip")])
    stream.data(grpc_message(gzip.compress(bytes(100 * MIB), 1), flag=1))
    stream.trailers()


@on_list()
def compressed_they_say_and_not_how(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"\x0a\x00", flag=1))
    stream.trailers()


# Time.


@on_list()
def a_byte_now_and_then(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"", length=1000))
    while not stream.over:
        stream.data(b"\x0a")
        stream.connection.world.over.wait(0.2)


@on_list()
def headers_and_no_more(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.wait_until_over()


@on_list()
def never_a_word(stream: Stream) -> None:
    stream.wait_until_over()


# HTTP/2.


@on_list(times=4)
def resets_of_all_codes(stream: Stream) -> None:
    stream.frame(RST_STREAM, struct.pack(">I", stream.number // 2 % 14))


@on_list(times=3)
def goaway(stream: Stream) -> None:
    stream.connection.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11) + EVIL.encode() * 50))


def flood(stream: Stream, raw: bytes) -> None:
    while not stream.over:
        stream.connection.send(raw)


@on_list()
def a_flood_of_pings(stream: Stream) -> None:
    flood(stream, frame(PING, 0, 0, b"12345678") * 500)


@on_list()
def a_flood_of_settings(stream: Stream) -> None:
    flood(stream, frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 500)


@on_list()
def a_flood_of_acks(stream: Stream) -> None:
    flood(stream, frame(SETTINGS, ACK, 0) * 500)


@on_list()
def a_flood_of_window_updates(stream: Stream) -> None:
    flood(stream, frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 500)


@on_list()
def a_window_that_overflows(stream: Stream) -> None:
    stream.frame(WINDOW_UPDATE, struct.pack(">I", 0x7FFF_FFFF))
    stream.frame(WINDOW_UPDATE, struct.pack(">I", 0x7FFF_FFFF))


@on_list()
def a_flood_of_empty_data(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    flood(stream, frame(DATA, 0, stream.number) * 500)


@on_list()
def a_flood_of_resets(stream: Stream) -> None:
    """Of streams that nobody opened, and of those that we push and take back at once."""
    numbers = itertools.count(2, 2)
    while not stream.over:
        number = next(numbers)
        promise = struct.pack(">I", number) + stream.connection.encoder.encode([(":status", "200")])
        stream.frame(PUSH_PROMISE, promise, END_HEADERS)
        stream.connection.send(frame(RST_STREAM, 0, number, struct.pack(">I", 8)) * 100)


@on_list(times=3)
def answers_that_are_taken_back(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(listing([entity("x")]) * 3))
    stream.frame(RST_STREAM, struct.pack(">I", 2))


@on_list()
def a_flood_of_continuations(stream: Stream) -> None:
    block = stream.connection.encoder.encode([("x-filler", "y" * 8000)])
    stream.frame(HEADERS, block)
    while not stream.over:
        stream.frame(CONTINUATION, block)


def in_pieces(stream: Stream, block: bytes, flags: int = 0) -> None:
    pieces = [block[at : at + MAX_FRAME] for at in range(0, len(block), MAX_FRAME)]
    stream.frame(HEADERS, pieces[0], flags | (END_HEADERS if len(pieces) == 1 else 0))
    for piece in pieces[1:-1]:
        stream.frame(CONTINUATION, piece)
    if len(pieces) > 1:
        stream.frame(CONTINUATION, pieces[-1], END_HEADERS)


@on_list()
def headers_of_a_mebibyte(stream: Stream) -> None:
    headers = OK_HEADERS + [(f"x-{number}", "y" * 1000) for number in range(1000)]
    in_pieces(stream, stream.connection.encoder.encode(headers))


@on_list()
def trailers_of_a_mebibyte(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b""))
    headers = [("grpc-status", "0")] + [(f"x-{number}", "y" * 1000) for number in range(1000)]
    in_pieces(stream, stream.connection.encoder.encode(headers), END_STREAM)


@on_list()
def a_bomb_of_hpack(stream: Stream) -> None:
    """One long header, put in the table once and named by one byte ten thousand times."""
    encoder = stream.connection.encoder
    block = encoder.encode([*OK_HEADERS, ("x-bomb", "y" * 3000)])
    in_pieces(stream, block + b"\xbe" * 10_000)


@on_list()
def informed_without_end(stream: Stream) -> None:
    while not stream.over:
        stream.headers([(":status", "103"), ("link", "</x>")])


@on_list()
def a_message_cut_off(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(b"\x0a\x05alice", length=100))
    stream.trailers()


@on_list()
def an_entity_cut_off(stream: Stream) -> None:
    stream.answer(listing([entity("alice")]) + b"\x0a\x7fshort")


@on_list()
def a_frame_cut_off(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.connection.send(frame(DATA, 0, stream.number, bytes(5000))[:100])
    stream.connection.close()


@on_list()
def two_messages_for_one(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(listing([entity("alice")])) + grpc_message(b""))
    stream.trailers()


@on_list()
def a_frame_that_is_too_long(stream: Stream) -> None:
    stream.frame(DATA, bytes(MIB * 15))


# Content.


@on_list()
def a_page_of_html(stream: Stream) -> None:
    stream.headers([(":status", "200"), ("content-type", "text/html")])
    stream.data(f"<html>{EVIL}</html>".encode() * 100, end=True)


@on_list()
def a_page_that_is_called_grpc(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(b"<html>" + EVIL.encode() * 100, end=True)


@on_list()
def statuses_of_http(stream: Stream) -> None:
    code = (302, 401, 404, 429, 500, 503)[stream.number // 2 % 6]
    stream.headers([(":status", str(code)), ("location", EVIL.encode().hex())], end=True)


@on_list(times=4)
def statuses_of_grpc(stream: Stream) -> None:
    """All there are, and some that there are not, in words that are long and loud."""
    message = "".join(f"%{byte:02X}" for byte in EVIL.encode()) + "long " * 500
    code = next(counter) % 20 + 1
    stream.fail(str(code) if code < 18 else ("999", "abc", "-1")[code - 18], message)


@on_list()
def no_status_at_all(stream: Stream) -> None:
    stream.headers(OK_HEADERS)
    stream.data(grpc_message(listing([entity("alice")])), end=True)


@on_list()
def bytes_that_are_no_answer(stream: Stream) -> None:
    stream.answer(bytes(range(256)) * 64)


@on_list(times=3)
def ids_that_are_no_text(stream: Stream) -> None:
    stream.answer(listing(entity(name) for name in (b"\xff\xfe", b"a\xc0\xaf", b"\xed\xa0\x80")))


# Watches: the list is honest meanwhile.


def opened(stream: Stream) -> None:
    stream.headers(OK_HEADERS)


@on_watch(takes_mib=160)
def a_flood_of_newcomers(stream: Stream) -> None:
    opened(stream)
    for batch in itertools.count():
        if stream.over:
            return
        names = (f"w{batch}-{number}" for number in range(500))
        stream.data(b"".join(grpc_message(blob(2, entity(name))) for name in names))


@on_watch()
def a_flood_of_events_of_nothing(stream: Stream) -> None:
    opened(stream)
    while not stream.over:
        stream.data(grpc_message(b"") * 2000)


@on_watch()
def everybody_is_gone_they_say(stream: Stream) -> None:
    opened(stream)
    gone = b"".join(grpc_message(blob(3, name)) for name in (b"alice", b"bob", b"carol"))
    while not stream.over:
        stream.data(gone + grpc_message(blob(1, b"")))
        stream.connection.world.over.wait(0.01)


@on_watch()
def a_drip_of_an_event(stream: Stream) -> None:
    opened(stream)
    stream.data(grpc_message(b"", length=1000))
    while not stream.over:
        stream.data(b"\x12")
        stream.connection.world.over.wait(0.2)


@on_watch()
def an_event_of_two_hundred_mib(stream: Stream) -> None:
    opened(stream)
    stream.data(grpc_message(b"", length=HUGE))
    while not stream.over:
        stream.data(bytes(MIB))


@on_watch(times=2, takes_mib=320)
def an_event_of_the_longest_kind(stream: Stream) -> None:
    opened(stream)
    stream.data(grpc_message(blob(99, bytes(LONGEST - 64))))
    stream.trailers()


@on_watch(times=2)
def events_of_nonsense(stream: Stream) -> None:
    opened(stream)
    stream.data(grpc_message(bytes(range(256))) * 100)
    stream.wait_until_over()


@on_watch(times=2)
def watches_that_end_at_once(stream: Stream) -> None:
    opened(stream)
    stream.trailers("0" if stream.number % 4 == 1 else "14")


@on_watch()
def a_watch_that_never_opens(stream: Stream) -> None:
    stream.wait_until_over()


@on_watch()
def evil_in_an_event(stream: Stream) -> None:
    opened(stream)
    evil = entity(b"evil" + EVIL.encode(), EVIL, [EVIL])
    stream.data(grpc_message(blob(2, evil)) + grpc_message(blob(3, EVIL.encode())))
    stream.wait_until_over()


# Connections.


@on_connect(times=3)
def shut_in_the_face(connection: Connection) -> None:
    connection.close()


@on_connect()
def silence(connection: Connection) -> None:
    connection.world.over.wait()


@on_connect()
def http_1_1(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nserver: " + EVIL.encode() + b"\r\n\r\n<html>")
    connection.world.over.wait(0.5)


@on_connect()
def a_handshake_of_tls(connection: Connection) -> None:
    # A ServerHello without much in it, then an alert.
    hello = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\x13\x01\x00"
    connection.send(b"\x16\x03\x03" + struct.pack(">H", len(hello)) + hello)
    connection.send(b"\x15\x03\x03\x00\x02\x02\x28")
    connection.world.over.wait(0.5)


@on_connect()
def zeros_without_end(connection: Connection) -> None:
    while not connection.over:
        connection.send(bytes(MIB))


@on_connect()
def settings_that_are_absurd(connection: Connection) -> None:
    pairs = [(1, 0xFFFF_FFFF), (3, 0), (4, 0xFFFF_FFFF), (5, 1), (6, 0)]
    payload = b"".join(struct.pack(">HI", *pair) for pair in pairs)
    connection.send(frame(SETTINGS, 0, 0, payload))
    connection.world.over.wait(0.5)


@on_connect()
def no_stream_is_allowed(connection: Connection) -> None:
    """A decent handshake that lets nobody ask anything."""
    connection.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)))
    connection.world.over.wait()


@on_connect()
def a_drip_of_settings(connection: Connection) -> None:
    for byte in frame(SETTINGS, 0, 0, bytes(60)):
        connection.send(bytes([byte]))
        if connection.world.over.wait(0.1):
            raise Gone


# The large ones last: an allocator keeps some of what it was once given.
CALLS = sorted(LIST + CONNECT, key=lambda case: case.takes_mib)
WATCHES = WATCH
