"""A session: what a node remembers of one connection between its requests.

A session belongs to one client connection on one interface and lives as long as that connection.
Handlers may keep things in `scratch`; `view` is where the frontend notes the view of the first
execution (spec: http-api.md §5.4). Answers leave in the order of the requests, also when some are
given later: `defer()` takes the place of the request being handled in that order.

An answer whose body is produced over time is streamed: `stream(source)` takes the place of the
request as `defer` does and gives a `Flow`. The handler begins it with status and headers, pushes
pieces of the body whenever it has some, and ends it:

    class Ticker:                          # a Source
        endless = True                     # or has an end of its own accord: False

        def __init__(self, session: Session) -> None:
            self.flow = session.stream(self)
            self.flow.begin(200, {"content-type": "text/event-stream"})

        def happened(self, event: bytes) -> None:
            if not self.flow.push(event):  # the client reads slower than this
                stop_until(self.room)

        def room(self) -> None: ...        # go on pushing
        def gone(self) -> None: ...        # nobody listens any more: let go of everything

What is pushed is bounded by `STREAM_WAITING_MAX`: a source that goes on after `push` said False
loses its client. How pieces travel is the connection's business: chunks in HTTP/1.1, DATA frames in
HTTP/2. Not every session can stream: a request that another node carried here is answered in one
message (`can_stream` is False), and so is HEAD, which has no body at all.

On a node that is not primary a session may have its requests carried to the primary; there it is
another session, made for the node that carried them, with the same id, certificate and view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

Deliver: TypeAlias = Callable[[bytes], None]
"""Sends one complete response; calling it a second time is an error of ours (asserted)."""

STREAM_ROOM = 64 * 1024
"""Bytes of a streamed body that wait for the client before its source is asked to pause."""
STREAM_WAITING_MAX = 1024 * 1024
"""Bytes of a streamed body that may wait for the client; above, the client is given up."""


class Source(Protocol):
    """Whoever produces a streamed body; told what becomes of it."""

    @property
    def endless(self) -> bool:
        """Whether the body may go on for ever: then nobody waits for its end.

        It is cut off when the client says no more, or the node takes leave of it.
        """
        ...

    def room(self) -> None:
        """The client took what it was sent: go on after `push` had returned False."""
        ...

    def gone(self) -> None:
        """Nobody listens any more. Called once, and never after `end` or `fail`."""
        ...


class Flow(Protocol):
    """A response whose body is produced over time.

    Once the client is gone nothing here has an effect any more; none of these calls raises.
    """

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Give the head; once, before anything else. `status` is in `message.FINAL_STATUSES`."""
        ...

    def push(self, piece: bytes) -> bool:
        """Give a piece of the body; False when `Source.room` will say when to go on."""
        ...

    def end(self) -> None:
        """The body is complete."""
        ...

    def fail(self) -> None:
        """The body cannot be completed: let the client notice that the rest is missing."""
        ...


def _nobody_listens() -> Deliver:
    raise AssertionError("this session has no connection that could answer later")


def _nobody_streams(source: Source) -> Flow:
    raise AssertionError("this session cannot stream: ask `can_stream` first")


class Session:
    """One client connection as the frontend sees it.

    `peer_cert` is the DER leaf certificate the client presented, never verified at the TLS level
    (spec: http-api.md §4.5), or None. `close_after`, once set, lets the answers of the requests
    handled so far go out and then closes the connection.
    """

    __slots__ = (
        "close_after",
        "connection",
        "deferrer",
        "forwarded",
        "id",
        "interface",
        "is_forwarding",
        "peer_cert",
        "rollbacks",
        "scratch",
        "streamer",
        "view",
    )

    def __init__(self, session_id: int, interface: str, peer_cert: bytes | None = None) -> None:
        self.id = session_id
        self.connection = session_id
        """The session that the connection began with: each stream of HTTP/2 has its own."""
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
        self.streamer: Callable[[Source], Flow] = _nobody_streams
        """Likewise, for `stream`."""

    def defer(self) -> Deliver:
        """Keep the place of the request now being handled; the result delivers its response.

        A handler that called this returns None. The result may be called at any later time, also
        after the connection has gone (then nothing happens).
        """
        return self.deferrer()

    @property
    def can_stream(self) -> bool:
        """Whether `stream` may be called."""
        return self.streamer is not _nobody_streams

    def stream(self, source: Source) -> Flow:
        """Keep the place of the request now being handled for a body that `source` produces.

        A handler that called this returns None. The flow may be begun at any later time.
        """
        return self.streamer(source)
