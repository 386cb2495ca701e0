"""HTTP/2 out of anything: no exception but closed connections, never more held than allowed."""

from __future__ import annotations

from itertools import pairwise

from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from pyccf.http.h2 import OUTPUT_SIZE_MAX, Server
from pyccf.http.h2_frames import PREFACE
from pyccf.http.limits import HttpLimits
from pyccf.http.message import encode_response
from support.h2_client import Talker, head

LIMITS = HttpLimits(
    max_body_size=1000,
    max_header_size=200,
    max_headers_count=20,
    max_concurrent_streams_count=5,
    initial_window_size=500,
)
ANSWER = encode_response(200, {"content-type": "text/plain"}, b"x" * 3000)
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"

few = st.integers(0, 12)
kinds = st.one_of(st.integers(0, 10), st.integers(0, 255))
payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        (
            b"\x82\x84\x87\x01\x01h",  # GET /
            b"\x83\x84\x87\x01\x01h",  # POST /
            b"\x82\x84\x87\x01\x01h\x00\x0econtent-length\x015",
            b"\x82\x84\x87\x01\x01h\x40\x01a\x7f\x00" + b"b" * 127 + b"\xbe\xbe",
            b"\x00\x00\x00\x08",
            b"\x00\x04\x7f\xff\xff\xff",
            b"\x00\x04\x00\x00\x00\x00",
            b"\x00\x01\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"x" * 900,
        )
    ),
)


@st.composite
def frame(draw: st.DrawFn) -> bytes:
    """Well formed from afar; now and then the length is wrong."""
    payload = draw(payloads)
    length = len(payload) if draw(few) else draw(st.integers(0, 2**24 - 1))
    flags = draw(st.sampled_from((0, 1, 4, 5, 8, 0x20, 0x25, 255)))
    stream = draw(st.one_of(few, st.integers(0, 2**32 - 1)))
    return (
        length.to_bytes(3, "big")
        + bytes((draw(kinds), flags))
        + stream.to_bytes(4, "big")
        + payload
    )


def conversation() -> bytes:
    """A client that behaves."""
    talker = Talker()
    talker.ask("GET", "/a", ("x-a", "b"))
    talker.ask("POST", "/b", body=b"hello")
    stream = talker.open(head("PUT", "/c"))
    talker.library.send_data(stream, b"part", pad_length=3)
    talker.library.reset_stream(stream)
    talker.library.ping(b"12345678")
    talker.library.increment_flow_control_window(1000)
    talker.ask("GET", "/d")
    return talker.data()


SOUND = conversation()


def survive(data: bytes, cuts: list[int]) -> Server:
    """Feed bytes, answer what arrives, and watch the bounds."""
    server = Server(LIMITS)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    given_out = 0
    for start, end in pairwise(edges):
        for arrived in server.feed(data[start:end]):
            server.release(arrived)
            server.answer(arrived.stream, ANSWER)
            given_out += 1
        server.cancelled()
        out = server.take()
        assert len(out) <= OUTPUT_SIZE_MAX + 20 * (end - start) + 200
        assert 0 <= server._held <= LIMITS.held_size_max + len(data)
        assert 0 <= server.waiting <= given_out * 3000
        if server.closing:
            assert server.metric is not None
            assert server.feed(b"anything") == []
            server.take()
            break
    return server


@given(st.lists(frame(), max_size=12), st.lists(st.integers(0, 2000), max_size=5))
def test_frames_of_any_kind(frames: list[bytes], cuts: list[int]) -> None:
    survive(PREFACE + SETTINGS + b"".join(frames), cuts)


@given(st.binary(max_size=300), st.booleans(), st.lists(st.integers(0, 300), max_size=3))
def test_bytes_of_any_kind(data: bytes, greeted: bool, cuts: list[int]) -> None:
    survive((PREFACE + SETTINGS if greeted else b"") + data, cuts)


def damages() -> SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), max_size=4)


@given(damages(), st.lists(st.integers(0, len(SOUND)), max_size=5))
def test_damaged_conversations(damaged: list[tuple[int, int]], cuts: list[int]) -> None:
    data = bytearray(SOUND)
    for place, value in damaged:
        data[place] = value
    server = survive(bytes(data), cuts)
    if bytes(data) == SOUND:
        assert not server.closing


@given(st.lists(st.integers(0, len(SOUND)), max_size=40))
def test_how_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    server = Server(LIMITS)
    edges = sorted({0, len(SOUND), *cuts})
    paths = [
        arrived.request.path
        for start, end in pairwise(edges)
        for arrived in server.feed(SOUND[start:end])
    ]
    assert paths == ["/a", "/b", "/d"]


BIG = encode_response(200, {"content-type": "text/plain"}, b"x" * 60_000)
MISTAKE = b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x"  # data of no stream
streams = st.sampled_from((1, 3, 5, 7, 9))
ASKS = b"".join(
    HeadersFrame(stream, b"\x82\x84\x87\x01\x01h", flags=["END_HEADERS", "END_STREAM"]).serialize()
    for stream in (1, 3)
)
sizes = st.sampled_from((1, 1000, 50_000, 2**30, 2**31 - 1))


def sound_frames() -> SearchStrategy[bytes]:
    """Frames that say something, in any order; now and then a mistake."""
    end = st.sampled_from(([], ["END_STREAM"]))
    asks = st.builds(
        lambda stream, flags: HeadersFrame(
            stream, b"\x82\x84\x87\x01\x01h", flags=["END_HEADERS", *flags]
        ),
        streams,
        end,
    )
    data = st.builds(lambda stream, flags: DataFrame(stream, b"part", flags=flags), streams, end)
    windows = st.builds(
        lambda stream, size: WindowUpdateFrame(stream, window_increment=size),
        st.one_of(st.just(0), streams),
        sizes,
    )
    resets = st.builds(lambda stream: RstStreamFrame(stream, 8), streams)
    settings = st.builds(
        lambda size: SettingsFrame(0, settings={4: size}),
        st.sampled_from((0, 10, 65535, 2**31 - 1)),
    )
    frames = st.one_of(asks, asks, windows, windows, data, resets, settings)
    said = frames.map(lambda one: one.serialize())
    rare = st.sampled_from((GoAwayFrame(0).serialize(), MISTAKE))
    return st.one_of(said, said, said, rare)


@given(st.lists(st.tuples(st.lists(sound_frames(), max_size=6), st.booleans()), max_size=10))
def test_answers_under_way_when_things_happen(reads: list[tuple[list[bytes], bool]]) -> None:
    """Whatever a client says while bodies wait for its windows, nothing is raised, nothing lost."""
    server = Server(HttpLimits())
    reads = [([ASKS], True), *reads]
    server.feed(PREFACE + SETTINGS)
    for frames, whole in reads:
        for arrived in server.feed(b"".join(frames)):
            server.release(arrived)
            if whole:
                server.answer(arrived.stream, BIG)
            else:
                server.begin(arrived.stream, 200, {"a": "b"})
                server.push(arrived.stream, b"p" * 30_000)
        server.cancelled()
        server.take()
        assert server.waiting == sum(len(body.data) for body in server._sending.values())
        assert server._held == sum(one.size for one in server._receiving.values())
    server.say_goodbye()
    server.take()
