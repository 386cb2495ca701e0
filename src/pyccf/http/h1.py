"""HTTP/1.1 requests out of bytes, however they are cut.

llhttp (through httptools, without any leniency) decides what is a request: nothing it refuses is
accepted here. What is added is CCF's limits, CCF's words for what is wrong, and a bound on what an
unfinished request may hold (spec: http-api.md §4.2).

Promises: `feed` returns the complete requests in order and never holds more than one unfinished
request within the limits. Refuses with `ParseFailure`, after which the connection must be closed
and the parser is of no more use. Deviation from CCF: a header with an empty value is kept as such;
CCF glues its name to the next one, a defect (js-runtime.md §5).

`connection: close`, HTTP/1.0 and `upgrade` change nothing but what llhttp makes of them: bytes
after a message that announced the end of the connection are a parse error.
"""

from __future__ import annotations

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from pyccf.http.failure import ParseFailure as ParseFailure
from pyccf.http.failure import refused_body, refused_headers
from pyccf.http.limits import FRAMING_SIZE_MAX, HttpLimits
from pyccf.http.message import TEXT_TYPE, Request
from pyccf.http.methods import METHODS

BODY_PARTS_MAX = 64
"""Pieces of an unfinished body kept apart before they are joined."""


class Parser:
    """The requests of one connection, in order."""

    __slots__ = (
        "_body",
        "_body_size",
        "_chunked",
        "_done",
        "_failed",
        "_fields",
        "_fields_max",
        "_framing",
        "_head_fields",
        "_head_size",
        "_header_size_max",
        "_http",
        "_instead",
        "_judge_at",
        "_limits",
        "_line",
        "_open",
        "_target",
        "on_body",
        "on_url",
    )

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._header_size_max = limits.max_header_size
        self._fields_max = 2 * limits.max_headers_count
        self._done: list[Request] = []
        self._open = False
        self._failed: ParseFailure | None = None
        self._target: list[bytes] = []
        self._fields: list[bytes] = []
        self._body: list[bytes] = []
        self._chunked = False
        self._head_fields = 0  # how many of the fields came before the first chunk
        # Only used while a request stays unfinished at the end of a feed:
        self._line = bytearray()  # what came after the last line feed of its head
        self._judge_at = 0  # how long that is before it is looked at again
        self._head_size = 0
        self._body_size = 0
        self._framing = 0
        self._instead: tuple[str, str, list[bytes]] | None = None
        self.on_url = self._target.append
        self.on_body = self._body.append
        self._http = HttpRequestParser(self)

    @property
    def idle(self) -> bool:
        """Whether no request has been begun and not finished."""
        return not self._open

    def feed(self, data: bytes) -> list[Request]:
        """Take the next bytes of the connection; the requests they complete, in order.

        Raises ParseFailure.
        """
        was_open = self._open
        done = self._done = []
        upgraded = None
        try:
            self._http.feed_data(data)
        except HttpParserUpgrade as upgrade:
            upgraded = upgrade.args[0]
        except HttpParserError as error:
            raise self._failure(error, data, was_open) from None
        if upgraded is not None:
            self._after_upgrade(data, upgraded, was_open)
        if self._open:
            self._bound(data)
        return done

    @property
    def unfinished(self) -> int:
        """Bytes of a request that is not complete yet."""
        return self._head_size + self._body_size

    # Called by httptools.

    def on_message_begin(self) -> None:
        self._open = True

    def on_header(self, name: bytes, value: bytes) -> None:
        fields = self._fields
        fields.append(name)
        fields.append(value)
        limit = self._header_size_max
        if len(name) > limit or len(value) > limit or len(fields) > self._fields_max:
            self._judge_header(name, value)

    def on_chunk_header(self) -> None:
        if not self._chunked:
            self._chunked = True
            self._head_fields = len(self._fields)

    def on_message_complete(self) -> None:
        parts = self._target
        target = (parts[0] if len(parts) == 1 else b"".join(parts)).decode("latin-1")
        parts.clear()
        parts = self._body
        if parts:
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            if len(body) > self._limits.max_body_size:
                self._failed = refused_body(self._limits.max_body_size)
                raise self._failed
        else:
            body = b""
        method = self._http.get_method()
        fields = self._fields
        self._fields = []
        self._open = False
        name = METHODS.get(method) or method.decode("latin-1")
        if self._chunked:
            self._chunked = False
            del fields[self._head_fields :]  # trailers
        if self._instead is not None:
            name, target, fields = self._instead
            self._instead = None
        if self._head_size:
            self._line = bytearray()
            self._judge_at = 0
            self._head_size = self._body_size = self._framing = 0
        self._done.append(Request.received(name, target, fields, body))

    # The rest is off the common path.

    def _after_upgrade(self, data: bytes, offset: int, was_open: bool) -> None:
        """Go on after a request that asks for another protocol, which is ignored.

        llhttp ends such a request after its head; if it announces a body, the body is read in
        its place behind a head made for it.
        """
        rest = memoryview(data)[offset:]  # no copies: there may be many such requests
        while True:
            request = self._done[-1]
            length = request.headers.get("content-length", "0").strip()
            encoding = request.headers.get("transfer-encoding")
            upgraded = None
            try:
                if encoding is not None or int(length) > 0:
                    self._done.pop()
                    self._instead = (request.method, request.target, _fields_of(request))
                    name, value = (
                        ("content-length", length)
                        if encoding is None
                        else ("transfer-encoding", encoding)
                    )
                    self._http.feed_data(f"POST * HTTP/1.1\r\n{name}: {value}\r\n\r\n".encode())
                self._http.feed_data(rest)
            except HttpParserUpgrade as upgrade:
                upgraded = upgrade.args[0]
            except HttpParserError as error:
                raise self._failure(error, data, was_open) from None
            if upgraded is None:
                return
            rest = rest[upgraded:]

    def _judge_header(self, name: bytes, value: bytes) -> None:
        """A header, or trailer, that is too large or one too many. Raises ParseFailure."""
        if max(len(name), len(value)) > self._header_size_max:
            self._failed = self._oversized(name, value)
        else:
            self._failed = refused_headers(
                f"Too many headers (max number allowed: {self._limits.max_headers_count})"
            )
        raise self._failed

    def _bound(self, data: bytes) -> None:
        """Hold an unfinished request to the limits. Raises ParseFailure."""
        limits = self._limits
        if self._body or self._chunked:
            size = sum(map(len, self._body))
            if size > limits.max_body_size:
                raise self._refuse(refused_body(self._limits.max_body_size))
            self._framing = self._framing + len(data) if size == self._body_size else 0
            self._head_size = max(self._head_size, 1)
            self._body_size = size
            if self._framing > FRAMING_SIZE_MAX:
                raise self._refuse(
                    refused_headers(
                        "Chunk extension or trailer is too large "
                        f"(max size allowed: {FRAMING_SIZE_MAX})"
                    )
                )
            if len(self._body) > BODY_PARTS_MAX:
                self._body[:] = [b"".join(self._body)]
            return
        end = data.rfind(b"\n")
        if end < 0:
            self._line += data
        else:
            self._line = bytearray(data[end + 1 :])
            self._judge_at = 0
        size = len(self._line)
        if size > limits.max_header_size and size >= self._judge_at:
            # Seldom, as it takes the longer, the longer the line is; it may come byte by byte.
            self._judge_at = size + limits.max_header_size // 4
            name, colon, value = bytes(self._line).partition(b":")
            value = value.lstrip(b" \t").removesuffix(b"\r")
            too_large = max(len(name), len(value)) > limits.max_header_size
            if too_large and b" " not in name and (colon or self._target):
                raise self._refuse(self._oversized(name, value))
        self._head_size += len(data)
        if self._head_size > limits.head_size_max:
            raise self._refuse(
                refused_headers(
                    f"Request head is too large (max size allowed: {limits.head_size_max})"
                )
            )

    def _refuse(self, failure: ParseFailure) -> ParseFailure:
        failure.requests = self._done
        return failure

    def _oversized(self, name: bytes, value: bytes) -> ParseFailure:
        limit = self._header_size_max
        part = "key" if len(name) > limit else "value"
        shown = name.decode("utf-8", "replace")
        return refused_headers(
            f"Header {part} for '{shown}' is too large (max size allowed: {limit})"
        )

    def _failure(self, error: HttpParserError, data: bytes, was_open: bool) -> ParseFailure:
        if self._failed is not None:  # raised by a callback, which httptools reports as its own
            return self._refuse(self._failed)
        if isinstance(error, HttpParserCallbackError):
            raise error
        reason = str(error)
        name, position = _locate(reason, self._replay_prefixes(was_open), data)
        text = (
            "Unable to parse data as a HTTP request. Error message is: "
            f"HTTP parsing failed ({name}: {reason}) around byte {position}\n"
            "Error occurred while parsing fragment:\n"
        )
        return self._refuse(ParseFailure(400, text.encode() + data, TEXT_TYPE, "parsing"))

    def _replay_prefixes(self, was_open: bool) -> tuple[bytes, ...]:
        """Bytes that may bring a fresh parser to where this one was before the last feed."""
        if not was_open:
            return b"", b"GET * HTTP/1.0\r\n\r\n"
        if self._chunked:
            return (b"POST * HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",)
        values = iter(self._fields)
        head = b"".join(b"%b: %b\r\n" % (name, next(values)) for name in values)
        line = bytes(self._line)
        return line, b"POST * HTTP/1.1\r\n" + head + line


def _fields_of(request: Request) -> list[bytes]:
    fields: list[bytes] = []
    for name, value in request.headers.items():
        fields += (name.encode("latin-1"), value.encode())
    return fields


# httptools tells llhttp's reason but neither its constant nor the place. The constant follows from
# the reason; the place is the byte at which llhttp refuses, found by parsing once more in ever
# smaller pieces. llhttp stands either on the offending byte or, for these reasons, behind it.
_BEHIND = "behind"

_CONSTANTS: dict[str, tuple[str, str]] = {
    "Data after `Connection: close`": ("HPE_CLOSED_CONNECTION", _BEHIND),
    "Missing expected CR after chunk data": ("HPE_CR_EXPECTED", _BEHIND),
    "Missing expected CR after chunk extension name": ("HPE_CR_EXPECTED", ""),
    "Missing expected CR after chunk extension value": ("HPE_CR_EXPECTED", ""),
    "Missing expected CR after chunk size": ("HPE_CR_EXPECTED", _BEHIND),
    "Missing expected CR after header value": ("HPE_CR_EXPECTED", ""),
    "Chunk size overflow": ("HPE_INVALID_CHUNK_SIZE", _BEHIND),
    "Invalid character in chunk size": ("HPE_INVALID_CHUNK_SIZE", ""),
    "Expected HTTP/, RTSP/ or ICE/": ("HPE_INVALID_CONSTANT", ""),
    "Expected SOURCE method for ICE/x.x request": ("HPE_INVALID_CONSTANT", _BEHIND),
    "Invalid method for HTTP/x.x request": ("HPE_INVALID_CONSTANT", _BEHIND),
    "Invalid method for RTSP/x.x request": ("HPE_INVALID_CONSTANT", _BEHIND),
    "Invalid word encountered": ("HPE_INVALID_CONSTANT", ""),
    "Content-Length can't be present with Transfer-Encoding": (
        "HPE_INVALID_CONTENT_LENGTH",
        _BEHIND,
    ),
    "Content-Length overflow": ("HPE_INVALID_CONTENT_LENGTH", _BEHIND),
    "Empty Content-Length": ("HPE_INVALID_CONTENT_LENGTH", ""),
    "Invalid character in Content-Length": ("HPE_INVALID_CONTENT_LENGTH", ""),
    "Invalid header field char": ("HPE_INVALID_HEADER_TOKEN", _BEHIND),
    "Invalid header token": ("HPE_INVALID_HEADER_TOKEN", ""),
    "Invalid header value char": ("HPE_INVALID_HEADER_TOKEN", ""),
    "Unexpected whitespace after header value": ("HPE_INVALID_HEADER_TOKEN", ""),
    "Expected space after method": ("HPE_INVALID_METHOD", ""),
    "Invalid method encountered": ("HPE_INVALID_METHOD", ""),
    "Empty Transfer-Encoding": ("HPE_INVALID_TRANSFER_ENCODING", ""),
    "Invalid `Transfer-Encoding` header value": ("HPE_INVALID_TRANSFER_ENCODING", _BEHIND),
    "Request has invalid `Transfer-Encoding`": ("HPE_INVALID_TRANSFER_ENCODING", _BEHIND),
    "Transfer-Encoding can't be present with Content-Length": (
        "HPE_INVALID_TRANSFER_ENCODING",
        _BEHIND,
    ),
    "Expected CRLF": ("HPE_INVALID_URL", ""),
    "Invalid char in url fragment start": ("HPE_INVALID_URL", ""),
    "Invalid char in url path": ("HPE_INVALID_URL", ""),
    "Invalid char in url query": ("HPE_INVALID_URL", ""),
    "Invalid characters in url": ("HPE_INVALID_URL", _BEHIND),
    "Unexpected char in url schema": ("HPE_INVALID_URL", ""),
    "Unexpected char in url server": ("HPE_INVALID_URL", ""),
    "Unexpected start char in url": ("HPE_INVALID_URL", ""),
    "Expected CRLF after version": ("HPE_INVALID_VERSION", ""),
    "Expected HTTP/2 Connection Preface": ("HPE_INVALID_VERSION", ""),
    "Expected dot": ("HPE_INVALID_VERSION", ""),
    "Invalid HTTP version": ("HPE_INVALID_VERSION", _BEHIND),
    "Invalid major version": ("HPE_INVALID_VERSION", ""),
    "Invalid minor version": ("HPE_INVALID_VERSION", ""),
    "Missing expected LF after header value": ("HPE_LF_EXPECTED", ""),
    "Pause on PRI/Upgrade": ("HPE_PAUSED_H2_UPGRADE", _BEHIND),
    "Expected LF after CR": ("HPE_STRICT", ""),
    "Expected LF after chunk data": ("HPE_STRICT", ""),
    "Expected LF after chunk size": ("HPE_STRICT", ""),
    "Expected LF after headers": ("HPE_STRICT", ""),
    "Invalid character in chunk extensions": ("HPE_STRICT", _BEHIND),
    "Invalid character in chunk extensions name": ("HPE_STRICT", _BEHIND),
    "Invalid character in chunk extensions quote value": ("HPE_STRICT", ""),
    "Invalid character in chunk extensions quoted value": ("HPE_STRICT", _BEHIND),
    "Invalid character in chunk extensions value": ("HPE_STRICT", _BEHIND),
    "Invalid quoted-pair in chunk extensions quoted value": ("HPE_STRICT", _BEHIND),
    "Duplicate Content-Length": ("HPE_UNEXPECTED_CONTENT_LENGTH", ""),
    "Unexpected space after start line": ("HPE_UNEXPECTED_SPACE", _BEHIND),
}

_BEHIND_BYTES = {
    "Invalid character in chunk size": b" \t",
    "Invalid header value char": b" \t\n",
    "Expected CRLF after version": b"\n",
}
"""Reasons for which llhttp stands behind the offending byte only if it is one of these."""


class _Silent:
    """Listens to nothing: for parsing once more only to learn where it fails."""

    def on_message_begin(self) -> None: ...

    def on_message_complete(self) -> None: ...


PIECE_BYTES = 1024
"""Pieces in which a refused fragment is gone through before the one that fails is, by bytes."""


def _refuses(parser: HttpRequestParser, data: bytes) -> str | None:
    """Why a parser refuses what comes next; None if it does not."""
    rest = memoryview(data)
    while True:
        try:
            parser.feed_data(rest)
        except HttpParserUpgrade as upgrade:
            rest = rest[upgrade.args[0] :]
        except HttpParserError as error:
            return str(error)
        else:
            return None


def _first_refused(start: bytes, data: bytes, step: int) -> tuple[str, int] | None:
    """Why and in which piece, of `step` bytes, `data` is refused after `start`; None if not."""
    parser = HttpRequestParser(_Silent())
    if _refuses(parser, start) is not None:
        return None
    for at in range(0, len(data), step):
        why = _refuses(parser, data[at : at + step])
        if why is not None:
            return why, at
    return None


def _locate(reason: str, prefixes: tuple[bytes, ...], data: bytes) -> tuple[str, int]:
    """llhttp's constant for a reason, and the byte of `data` around which it arose.

    0 when no prefix brings back the state before `data` (deep inside a chunked body).
    """
    name, where = _CONSTANTS.get(reason, ("HPE_UNKNOWN", ""))
    for prefix in prefixes:
        found = _first_refused(prefix, data, PIECE_BYTES)
        if found is not None and found[0] == reason:
            break
    else:
        return name, 0
    piece = found[1]
    exact = _first_refused(prefix + data[:piece], data[piece : piece + PIECE_BYTES], 1)
    if exact is None:
        return name, piece
    fails = piece + exact[1] + 1
    offending = data[fails - 1 : fails]
    if where == _BEHIND or offending in _BEHIND_BYTES.get(reason, ()):
        return name, fails
    if reason == "Expected CRLF after version" and (prefix + data[: fails - 1]).endswith(b"\r"):
        name = "HPE_STRICT"
    return name, fails - 1
