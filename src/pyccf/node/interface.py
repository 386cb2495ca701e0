"""The rules of an RPC interface: what it serves, and what becomes of requests for other nodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from pyccf.node import redirect
from pyccf.types import Json, Millis

FORWARDING_TIMEOUT_MS = 3000
"""How long the primary may take to answer (spec: http-api.md §4.1)."""


class InterfaceRules(msgspec.Struct, frozen=True):
    """What one RPC interface lets through, and what becomes of requests for other nodes."""

    accepted: tuple[re.Pattern[str], ...] | None = None
    """Full template paths that are served; None: all."""
    redirects: redirect.Redirects | None = None
    """Where clients are sent; None: their requests are carried to the primary instead."""
    forwarding_timeout_ms: Millis = FORWARDING_TIMEOUT_MS
    http2: bool = False

    @classmethod
    def of(
        cls,
        accepted: Iterable[str] | None,
        *,
        redirects: Mapping[str, Json] | None = None,
        forwarding_timeout_ms: Millis = FORWARDING_TIMEOUT_MS,
        http2: bool = False,
    ) -> InterfaceRules:
        """Rules out of their configuration.

        Raises re.error for a bad regular expression, LocalError for redirections without a target.
        """
        patterns = None if accepted is None else tuple(re.compile(a) for a in accepted)
        targets = None if redirects is None else redirect.Redirects.parse(redirects)
        return cls(patterns, targets, forwarding_timeout_ms, http2)

    def accepts(self, route: str) -> bool:
        return self.accepted is None or any(p.fullmatch(route) for p in self.accepted)
