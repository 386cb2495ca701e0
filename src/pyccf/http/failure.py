"""Why bytes that came in are no request, and the answer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.errors import RemoteError
from pyccf.http.message import JSON_TYPE, REASONS, encode_response, error_body

if TYPE_CHECKING:
    from pyccf.http.message import Request


class ParseFailure(RemoteError):
    """A request is refused before it is one: answer with `encode()`, then close the connection.

    `metric` names the error counter of `/node/metrics`. `requests` are the complete requests that
    came before it in the same bytes; they are answered first.
    """

    code = "ParseFailure"

    def __init__(self, status: int, body: bytes, content_type: str, metric: str) -> None:
        super().__init__(f"request refused with {status} {REASONS[status]}")
        self.status = status
        self.body = body
        self.content_type = content_type
        self.metric = metric
        self.requests: list[Request] = []

    def encode(self) -> bytes:
        """The complete response."""
        return encode_response(self.status, {"content-type": self.content_type}, self.body)


def refused_headers(message: str) -> ParseFailure:
    """There are too many headers, or they are too large."""
    body = error_body("RequestHeaderTooLarge", message)
    return ParseFailure(431, body, JSON_TYPE, "request_header_too_large")


def refused_body(size_max: int) -> ParseFailure:
    """The body is too large."""
    text = f"HTTP request body is too large (max size allowed: {size_max})"
    body = error_body("RequestBodyTooLarge", text)
    return ParseFailure(413, body, JSON_TYPE, "request_payload_too_large")
