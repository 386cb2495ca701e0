"""A session: what a node remembers of one connection between its requests.

A session belongs to one client connection on one interface and lives as long as that connection.
Handlers may keep things in `scratch`; `view` is where the frontend notes the view of the first
execution (spec: http-api.md §5.4). Answers leave in the order of the requests, also when some are
given later: `defer()` takes the place of the request being handled in that order.

On a node that is not primary a session may have its requests carried to the primary; there it is
another session, made for the node that carried them, with the same id, certificate and view.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Deliver: TypeAlias = Callable[[bytes], None]
"""Sends one complete response; calling it a second time is an error of ours (asserted)."""


def _nobody_listens() -> Deliver:
    raise AssertionError("this session has no connection that could answer later")


class Session:
    """One client connection as the frontend sees it.

    `peer_cert` is the DER leaf certificate the client presented, never verified at the TLS level
    (spec: http-api.md §4.5), or None. `close_after`, once set, lets the answers of the requests
    handled so far go out and then closes the connection.
    """

    __slots__ = (
        "close_after",
        "deferrer",
        "forwarded",
        "id",
        "interface",
        "is_forwarding",
        "peer_cert",
        "rollbacks",
        "scratch",
        "view",
    )

    def __init__(self, session_id: int, interface: str, peer_cert: bytes | None = None) -> None:
        self.id = session_id
        self.interface = interface
        self.peer_cert = peer_cert
        self.view: int | None = None
        self.rollbacks = 0
        """How often the node had rolled back when `view` was noted."""
        self.close_after = False
        self.is_forwarding = False
        """A request was carried to the primary: from now on reads are, too (http-api.md §5.3)."""
        self.forwarded = False
        """The client is connected to another node, which carries its requests here."""
        self.scratch: dict[str, object] = {}
        self.deferrer: Callable[[], Deliver] = _nobody_listens
        """Set by whoever owns the connection; handlers call `defer` instead."""

    def defer(self) -> Deliver:
        """Keep the place of the request now being handled; the result delivers its response.

        A handler that called this returns None. The result may be called at any later time, also
        after the connection has gone (then nothing happens).
        """
        return self.deferrer()
