"""How much of HTTP one interface accepts. Everything has a limit and the limit has a name.

Those of `HttpLimits` are CCF's (spec: http-api.md §4.2) and can be configured per interface. The
others bound what CCF leaves unbounded, far above what a well-behaved client ever sends.
"""

from __future__ import annotations

import msgspec

KB = 1024
MB = 1024 * KB

HEAD_SIZE_MAX = MB
"""Bytes of one request line with all its headers (a larger `max_header_size` raises it)."""
FRAMING_SIZE_MAX = 64 * KB
"""Bytes of chunk sizes, chunk extensions and trailers received without any body in between."""
PIPELINE_MAX = 128
"""Requests of one connection that may wait for their answers before reading stops."""

HEAD_BLOCK_MAX = 128 * KB
"""Bytes of one HTTP/2 header block as compressed; unpacking much more would hold everybody up (a
larger `max_header_size` raises it)."""
HELD_SIZE_MAX = 8 * MB
"""Bytes of requests that one HTTP/2 connection may have begun, or waiting to be handled; a request
more is refused (a larger `max_body_size` raises it)."""
ANSWERS_WAITING_MAX = MB
"""Bytes of answers that may wait for a client before its requests wait, too: for it to open its
windows in HTTP/2, for answers before them in HTTP/1.1."""
REQUEST_COST, FIELD_COST = 800, 80
"""Bytes of memory that a begun HTTP/2 request, and each of its headers, takes beside what they say:
a header is announced with a few bytes."""
RESERVE_SIZE = 128 * KB
"""Bytes that each connection may hold in any case, of begun requests and waiting answers."""
SHARED_SIZE_MAX = 256 * MB
"""Bytes that all connections of a node may hold beyond their reserves (a larger `max_body_size`
raises it); when they do, requests beyond the reserve are refused, or wait until answers are out."""
NUISANCE_MAX = 1000
"""HTTP/2 frames of one connection that ask for nothing, between two sweeps (about a second)."""
RESET_COST = 5
"""How many of these a cancelled or malformed request counts for."""
SILENT_FORGIVEN = 4
"""Frames about streams that are over, or about nothing here, that go with each request; more of
them than `NUISANCE_MAX` between two sweeps end the connection."""
WINDOW_STEP = 1024
"""A client may open its windows once for so many bytes that it was sent, and once for each piece of
a body that was sent whole; who does so more often makes work for nothing."""
TINY_DATA = 16
"""Pieces of a body that are smaller than this make more work than they bring."""


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of one interface, in bytes and numbers.

    `max_body_size` counts body bytes as received (after chunked decoding), `max_header_size`
    each header name and each header value, `max_headers_count` the headers of one request. The
    others concern HTTP/2 only and are what its SETTINGS tell the client.
    """

    max_body_size: int = MB
    max_header_size: int = 16 * KB
    max_headers_count: int = 256
    max_concurrent_streams_count: int = 100
    initial_window_size: int = 64 * KB
    max_frame_size: int = 16 * KB

    @property
    def head_size_max(self) -> int:
        """Bytes of the request line and all headers together."""
        return max(HEAD_SIZE_MAX, 4 * self.max_header_size)

    @property
    def head_block_max(self) -> int:
        """Bytes of one compressed header block."""
        return max(HEAD_BLOCK_MAX, 4 * self.max_header_size)

    @property
    def held_size_max(self) -> int:
        """Bytes of unfinished and waiting requests of one HTTP/2 connection."""
        return max(HELD_SIZE_MAX, 2 * (self.max_body_size + self.head_size_max))


PERMISSIVE = HttpLimits(max_body_size=1024 * MB, max_header_size=100 * MB, max_headers_count=1024)
"""Limits for requests that another node of the service has already judged (http-api.md §4.2)."""
