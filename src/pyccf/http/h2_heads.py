"""Heads of HTTP/2 requests and responses: what is well formed, and what of it we take.

A malformed request is the fault of its stream alone (RFC 9113 8.1.1); a request beyond the limits
is answered, and then the connection ends (spec: http-api.md §4.2, §4.5). Pseudo headers count, and
are seen by applications, like any others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

from hpack import HeaderTuple, NeverIndexedHeaderTuple

from pyccf.http.failure import ParseFailure, refused_headers
from pyccf.http.limits import HttpLimits
from pyccf.http.message import FINAL_STATUSES

Fields: TypeAlias = list[tuple[bytes, bytes]]


class Malformed(Exception):
    """A head that breaks the protocol: its stream is reset."""


_PSEUDO = frozenset({b":method", b":path", b":scheme", b":authority"})
_OF_CONNECTIONS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
"""Headers of HTTP/1 that have no meaning here (RFC 9113 8.2.2)."""
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_PATHS = re.compile(rb"[\t \x80-\xff]")
"""What no HTTP/1.1 request may have there either; the rest is in no value at all."""
_BLANKS = b" \t"


class Head:
    """What a well-formed head says."""

    __slots__ = ("fields", "method", "path", "size")

    def __init__(self, method: bytes, path: bytes, fields: list[bytes], size: int) -> None:
        self.method = method
        self.path = path
        self.fields = fields
        """Names and values in turn."""
        self.size = size


def take_head(headers: Iterable[tuple[bytes, bytes]], limits: HttpLimits) -> Head:
    """Judge the head of a request. Raises Malformed, ParseFailure."""
    seen: dict[bytes, bytes] = {}
    fields: list[bytes] = []
    size = 0
    regular = host = False
    for name, value in headers:
        _check_value(value)
        if name[:1] == b":":
            if regular or name in seen or name not in _PSEUDO or not value:
                raise Malformed
            seen[name] = value
        else:
            regular = True
            _check_regular(name, value)
            host = host or name == b"host"
        _check_size(name, value, limits)
        fields.append(name)
        fields.append(value)
        if len(fields) > 2 * limits.max_headers_count:
            raise refused_headers(
                f"Too many headers (max number allowed: {limits.max_headers_count})"
            )
        size += len(name) + len(value)
    if size > limits.head_size_max:
        raise refused_headers(
            f"Request head is too large (max size allowed: {limits.head_size_max})"
        )
    method, path = seen.get(b":method"), seen.get(b":path")
    if method is None or path is None or b":scheme" not in seen:
        raise Malformed
    if not host and b":authority" not in seen:
        raise Malformed
    if (path[:1] != b"/" and path != b"*") or _NOT_IN_PATHS.search(path):
        raise Malformed  # RFC 9113 8.3.1, RFC 3986 3.3
    return Head(method, path, fields, size)


def _check_value(value: bytes) -> None:
    if _BAD_VALUE.search(value) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        raise Malformed


def _check_regular(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
        raise Malformed
    if name == b"te" and value.lower() != b"trailers":
        raise Malformed


def _check_size(name: bytes, value: bytes, limits: HttpLimits) -> None:
    limit = limits.max_header_size
    if len(name) > limit or len(value) > limit:
        part = "key" if len(name) > limit else "value"
        shown = name.decode("utf-8", "replace")
        raise refused_headers(
            f"Header {part} for '{shown}' is too large (max size allowed: {limit})"
        )


class Reply:
    """A complete HTTP/1.1 response (`message.encode_response`) as HTTP/2 has it."""

    __slots__ = ("body", "headers")

    def __init__(self, response: bytes) -> None:
        head, _, body = response.partition(b"\r\n\r\n")
        line, *rest = head.split(b"\r\n")
        fields = [(name, value) for name, _, value in (field.partition(b": ") for field in rest)]
        self.headers = response_head(line[9:12], fields)
        self.body = body


def response_head(status: bytes, fields: Iterable[tuple[bytes, bytes]]) -> list[HeaderTuple]:
    """Status and headers as they go out; `content-length` comes last.

    What HTTP/2 does not allow in a header is left out, blanks around a value too.
    """
    assert int(status) in FINAL_STATUSES, "a response ends its exchange"
    length: list[HeaderTuple] = []
    headers = [HeaderTuple(b":status", status)]
    for name, value in fields:
        name = name.lower()
        if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
            continue
        value = _BAD_VALUE.sub(b" ", value).strip(_BLANKS)
        if name == b"content-type":
            headers.append(HeaderTuple(name, value))
        elif name == b"content-length":
            length.append(NeverIndexedHeaderTuple(name, value))
        else:
            # Seldom the same twice: not worth a place in the table of known headers.
            headers.append(NeverIndexedHeaderTuple(name, value))
    return headers + length


__all__ = ["Fields", "Head", "Malformed", "ParseFailure", "Reply", "response_head", "take_head"]
