"""The first look at HTTP/2 frames: their nine-byte heads, before anything is kept of them.

The library behind `h2` gathers a frame, and all frames of a header block, before it judges them.
This looks at lengths as soon as a head is there and refuses what would be gathered for nothing
(RFC 9113 4.1, 4.2, 6.5, 6.10).
"""

from __future__ import annotations

from pyccf.errors import RemoteError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What every client says first (RFC 9113 3.4)."""
FRAME_SIZE_MIN = 16 * 1024
"""Bytes that a frame may have before any setting is agreed on."""
SETTINGS_MAX = 1000
"""Settings that one client may announce during its connection."""

_HEAD_SIZE = 9
_SETTING_SIZE = 6
_HEADERS, _SETTINGS, _CONTINUATION = 1, 4, 9


class BadFrame(RemoteError):
    """Frames that no client of good will sends: close the connection."""

    code = "BadFrame"


class FrameGuard:
    """Follows the frames of one connection, however they are cut."""

    __slots__ = (
        "_block",
        "_block_max",
        "_head",
        "_preface",
        "_settings",
        "_size_max",
        "_skip",
        "frames",
    )

    def __init__(self, frame_size_max: int, block_size_max: int) -> None:
        self._size_max = max(frame_size_max, FRAME_SIZE_MIN)
        self._block_max = block_size_max
        self._preface = PREFACE
        self._head = b""
        self._skip = 0
        self._block = 0
        self._settings = 0
        self.frames = 0
        """Frames that have begun so far."""

    @property
    def greeted(self) -> bool:
        """Whether the client proved that it speaks HTTP/2."""
        return not self._preface

    def check(self, data: bytes) -> None:
        """Look at the next bytes of the connection. Raises BadFrame."""
        at = 0
        if self._preface:
            at = min(len(self._preface), len(data))
            if data[:at] != self._preface[:at]:
                raise BadFrame("not HTTP/2")
            self._preface = self._preface[at:]
        size = len(data)
        if self._skip:
            at += min(self._skip, size - at)
            self._skip -= at
        while at < size:
            head = self._head + data[at : at + _HEAD_SIZE - len(self._head)]
            at += len(head) - len(self._head)
            if len(head) < _HEAD_SIZE:
                self._head = head
                return
            self._head = b""
            self.frames += 1
            length = int.from_bytes(head[:3], "big")
            self._judge(head[3], length)
            inside = min(length, size - at)
            at += inside
            self._skip = length - inside

    def _judge(self, kind: int, length: int) -> None:
        if length > self._size_max:
            raise BadFrame(f"a frame of {length} bytes (at most {self._size_max})")
        if kind in (_HEADERS, _CONTINUATION):
            self._block = length if kind == _HEADERS else self._block + length
            if self._block > self._block_max:
                raise BadFrame(f"a header block of more than {self._block_max} bytes")
        elif kind == _SETTINGS:
            self._settings += length // _SETTING_SIZE
            if self._settings > SETTINGS_MAX:
                raise BadFrame(f"more than {SETTINGS_MAX} settings")
