"""HTTP/2 without sockets: requests, responses, windows, refusals, and clients of ill will."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from pyccf.http import h2, limits
from pyccf.http.h2 import OUTPUT_SIZE_MAX, Server
from pyccf.http.h2_frames import PREFACE, SETTINGS_MAX
from pyccf.http.limits import (
    KB,
    MB,
    NUISANCE_MAX,
    RESERVE_SIZE,
    RESET_COST,
    TINY_DATA,
    HttpLimits,
)
from pyccf.http.message import encode_response
from pyccf.http.room import Room
from support.h2_client import Pair, Talker, head

SMALL = HttpLimits(max_body_size=1000, max_header_size=1000, max_headers_count=20)
PROTOCOL_ERROR = int(ErrorCodes.PROTOCOL_ERROR)
REFUSED = int(ErrorCodes.REFUSED_STREAM)


def answer(body: bytes = b"yes", status: int = 200, **headers: str) -> bytes:
    return encode_response(status, {"content-type": "text/plain", **headers}, body)


def pair(given: HttpLimits = SMALL, *, reads: bool = True) -> Pair:
    made = Pair(Server(given), reads=reads)
    made.go()
    return made


# Requests


def test_what_we_announce_is_what_is_configured() -> None:
    assert pair().talker.settings == {5: 16384, 3: 100, 4: 65536, 6: 20000}
    other = HttpLimits(max_concurrent_streams_count=3, initial_window_size=10, max_frame_size=20000)
    assert pair(other).talker.settings == {5: 20000, 3: 3, 4: 10, 6: 256 * 16384}


def test_requests_and_their_answers() -> None:
    made = pair()
    first = made.talker.ask("GET", "/a?b=%20c", ("x-a", ""), ("x-a", "2"), ("cookie", "a=b"))
    second = made.talker.ask("POST", "/body", body=b"hello")
    one, two = made.go()
    assert (one.stream, two.stream) == (first, second)
    assert (one.request.method, one.request.path, one.request.query) == ("GET", "/a", "b= c")
    assert one.request.headers == {
        ":method": "GET",
        ":path": "/a?b=%20c",
        ":scheme": "https",
        ":authority": "h",
        "x-a": "",
        "cookie": "a=b",
    }
    assert (two.request.method, two.request.body) == ("POST", b"hello")
    for arrived, body in ((two, b"2"), (one, b"1")):
        made.server.release(arrived)
        made.server.answer(arrived.stream, answer(body))
    made.go(b"")
    made.talker.hear(made.server.take())
    got = made.talker.got[first]
    assert (got.status, got.body, got.ended) == (200, b"1", True)
    assert list(got.headers.items()) == [("content-type", "text/plain"), ("content-length", "1")]
    assert made.talker.got[second].body == b"2"


def test_bytes_may_come_one_by_one() -> None:
    made = pair()
    made.talker.ask("POST", "/x", ("x-a", "b"), body=b"hello")
    arrived = [a for byte in made.talker.data() for a in made.server.feed(bytes([byte]))]
    assert [a.request.body for a in arrived] == [b"hello"]


def test_trailers_and_padding_change_nothing() -> None:
    made = pair()
    stream = made.talker.open(head("POST", "/x"))
    made.talker.library.send_data(stream, b"body", pad_length=10)
    made.talker.library.send_headers(stream, [("x-trailer", "t")], end_stream=True)
    (arrived,) = made.go()
    assert arrived.request.body == b"body"
    assert "x-trailer" not in arrived.request.headers


def test_head_has_a_length_and_no_body() -> None:
    made = pair()
    stream = made.talker.ask("HEAD", "/x")
    made.go()
    made.server.answer(stream, encode_response(200, {"content-length": "7"}, b"", head=True))
    made.talker.hear(made.server.take())
    got = made.talker.got[stream]
    assert (got.headers, got.body, got.ended) == ({"content-length": "7"}, b"", True)


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [(204, b"x", (204, b"", "0")), (304, b"x", (304, b"", "0")), (204, b"", (204, b"", "0"))],
)
def test_statuses_without_a_body(status: int, body: bytes, wanted: tuple[int, bytes, str]) -> None:
    made = pair()
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer(body, status))
    made.talker.hear(made.server.take())
    got = made.talker.got[stream]
    assert (got.status, got.body, got.headers["content-length"]) == wanted


def test_headers_that_http2_does_not_know_are_left_out() -> None:
    made = pair()
    stream = made.talker.ask()
    made.go()
    headers = {
        "connection": "close",
        "x y": "1",
        ":status": "300",
        "x-a": "  b\tc\x01 ",
        "X-B": "ü",
    }
    made.server.answer(stream, encode_response(200, headers, b""))
    made.talker.hear(made.server.take())
    got = made.talker.got[stream]
    assert (got.status, got.headers) == (
        200,
        {"x-a": "b\tc", "x-b": "ü", "content-length": "0"},
    )


# Refusals


BAD_HEADS: dict[str, list[tuple[str, str]]] = {
    "upper case": head("GET", "/", ("X-Upper", "V")),
    "blanks before": head("GET", "/", ("x-a", " b")),
    "blanks behind": head("GET", "/", ("x-a", "b\t")),
    "line feed": head("GET", "/", ("x-a", "b\nc")),
    "NUL": head("GET", "/", ("x-a", "b\0c")),
    "no name": head("GET", "/", ("", "b")),
    "blank in name": head("GET", "/", ("x a", "b")),
    "no method": head("GET", "/")[1:],
    "other than ASCII in path": head("GET", "/ä"),
    "other than ASCII in query": head("GET", "/a?b=ä"),
    "no path": [f for f in head("GET", "/") if f[0] != ":path"],
    "empty path": head("GET", ""),
    "relative path": head("GET", "x"),
    "blank in path": head("GET", "/a HTTP/1.1"),
    "tabulator in path": head("GET", "/a\tb"),
    "no scheme": [f for f in head("GET", "/") if f[0] != ":scheme"],
    "no authority": head("GET", "/")[:3],
    "unknown pseudo": [*head("GET", "/"), (":x", "y")],
    "status": [*head("GET", "/"), (":status", "200")],
    "protocol": [*head("CONNECT", "/"), (":protocol", "websocket")],
    "pseudo twice": [*head("GET", "/"), (":path", "/")],
    "pseudo late": [("x-a", "b"), *head("GET", "/")],
    "connection": head("GET", "/", ("connection", "close")),
    "transfer-encoding": head("GET", "/", ("transfer-encoding", "chunked")),
    "te": head("GET", "/", ("te", "gzip")),
}


@pytest.mark.parametrize("fields", BAD_HEADS.values(), ids=BAD_HEADS)
def test_a_malformed_request_resets_its_stream_alone(fields: list[tuple[str, str]]) -> None:
    made = pair()
    bad = made.talker.send(fields, body=b"x")
    good = made.talker.ask("GET", "/good", ("te", "trailers"))
    (arrived,) = made.go()
    assert arrived.stream == good
    assert made.talker.got[bad].reset == PROTOCOL_ERROR
    assert not made.server.closing


def test_a_host_header_stands_in_for_the_authority() -> None:
    made = pair()
    made.talker.send([*head("GET", "/")[:3], ("host", "h")])
    (arrived,) = made.go()
    assert arrived.request.headers["host"] == "h"


LONG = "v" * 1001

TOO_LARGE: dict[str, tuple[list[tuple[str, str]], str]] = {
    "value": (
        head("GET", "/", ("x-a", LONG)),
        "Header value for 'x-a' is too large (max size allowed: 1000)",
    ),
    "name": (
        head("GET", "/", (LONG, "v")),
        f"Header key for '{LONG}' is too large (max size allowed: 1000)",
    ),
    "path": (
        head("GET", "/" + LONG),
        "Header value for ':path' is too large (max size allowed: 1000)",
    ),
    "number": (
        head("GET", "/", *((f"x-{i}", "v") for i in range(17))),
        "Too many headers (max number allowed: 20)",
    ),
}


@pytest.mark.parametrize(("fields", "message"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_heads_beyond_the_limits_are_answered_and_the_last(
    fields: list[tuple[str, str]], message: str
) -> None:
    made = pair()
    stream = made.talker.send(fields)
    made.talker.ask("GET", "/too-late")
    assert made.go() == []
    got = made.talker.got[stream]
    assert got.status == 431
    assert message in got.body.decode()
    assert made.server.closing
    assert made.server.metric == "request_header_too_large"
    assert made.server.feed(b"anything") == []


def test_as_many_and_as_large_headers_as_allowed() -> None:
    made = pair()
    made.talker.ask("GET", "/", *((f"x-{i}", "v" * 1000) for i in range(16)))
    assert len(made.go()) == 1


def test_a_head_may_be_too_large_as_a_whole() -> None:
    """One that is small as compressed, because it names again what it said before."""
    made = pair(HttpLimits(max_headers_count=300))
    stream = made.talker.open(head("GET", "/"), ended=True)
    made.talker.data()
    made.go(HeadersFrame(stream, bomb(270), flags=["END_HEADERS", "END_STREAM"]).serialize())
    got = made.talker.got[stream]
    assert got.status == 431
    assert f"Request head is too large (max size allowed: {MB})" in got.body.decode()


def test_a_body_beyond_the_limit_is_refused() -> None:
    made = pair()
    made.talker.ask("POST", "/", body=b"x" * 1000)
    assert len(made.go()) == 1
    stream = made.talker.open(head("POST", "/"))
    made.talker.library.send_data(stream, b"x" * 1001)
    assert made.go() == []
    got = made.talker.got[stream]
    assert got.status == 413
    assert b"HTTP request body is too large (max size allowed: 1000)" in got.body
    assert made.server.metric == "request_payload_too_large"


def test_an_unknown_method_closes_the_connection() -> None:
    made = pair()
    stream = made.talker.ask("FOO", "/")
    assert made.go() == []
    assert made.server.closing
    assert made.server.metric == "parsing"
    assert not made.talker.got[stream].over


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]
)
def test_other_protocols_get_no_answer_at_all(data: bytes) -> None:
    server = Server(SMALL)
    assert server.feed(data) == []
    assert server.closing
    assert server.take() == b""


# Windows


def test_bodies_wait_for_the_client_to_open_its_windows() -> None:
    made = pair(HttpLimits(), reads=False)
    streams = [made.talker.ask() for _ in range(3)]
    for arrived in made.go():
        made.server.answer(arrived.stream, answer(b"x" * 30_000))
    made.go(b"")
    made.talker.hear(made.server.take())
    got = [len(made.talker.got[stream].body) for stream in streams]
    assert sum(got) == 65535
    assert min(got) > 15_000, "each had its turn"
    assert made.server.waiting == 90_000 - 65535
    assert not made.server.more
    made.talker.library.increment_flow_control_window(100_000)
    made.go()
    assert [len(made.talker.got[stream].body) for stream in streams] == [30_000] * 3
    assert all(made.talker.got[stream].ended for stream in streams)
    assert made.server.waiting == 0


def test_large_bodies_go_out_in_parts() -> None:
    made = pair(HttpLimits())
    made.talker.library.increment_flow_control_window(10 * MB)
    stream = made.talker.ask()
    made.talker.library.increment_flow_control_window(10 * MB, stream)
    made.go()
    made.server.answer(stream, answer(b"x" * MB))
    first = made.server.take()
    assert len(first) < OUTPUT_SIZE_MAX + 1000
    assert made.server.more
    made.talker.hear(first)
    made.go(b"")
    while made.server.more:
        made.talker.hear(made.server.take())
    assert made.talker.got[stream].body == b"x" * MB


def test_large_requests_are_let_in() -> None:
    made = pair(HttpLimits())
    stream = made.talker.open(head("POST", "/"))
    body = bytes(range(256)) * 4000
    sent = 0
    while sent < len(body):
        size = min(16384, made.talker.library.local_flow_control_window(stream), len(body) - sent)
        assert size > 0, "the window is given back"
        end = sent + size == len(body)
        made.talker.library.send_data(stream, body[sent : sent + size], end_stream=end)
        sent += size
        arrived = made.go()
    assert arrived[0].request.body == body


def test_a_cancelled_answer_is_forgotten() -> None:
    made = pair(HttpLimits(), reads=False)
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer(b"x" * 200_000))
    made.talker.hear(made.server.take())
    assert made.server.waiting > 0
    made.talker.library.reset_stream(stream)
    made.go()
    assert made.server.waiting == 0
    assert made.server.cancelled() == [stream]
    assert made.server.cancelled() == []
    made.server.answer(stream, answer())
    made.server.push(stream, b"x")
    made.server.end(stream)
    made.server.reset(stream)
    assert made.server.take() == b""


def test_a_body_may_come_in_pieces() -> None:
    made = pair()
    stream = made.talker.ask()
    made.go()
    server = made.server
    server.begin(stream, 200, {"content-type": "text/event-stream", "content-length": "3"})
    server.push(stream, b"a")
    made.talker.hear(server.take())
    got = made.talker.got[stream]
    assert (got.status, got.headers) == (200, {"content-type": "text/event-stream"})
    assert (got.body, got.ended) == (b"a", False)
    server.push(stream, b"b" * 70_000)
    assert server.waiting_of(stream) == 70_000
    made.talker.hear(server.take())
    assert server.waiting_of(stream) == 70_000 - 65535 + 1
    made.go()
    server.end(stream)
    made.go(b"")
    made.talker.hear(server.take())
    assert (got.body, got.ended) == (b"a" + b"b" * 70_000, True)


def test_a_client_that_says_goodbye_is_still_answered() -> None:
    made = pair()
    stream = made.talker.ask()
    data = made.talker.data()
    made.talker.library.close_connection()
    data += made.talker.data()
    (arrived,) = made.server.feed(data)
    assert made.server.leaving
    made.server.answer(arrived.stream, answer())
    listener = Talker()
    listener.got[stream] = made.talker.got[stream]
    listener.library = made.talker.library
    listener.library.state_machine.state = ConnectionState.CLIENT_OPEN
    listener.hear(made.server.take())
    assert made.talker.got[stream].body == b"yes"


@pytest.mark.parametrize("apart", [True, False])
def test_what_was_begun_before_a_goodbye_is_completed(apart: bool) -> None:
    made = pair()
    stream = made.talker.open(head("POST", "/"))
    rest = DataFrame(stream, b"rest", flags=["END_STREAM"]).serialize()
    start = made.talker.data() + GoAwayFrame(0).serialize()
    if apart:
        assert made.server.feed(start) == []
        (arrived,) = made.server.feed(rest)
    else:
        (arrived,) = made.server.feed(start + rest)
    assert arrived.request.body == b"rest"


def test_a_goodbye_does_not_swallow_what_is_about_to_be_sent() -> None:
    made = pair()
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer())
    made.server.feed(GoAwayFrame(0).serialize())
    made.talker.hear(made.server.take())
    assert (made.talker.got[stream].status, made.talker.got[stream].body) == (200, b"yes")


def test_our_goodbye_names_the_last_stream() -> None:
    made = pair()
    made.talker.ask()
    made.go()
    made.server.say_goodbye()
    made.talker.hear(made.server.take())
    assert made.talker.goodbye == 0


# Clients of ill will


OPEN_WINDOWS = b"".join(
    WindowUpdateFrame(stream, window_increment=100_000).serialize() for stream in (0, 1)
)
ENDS: dict[str, bytes] = {
    "a mistake": OPEN_WINDOWS + b"\0\0\1\0\0\0\0\0\0x",
    "a reset after too much": (
        OPEN_WINDOWS
        + PingFrame(0, b"12345678").serialize() * (NUISANCE_MAX + 10)
        + RstStreamFrame(1, 8).serialize()
    ),
    "a goodbye after too much": (
        OPEN_WINDOWS
        + PingFrame(0, b"12345678").serialize() * (NUISANCE_MAX + 10)
        + GoAwayFrame(0).serialize()
    ),
}


@pytest.mark.parametrize("last", ENDS.values(), ids=ENDS)
def test_connections_end_while_bodies_wait(last: bytes) -> None:
    made = pair(HttpLimits(), reads=False)
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer(b"x" * 300_000))
    made.server.take()
    made.server.feed(last)
    assert made.server.closing
    made.server.take()
    made.server.say_goodbye()


def test_many_small_pieces_of_a_body_take_no_more_room_than_it() -> None:
    made = pair(HttpLimits())
    stream = made.talker.open(head("POST", "/"))
    made.server.feed(made.talker.data())
    data = DataFrame(stream, b"ab").serialize() * (NUISANCE_MAX // 2)
    tracemalloc.start()
    try:
        for _ in range(10):
            made.server.feed(data)
            made.server.take()
            made.server.relax()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not made.server.closing
    assert held < 100_000, "ten bytes for each"


def bomb(times: int) -> bytes:
    """The block of a head with a header of 4,000 bytes that is said once and named so often."""
    fields = [(n.encode(), v.encode()) for n, v in head("GET", "/", ("x", "v" * 4000))]
    return bytes(Encoder().encode(fields, huffman=False)) + b"\xbe" * times


def flood(made: Pair, frames: Callable[[int], list[Frame]], times: int) -> int:
    """Send frames many times, some at once; how many times it took to be thrown out."""
    server = made.server
    server.feed(made.talker.data())
    for number in range(0, times, 10):
        data = b"".join(f.serialize() for i in range(number, number + 10) for f in frames(i))
        for arrived in server.feed(data):
            server.release(arrived)
        assert len(server.take()) < 4000, "what floods in does not flood out"
        if server.closing:
            return number + 10
    return times


def rapid_reset(number: int) -> list[Frame]:
    stream = 2 * number + 1
    block = b"\x82\x84\x87\x01\x01h"  # GET, /, https, :authority: h
    return [
        HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]),
        RstStreamFrame(stream, error_code=8),
    ]


def malformed(number: int) -> list[Frame]:
    return [HeadersFrame(2 * number + 1, b"\x82", flags=["END_HEADERS", "END_STREAM"])]


def many_settings(number: int) -> list[Frame]:
    return [SettingsFrame(0, settings={100 + number * 50 + i: 1 for i in range(50)})]


def over_and_on(frame: Frame) -> Callable[[int], list[Frame]]:
    """A malformed request, whose stream is reset, and then more of that stream."""
    first = HeadersFrame(1, b"\x82", flags=["END_HEADERS"])
    return lambda number: [frame] if number else [first, frame]


def tiny_pieces(number: int) -> list[Frame]:
    head = HeadersFrame(1, b"\x83\x84\x87\x01\x01h", flags=["END_HEADERS"])
    piece = DataFrame(1, b"x" * (TINY_DATA - 1))
    return [piece] if number else [head, piece]


FLOODS: dict[str, tuple[Callable[[int], list[Frame]], int]] = {
    "rapid reset": (rapid_reset, NUISANCE_MAX // (RESET_COST - 1)),
    "malformed requests": (malformed, NUISANCE_MAX // RESET_COST),
    "settings": (lambda _: [SettingsFrame(0, settings={4: 70000})], NUISANCE_MAX),
    "acknowledgements": (lambda _: [SettingsFrame(0, flags=["ACK"])], NUISANCE_MAX),
    "settings that nobody knows": (many_settings, SETTINGS_MAX // 50),
    "pings": (lambda _: [PingFrame(0, b"12345678")], NUISANCE_MAX),
    "answers to pings that were not made": (
        lambda _: [PingFrame(0, b"12345678", flags=["ACK"])],
        NUISANCE_MAX,
    ),
    "data of streams that are over": (over_and_on(DataFrame(1, b"")), NUISANCE_MAX),
    "resets of streams that are over": (over_and_on(RstStreamFrame(1, 8)), NUISANCE_MAX),
    "windows of streams that are over": (
        over_and_on(WindowUpdateFrame(1, window_increment=5000)),
        NUISANCE_MAX,
    ),
    "goodbyes": (lambda _: [GoAwayFrame(0)], NUISANCE_MAX),
    "priorities": (lambda i: [PriorityFrame(2 * i + 1, depends_on=0)], NUISANCE_MAX),
    "unknown frames": (lambda _: [ExtensionFrame(0xEE, 0)], NUISANCE_MAX),
    "tiny windows": (lambda _: [WindowUpdateFrame(0, window_increment=1)], NUISANCE_MAX),
    "windows for nothing": (lambda _: [WindowUpdateFrame(0, window_increment=2000)], NUISANCE_MAX),
    "tiny pieces of a body": (tiny_pieces, NUISANCE_MAX),
}


@pytest.mark.parametrize(("frames", "allowed"), FLOODS.values(), ids=FLOODS)
def test_floods_end_the_connection(frames: Callable[[int], list[Frame]], allowed: int) -> None:
    made = pair(HttpLimits())
    thrown_out = flood(made, frames, 10 * NUISANCE_MAX)
    assert allowed - 20 <= thrown_out <= allowed + 20
    assert made.server.metric == "parsing"


def test_what_is_spread_over_time_is_forgiven() -> None:
    made = pair()
    for number in range(20):
        frames = [PingFrame(0, b"12345678")] * (NUISANCE_MAX - 10)
        made.server.feed(b"".join(f.serialize() for f in frames))
        made.server.take()
        made.server.relax()
        assert not made.server.closing, number


def test_empty_data_frames_end_the_connection() -> None:
    made = pair()
    stream = made.talker.open(head("POST", "/"))
    made.go()
    made.server.feed(DataFrame(stream, b"").serialize() * (NUISANCE_MAX + 10))
    assert made.server.closing


def test_a_header_block_without_end_is_not_gathered() -> None:
    server = Server(HttpLimits(max_frame_size=MB))
    server.feed(Talker().data() + HeadersFrame(1, b"\x82" * 1000).serialize())
    piece = ContinuationFrame(1, b"\x82" * 16000).serialize()
    sent = 0
    while not server.closing:
        server.feed(piece)
        sent += len(piece)
    assert sent <= limits.HEAD_BLOCK_MAX + len(piece)


def test_many_empty_continuations_end_the_connection() -> None:
    server = Server(SMALL)
    server.feed(Talker().data() + HeadersFrame(1, b"\x82").serialize())
    for _ in range(100):
        server.feed(ContinuationFrame(1, b"").serialize())
    assert server.closing


def test_a_frame_that_is_too_long_is_not_waited_for() -> None:
    server = Server(SMALL)
    server.feed(PREFACE + b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
    assert server.closing


def test_a_header_bomb_is_not_unpacked() -> None:
    """A large header that is remembered once and named thousands of times (CVE-2016-6581)."""
    made = pair(HttpLimits())
    block = bomb(16000)
    made.server.feed(HeadersFrame(1, block[:16000]).serialize())
    made.server.feed(ContinuationFrame(1, block[16000:], flags=["END_HEADERS"]).serialize())
    assert made.server.closing


def test_what_a_client_remembers_for_us_is_bounded() -> None:
    made = pair()
    frame = SettingsFrame(0, settings={1: 2**32 - 1})
    assert made.go(made.talker.raw(frame)) == []
    encoder = made.server._library.encoder
    assert encoder.header_table_size == h2.TABLE_SIZE_MAX
    for size in range(100):
        made.go(SettingsFrame(0, settings={1: size}).serialize())
    assert len(encoder.table_size_changes) <= 2


def test_begun_requests_may_hold_only_so_much() -> None:
    given = HttpLimits()
    made = pair(given)
    refused = 0
    streams = []
    for _ in range(30):
        stream = made.talker.open(head("POST", "/"))
        streams.append(stream)
        for _ in range(15):
            if made.talker.got[stream].over:
                break
            made.talker.library.send_data(stream, b"x" * 16384)
            made.talker.library.send_data(stream, b"x" * 16384)
            made.go()
        assert made.server._held <= given.held_size_max + 32768
        refused += made.talker.got[stream].reset == REFUSED
    assert refused > 0
    assert not made.server.closing
    for stream in streams:
        if not made.talker.got[stream].over:
            made.talker.library.end_stream(stream)
    for arrived in made.go():
        made.server.release(arrived)
    assert made.server._held == 0


def uploads(made: Pair, size: int) -> tuple[int, int]:
    """Begin a request of so many bytes; its stream and how it was reset, 0 if not."""
    stream = made.talker.open(head("POST", "/"))
    while size > 0 and not made.talker.got[stream].over:
        made.talker.library.send_data(stream, b"x" * min(size, 16 * KB))
        made.go()
        size -= 16 * KB
    return stream, made.talker.got[stream].reset or 0


def test_all_connections_together_may_hold_only_so_much() -> None:
    room = Room(MB)
    pairs = [Pair(Server(HttpLimits(), room)) for _ in range(8)]
    for made in pairs:
        made.go()
    greedy = [[uploads(made, 512 * KB)[1] for _ in range(4)] for made in pairs]
    assert REFUSED in greedy[0], "one alone cannot have more than all together"
    assert greedy[-1] == [REFUSED] * 4
    assert 0 <= room.left < 512 * KB
    stream, reset = uploads(pairs[-1], RESERVE_SIZE // 2)
    assert reset == 0, "nobody takes another's reserve"
    pairs[-1].talker.library.end_stream(stream)
    (arrived,) = pairs[-1].go()
    assert len(arrived.request.body) == RESERVE_SIZE // 2
    pairs[-1].server.release(arrived)
    for made in pairs:
        made.server.gone()
    assert room.left == MB


def test_what_many_small_headers_take_is_counted() -> None:
    room = Room()
    made = Pair(Server(HttpLimits(), room))
    made.go()
    fields = [*head("POST", "/"), *((f"x{number}", "y") for number in range(250))]
    made.talker.open(fields)
    data = made.talker.data()
    tracemalloc.start()
    try:
        made.server.feed(data)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made.server._held > 0.8 * taken


def test_answers_that_wait_count_too() -> None:
    room = Room(MB)
    slow = Pair(Server(HttpLimits(), room), reads=False)
    slow.go()
    stream = slow.talker.ask()
    slow.go()
    slow.server.answer(stream, answer(b"x" * 2 * MB))
    assert room.scarce
    assert slow.server.crowded
    other = Pair(Server(HttpLimits(), room))
    other.go()
    assert uploads(other, 512 * KB)[1] == REFUSED
    assert not other.server.crowded
    slow.server.gone()
    assert room.left == MB
    assert uploads(other, 512 * KB)[1] == 0


def test_windows_opened_for_what_was_sent_are_no_nuisance() -> None:
    """A client that opens its windows after each 1,024 bytes, for the stream and for all."""
    made = pair(HttpLimits(), reads=False)
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer(b"x" * 4 * MB))
    for _ in range(4 * KB):
        made.talker.library.increment_flow_control_window(1024)
        if not made.talker.got[stream].ended:
            made.talker.library.increment_flow_control_window(1024, stream)
        made.server.feed(made.talker.data())
        made.talker.hear(made.server.take())
    assert not made.server.closing
    assert made.talker.got[stream].ended


def test_a_window_opened_for_each_small_event_is_no_nuisance() -> None:
    made = pair(HttpLimits(), reads=False)
    stream = made.talker.ask()
    made.go()
    made.server.begin(stream, 200, {})
    for _ in range(3 * NUISANCE_MAX):
        made.server.push(stream, b"data: 1\n\n")
        made.talker.hear(made.server.take())
        made.talker.library.increment_flow_control_window(9)
        made.talker.library.increment_flow_control_window(9, stream)
        made.server.feed(made.talker.data())
    assert not made.server.closing


def test_a_body_asked_for_byte_by_byte_ends_the_connection() -> None:
    """Each tiny window makes a tiny frame (CVE-2019-9511)."""
    made = pair(HttpLimits(), reads=False)
    made.go(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}).serialize())
    stream = made.talker.ask()
    made.go()
    made.server.answer(stream, answer(b"x" * MB))
    times = 0
    while not made.server.closing and times < 2 * NUISANCE_MAX:
        made.server.feed(WindowUpdateFrame(stream, window_increment=1).serialize())
        made.server.take()
        times += 1
    assert NUISANCE_MAX - 10 < times < NUISANCE_MAX + 10


def test_more_streams_than_allowed_end_the_connection() -> None:
    made = pair(HttpLimits(max_concurrent_streams_count=3))
    block = b"\x82\x84\x87\x01\x01h"
    for number in range(4):
        made.server.feed(HeadersFrame(2 * number + 1, block, flags=["END_HEADERS"]).serialize())
    assert made.server.closing


def test_a_window_that_overflows_ends_the_connection() -> None:
    made = pair()
    made.server.feed(WindowUpdateFrame(0, window_increment=2**31 - 1).serialize())
    assert made.server.closing


def test_how_ended_streams_ended_is_not_remembered_for_ever() -> None:
    made = pair()
    for number in range(3 * h2.STREAMS_REMEMBERED):
        stream = 2 * number + 1
        made.server.feed(rapid_reset(number)[0].serialize())
        made.server.answer(stream, answer())
        made.server.take()
        made.server._library.outbound_flow_control_window = 65535
    assert len(made.server._library._closed_streams) <= h2.STREAMS_REMEMBERED
    assert len(made.server._library.streams) < 10
