"""Frames between nodes: how messages follow one another on a connection.

    offset  size  field (integers little-endian)
    0       4     bytes that follow
    4       1     channel: 1 consensus, 2 forwarded requests and their answers, 3 hello
    5       rest  the message; of a consensus message the ledger entries come last

The parser takes bytes as they come and gives whole frames. It keeps what it was given and no more:
a length is never believed before the bytes are there. Refuses, with BadFrame and as soon as the
five bytes are there, empty frames, frames above `FRAME_MAX` and channels it does not know.
(spec: node-to-node.md §2, §7)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pyccf.errors import RemoteError
from pyccf.node.outputs import Channel

FRAME_MAX = 64 * 1024 * 1024 + 64 * 1024
"""Most bytes after the length: the largest entry of CCF's default message size, and its header."""
ADDRESS_MAX = 262
"""Most bytes of a hello: a host name, a colon and a port."""
HEADER_SIZE = 5
"""Length and channel."""

_HEADER = struct.Struct("<IB")
_CHANNELS: dict[int, Channel] = {channel.value: channel for channel in Channel}


class BadFrame(RemoteError):
    """Bytes that no node sends."""

    code = "BadFrame"


class Frame(NamedTuple):
    """One message of a peer."""

    channel: Channel
    payload: bytes


def encode_header(channel: Channel, size: int) -> bytes:
    """What precedes a message of `size` bytes, which must fit (`fits`)."""
    return _HEADER.pack(size + 1, channel)


def fits(size: int) -> bool:
    """Whether a message of `size` bytes may be sent in one frame."""
    return size < FRAME_MAX


class FrameParser:
    """Frames from the bytes of one connection. After BadFrame it is of no more use."""

    __slots__ = ("_at", "_buffer")

    def __init__(self) -> None:
        self._buffer: bytes | bytearray = b""
        self._at = 0
        """Where in the buffer the next frame begins."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the connection."""
        buffer, at = self._buffer, self._at
        if at == len(buffer):
            self._buffer = data
            self._at = 0
            return
        if isinstance(buffer, bytes):
            buffer = self._buffer = bytearray(memoryview(buffer)[at:])
            self._at = 0
        elif at:
            del buffer[:at]
            self._at = 0
        buffer += data

    def next(self) -> Frame | None:
        """The next whole frame, None when more bytes are needed. Raises BadFrame."""
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < HEADER_SIZE:
            return None
        length, number = _HEADER.unpack_from(buffer, at)
        if not 1 <= length <= FRAME_MAX:
            raise BadFrame(f"A frame says it has {length} bytes; 1 to {FRAME_MAX} are possible.")
        channel = _CHANNELS.get(number)
        if channel is None:
            raise BadFrame(f"A frame is of channel {number}, which does not exist.")
        end = at + 4 + length
        if len(buffer) < end:
            return None
        self._at = end
        if isinstance(buffer, bytes):
            return Frame(channel, buffer[at + HEADER_SIZE : end])
        return Frame(channel, bytes(memoryview(buffer)[at + HEADER_SIZE : end]))

    @property
    def pending(self) -> int:
        """Bytes that are there but make no whole frame yet, or were not asked for."""
        return len(self._buffer) - self._at
