"""How much of HTTP one interface accepts. Everything has a limit and the limit has a name.

The first three are CCF's (spec: http-api.md §4.2) and can be configured per interface. The others
bound what CCF leaves unbounded, far above what a well-behaved client ever sends.
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


class HttpLimits(msgspec.Struct, frozen=True):
    """Limits of one interface, in bytes and numbers.

    `max_body_size` counts body bytes as received (after chunked decoding), `max_header_size`
    each header name and each header value, `max_headers_count` the headers of one request.
    """

    max_body_size: int = MB
    max_header_size: int = 16 * KB
    max_headers_count: int = 256

    @property
    def head_size_max(self) -> int:
        """Bytes of the request line and all headers together."""
        return max(HEAD_SIZE_MAX, 4 * self.max_header_size)


PERMISSIVE = HttpLimits(max_body_size=1024 * MB, max_header_size=100 * MB, max_headers_count=1024)
"""Limits for requests that another node of the service has already judged (http-api.md §4.2)."""
