"""Frames between nodes."""

from __future__ import annotations

import tracemalloc

import pytest

from pyccf.node.outputs import Channel
from pyccf.shell.frames import FRAME_MAX, BadFrame, Frame, FrameParser, encode_header, fits

FRAMES = [
    Frame(Channel.CONSENSUS, b"one"),
    Frame(Channel.FORWARD, b""),
    Frame(Channel.CONSENSUS, b"3" * 70),
]
BYTES = b"".join(encode_header(f.channel, len(f.payload)) + f.payload for f in FRAMES)


def taken(parser: FrameParser) -> list[Frame]:
    found: list[Frame] = []
    while (frame := parser.next()) is not None:
        found.append(frame)
    return found


def test_layout() -> None:
    assert encode_header(Channel.CONSENSUS, 3) + b"one" == b"\x04\x00\x00\x00\x01one"
    assert encode_header(Channel.FORWARD, 0x01020304)[:5] == b"\x05\x03\x02\x01\x02"


def test_frames_cut_at_every_byte() -> None:
    for at in range(len(BYTES) + 1):
        parser = FrameParser()
        parser.feed(BYTES[:at])
        first = taken(parser)
        parser.feed(BYTES[at:])
        assert first + taken(parser) == FRAMES
        assert parser.pending == 0


def test_frames_byte_by_byte() -> None:
    parser = FrameParser()
    found: list[Frame] = []
    for at in range(len(BYTES)):
        parser.feed(BYTES[at : at + 1])
        found += taken(parser)
    assert found == FRAMES


def test_what_is_left_is_counted() -> None:
    parser = FrameParser()
    parser.feed(BYTES[:-1])
    assert parser.next() == FRAMES[0]
    assert parser.pending == len(BYTES) - 1 - 8
    assert taken(parser) == FRAMES[1:2]
    assert parser.pending == 5 + 69


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"\x00\x00\x00\x00\x01", "has 0 bytes"),
        ((FRAME_MAX + 1).to_bytes(4, "little") + b"\x01", f"has {FRAME_MAX + 1} bytes"),
        (b"\xff\xff\xff\xff\x01", "has 4294967295 bytes"),
        (b"\x02\x00\x00\x00\x00", "channel 0"),
        (b"\x02\x00\x00\x00\x04", "channel 4"),
        (b"GET /", "bytes; 1 to"),
    ],
)
def test_what_no_node_sends_is_refused_at_its_header(header: bytes, words: str) -> None:
    parser = FrameParser()
    parser.feed(BYTES + header[:4])
    assert taken(parser) == FRAMES
    parser.feed(header[4:])
    with pytest.raises(BadFrame, match=words):
        parser.next()


def test_the_largest_frame_is_possible() -> None:
    assert fits(FRAME_MAX - 1)
    assert not fits(FRAME_MAX)
    parser = FrameParser()
    parser.feed(encode_header(Channel.FORWARD, FRAME_MAX - 1))
    assert parser.next() is None


def test_a_length_is_not_believed_before_the_bytes_are_there() -> None:
    tracemalloc.start()
    try:
        parsers = [FrameParser() for _ in range(100)]
        for parser in parsers:
            parser.feed(encode_header(Channel.CONSENSUS, FRAME_MAX - 1) + b"x")
            assert parser.next() is None
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_many_pieces_of_a_large_frame_cost_one_copy_each() -> None:
    parser = FrameParser()
    size = 8 * 1024 * 1024
    parser.feed(encode_header(Channel.CONSENSUS, size))
    for _ in range(size // 4096):
        assert parser.next() is None
        parser.feed(bytes(4096))
    frame = parser.next()
    assert frame is not None
    assert len(frame.payload) == size
