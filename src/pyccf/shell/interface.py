"""What all connections of one RPC interface share, and how they reach the node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Protocol

from OpenSSL import SSL
from OpenSSL._util import ffi

from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request
from pyccf.http.room import Room
from pyccf.http.session import Session
from pyccf.shell.admission import Admission
from pyccf.shell.sender import Sender
from pyccf.shell.turns import Turns

READ_SIZE = 64 * 1024
"""Bytes of decrypted input parsed at once."""


class Handler(Protocol):
    """The node as a listener sees it."""

    def open_session(self, interface: str, session_id: int, peer_cert: bytes | None) -> Session:
        """A client connected; `peer_cert` is DER, unverified."""
        ...

    def handle(self, session: Session, request: Request) -> bytes | None:
        """The complete response, or None after having called `session.defer()`."""
        ...

    def turn_done(self) -> None:
        """All requests of one readable event are handled; their answers go out after this."""
        ...

    def before_answers(self) -> None:
        """Answers are about to go out: what they acknowledge must be on the disk by then."""
        ...

    def close_session(self, session: Session) -> None:
        """The connection is gone."""
        ...


class Interface:
    """Settings, counts and buffers of one interface.

    The buffers are lent to one connection at a time, for as long as it reads or writes.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        limits: HttpLimits,
        admission: Admission,
        session_ids: Iterator[int],
        room: Room,
        *,
        tls: bool,
        http2: bool = False,
        sender: Sender | None = None,
        descriptors: int = sys.maxsize,
    ) -> None:
        self.name = name
        self.handler = handler
        self.limits = limits
        self.admission = admission
        self.room = room
        self.turns = Turns(handler.before_answers)
        self.sender = sender
        self.descriptors = descriptors
        """The first one that no connection may have."""
        self.tls = tls
        self.http2 = http2
        self.context: SSL.Context | None = None
        """What serves new TLS connections; None while there is no certificate."""
        self.read_buffer = ffi.new("char[]", READ_SIZE)
        self.read_view = ffi.buffer(self.read_buffer)
        self.write_buffer = ffi.new("char[]", READ_SIZE)
        self.write_view = ffi.buffer(self.write_buffer)
        self._session_ids = session_ids

    def open_session(self, peer_cert: bytes | None) -> Session:
        """A client begins to speak."""
        return self.handler.open_session(self.name, next(self._session_ids), peer_cert)
