"""Requests and responses as values, and the bytes of a response.

A `Request` is what one HTTP exchange asked, whatever protocol carried it. Header names are lower
case, of a repeated name the first value counts, values are UTF-8 with U+FFFD for what is not
(spec: http-api.md §4.2, js-runtime.md §5). A response's status line carries llhttp's constant
name, headers go out sorted by name, `content-length` is always there, and there is neither a
`date` nor a `server` header. Bytes that would end a header line early never leave: a carriage
return, line feed or NUL inside a header is sent as a blank (RFC 9110 5.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_plus

from pyccf.codec.text import dump_json
from pyccf.types import Json

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"

_TXID = "x-ms-ccf-transaction-id"
_PLAIN_TYPES = frozenset({JSON_TYPE, TEXT_TYPE, "application/octet-stream"})


class Request:
    """One HTTP request.

    `target` is the request target as sent, `path` the part before the first `?` (undecoded),
    `query` the rest, decoded as a whole and without fragment (spec: http-api.md §1.1).
    """

    __slots__ = ("_fields", "_headers", "body", "method", "path", "query", "target")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.body = body
        self._fields: list[bytes] | None = None
        self._headers: dict[str, str] | None = {} if headers is None else _lower(headers)
        if "?" in target:
            self.path, self.query = split_target(target)
        else:
            self.path = target
            self.query = ""

    @classmethod
    def received(cls, method: str, target: str, fields: list[bytes], body: bytes) -> Request:
        """A request off the wire; `fields` alternates header names and values as received.

        Headers are decoded when first asked for.
        """
        request = cls(method, target, None, body)
        request._fields = fields
        request._headers = None
        return request

    @property
    def headers(self) -> dict[str, str]:
        """Header values by lower-case name, in order of appearance."""
        headers = self._headers
        if headers is None:
            fields = self._fields
            assert fields is not None, "a request has headers or the fields to make them from"
            headers = {}
            values = iter(fields)
            for name in values:
                headers.setdefault(
                    name.lower().decode("latin-1"), next(values).decode("utf-8", "replace")
                )
            self._headers = headers
            self._fields = None
        return headers

    def has_header(self, name: bytes) -> bool:
        """Whether a header was sent (`name` in lower case), found without decoding all of them."""
        fields = self._fields
        if fields is None:
            return name.decode("latin-1") in self.headers
        size = len(name)
        return any(len(field) == size and field.lower() == name for field in fields[::2])

    def __repr__(self) -> str:
        return f"Request({self.method} {self.target!r}, {len(self.body)} bytes)"


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    lowered: dict[str, str] = {}
    for name, value in headers.items():
        lowered.setdefault(name.lower(), value)
    return lowered


def split_target(target: str) -> tuple[str, str]:
    """Path and decoded query of a request target (spec: http-api.md §1.1).

    The fragment is dropped from the query only: without a `?` it stays part of the path.
    """
    path, _, query = target.partition("?")
    return path, decode_query(query.partition("#")[0])


def decode_query(text: str) -> str:
    """Percent-decode a whole query: `+` is a blank, bad escapes stay, bad UTF-8 gives U+FFFD."""
    if "%" in text or "+" in text:
        return unquote_plus(text, errors="replace")
    return text


def query_parameters(query: str) -> dict[str, str]:
    """Parameters of a decoded query, first occurrence of each; `a` and `a=` are both empty."""
    parameters: dict[str, str] = {}
    if query:
        for part in query.split("&"):
            name, _, value = part.partition("=")
            parameters.setdefault(name, value)
    return parameters


class Response:
    """Status, headers (lower-case names) and body of one answer."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.status = status
        self.headers = {} if headers is None else headers
        self.body = body

    def encode(self, *, head: bool = False) -> bytes:
        """The bytes to send; `head` leaves the body out (it answers a HEAD request)."""
        return encode_response(self.status, self.headers, self.body, head)

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


def encode_response(
    status: int, headers: Mapping[str, str], body: bytes, head: bool = False
) -> bytes:
    """The bytes of an HTTP/1.1 response (spec: http-api.md §4.2).

    `status` must be in `FINAL_STATUSES`. A `content-length` among the headers is kept and cuts the
    body off, but never promises more than is sent (except to HEAD, where nothing is). An answer
    must neither swallow the next one nor be taken for its begin: a `transfer-encoding` is left out,
    as the body goes out as it is, and 204 and 304 have no body (RFC 9110 15.3.5, 15.4.5).
    """
    if body and (status == 204 or status == 304):
        body = b""
    size = len(body)
    if len(headers) == 2 and not head:
        # What nearly every answer of an application looks like.
        txid = headers.get(_TXID)
        content_type = headers.get("content-type")
        if content_type in _PLAIN_TYPES and txid and txid.isascii() and txid.isprintable():
            return (
                f"{_STATUS_LINES[status]}content-length: {size}\r\n"
                f"content-type: {content_type}\r\n{_TXID}: {txid}\r\n\r\n"
            ).encode("ascii") + body
    lines = [_STATUS_LINES[status]]
    if "content-length" in headers:
        told = headers["content-length"]
        if told.isascii() and told.isdigit() and len(told) < 20 and (head or int(told) <= size):
            size = int(told)
            body = body[:size]
    pending = True
    for name in sorted(headers):
        if name == "transfer-encoding":
            continue
        if pending and name >= "content-length":
            pending = False
            lines.append(f"content-length: {size}\r\n")
            if name == "content-length":
                continue
        lines.append(f"{name}: {headers[name]}\r\n")
    if pending:
        lines.append(f"content-length: {size}\r\n")
    lines.append("\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        text = "".join(_clean(line) for line in lines)
    encoded = text.encode("utf-8", "surrogatepass")
    return encoded if head else encoded + body


def encode_stream_head(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an HTTP/1.1 response whose body follows in chunks (RFC 9112 7.1).

    How long the body is, nobody knows yet: headers that tell of it are left out.
    """
    told = {k: v for k, v in headers.items() if k not in ("content-length", "transfer-encoding")}
    told["transfer-encoding"] = "chunked"
    lines = (f"{name}: {told[name]}\r\n" for name in sorted(told))
    text = _STATUS_LINES[status] + "".join(_clean(line) for line in lines) + "\r\n"
    return text.encode("utf-8", "surrogatepass")


_BLANK_CONTROLS = {ord("\r"): " ", ord("\n"): " ", 0: " "}


def _clean(line: str) -> str:
    return line[:-2].translate(_BLANK_CONTROLS) + "\r\n"


def error_json(code: str, message: str, details: Sequence[Json] = ()) -> dict[str, Json]:
    """The error document of CCF as a value (spec: http-api.md §6)."""
    error: dict[str, Json] = {"code": code, "message": message}
    if details:
        error["details"] = list(details)
    return {"error": error}


def error_body(code: str, message: str, details: Sequence[Json] = ()) -> bytes:
    """The error document of CCF as bytes; its content type is `JSON_TYPE`."""
    return dump_json(error_json(code, message, details))


def encode_error(status: int, code: str, message: str) -> bytes:
    """A complete error response."""
    return encode_response(status, {"content-type": JSON_TYPE}, error_body(code, message))


_NAMES = """
100 CONTINUE
101 SWITCHING_PROTOCOLS
102 PROCESSING
103 EARLY_HINTS
110 RESPONSE_IS_STALE
111 REVALIDATION_FAILED
112 DISCONNECTED_OPERATION
113 HEURISTIC_EXPIRATION
199 MISCELLANEOUS_WARNING
200 OK
201 CREATED
202 ACCEPTED
203 NON_AUTHORITATIVE_INFORMATION
204 NO_CONTENT
205 RESET_CONTENT
206 PARTIAL_CONTENT
207 MULTI_STATUS
208 ALREADY_REPORTED
214 TRANSFORMATION_APPLIED
226 IM_USED
299 MISCELLANEOUS_PERSISTENT_WARNING
300 MULTIPLE_CHOICES
301 MOVED_PERMANENTLY
302 FOUND
303 SEE_OTHER
304 NOT_MODIFIED
305 USE_PROXY
306 SWITCH_PROXY
307 TEMPORARY_REDIRECT
308 PERMANENT_REDIRECT
400 BAD_REQUEST
401 UNAUTHORIZED
402 PAYMENT_REQUIRED
403 FORBIDDEN
404 NOT_FOUND
405 METHOD_NOT_ALLOWED
406 NOT_ACCEPTABLE
407 PROXY_AUTHENTICATION_REQUIRED
408 REQUEST_TIMEOUT
409 CONFLICT
410 GONE
411 LENGTH_REQUIRED
412 PRECONDITION_FAILED
413 PAYLOAD_TOO_LARGE
414 URI_TOO_LONG
415 UNSUPPORTED_MEDIA_TYPE
416 RANGE_NOT_SATISFIABLE
417 EXPECTATION_FAILED
418 IM_A_TEAPOT
419 PAGE_EXPIRED
420 ENHANCE_YOUR_CALM
421 MISDIRECTED_REQUEST
422 UNPROCESSABLE_ENTITY
423 LOCKED
424 FAILED_DEPENDENCY
425 TOO_EARLY
426 UPGRADE_REQUIRED
428 PRECONDITION_REQUIRED
429 TOO_MANY_REQUESTS
430 REQUEST_HEADER_FIELDS_TOO_LARGE_UNOFFICIAL
431 REQUEST_HEADER_FIELDS_TOO_LARGE
440 LOGIN_TIMEOUT
444 NO_RESPONSE
449 RETRY_WITH
450 BLOCKED_BY_PARENTAL_CONTROL
451 UNAVAILABLE_FOR_LEGAL_REASONS
460 CLIENT_CLOSED_LOAD_BALANCED_REQUEST
463 INVALID_X_FORWARDED_FOR
494 REQUEST_HEADER_TOO_LARGE
495 SSL_CERTIFICATE_ERROR
496 SSL_CERTIFICATE_REQUIRED
497 HTTP_REQUEST_SENT_TO_HTTPS_PORT
498 INVALID_TOKEN
499 CLIENT_CLOSED_REQUEST
500 INTERNAL_SERVER_ERROR
501 NOT_IMPLEMENTED
502 BAD_GATEWAY
503 SERVICE_UNAVAILABLE
504 GATEWAY_TIMEOUT
505 HTTP_VERSION_NOT_SUPPORTED
506 VARIANT_ALSO_NEGOTIATES
507 INSUFFICIENT_STORAGE
508 LOOP_DETECTED
509 BANDWIDTH_LIMIT_EXCEEDED
510 NOT_EXTENDED
511 NETWORK_AUTHENTICATION_REQUIRED
520 WEB_SERVER_UNKNOWN_ERROR
521 WEB_SERVER_IS_DOWN
522 CONNECTION_TIMEOUT
523 ORIGIN_IS_UNREACHABLE
524 TIMEOUT_OCCURED
525 SSL_HANDSHAKE_FAILED
526 INVALID_SSL_CERTIFICATE
527 RAILGUN_ERROR
529 SITE_IS_OVERLOADED
530 SITE_IS_FROZEN
561 IDENTITY_PROVIDER_AUTHENTICATION_ERROR
598 NETWORK_READ_TIMEOUT
599 NETWORK_CONNECT_TIMEOUT
"""

REASONS: dict[int, str] = {int(line[:3]): line[4:] for line in _NAMES.split("\n") if line}
"""Reason phrase of every status CCF knows: llhttp's constant names (spec: http-api.md §4.2).

A status that is not here cannot be sent; whoever wanted to answers 500 instead.
"""

FINAL_STATUSES = frozenset(status for status in REASONS if status >= 200)
"""Those that end an exchange. After 1xx clients wait for another answer (RFC 9110 15.2)."""

_STATUS_LINES = {code: f"HTTP/1.1 {code} {name}\r\n" for code, name in REASONS.items()}
