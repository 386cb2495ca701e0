"""A plain TCP connection to a client: bytes in, bytes out, and the times after which it ends.

What arrives goes to the connection's dialogue (`http1`, `http2`), and what that has to say leaves
at the end of the turn of the loop. Refuses connections above the hard cap; above the soft cap the
client is told so, once. A client that does not read stops being read.

An exception out of the handler is an error of ours: the connection is closed and the event loop's
exception handler gets it, as one of this connection. Others do not suffer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from pyccf.shell.http1 import BUSY, Dialogue1
from pyccf.shell.http2 import Dialogue2
from pyccf.shell.interface import Interface

OUTPUT_BUFFER_MAX = 256 * 1024
"""Bytes waiting for one client to read them before its requests are no longer handled, and its
feeds no longer fed: a thousand connections that nobody reads from hold as much as `Room` allows."""


class Dialogue(Protocol):
    """What a connection tells the protocol that is spoken on it."""

    @property
    def owes(self) -> bool:
        """Whether requests are waiting for their handling or their answers."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it is the node, and not the client, that everybody waits for."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client, beside those in its socket."""
        ...

    def turn(self, data: bytes) -> None:
        """Bytes arrived; they are lent for this call only."""
        ...

    def go_on(self) -> None:
        """The client reads again."""
        ...

    def leave(self) -> None:
        """Take nothing more; close when the answers owed are out."""
        ...

    def tick(self) -> None:
        """Some time passed."""
        ...

    def gone(self) -> None:
        """The connection is no more."""
        ...


class Wire(asyncio.Protocol):
    """A plain TCP connection; `wire_tls.TlsWire` puts TLS around it."""

    __slots__ = (
        "_buffered",
        "_dialogue",
        "_eof",
        "_finishing",
        "_interface",
        "_linger",
        "_lingering",
        "_outgoing",
        "_reading",
        "_sender",
        "_ticks",
        "_transport",
        "_turn",
        "_wrote",
        "accepting",
        "batch",
        "busy",
        "descriptor",
        "output_full",
        "piece",
    )

    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._sender = interface.sender
        self.batch = 0
        self.piece = 0
        self.descriptor = -1
        self._outgoing: list[bytes] = []
        """What goes to the socket at the end of this turn of the loop, not through the sender."""
        self._wrote = False
        """It may be that the transport still has some of that."""
        self._transport: asyncio.Transport | None = None
        self._dialogue: Dialogue | None = None
        self._turn: Callable[[bytes], None] = _unheard
        """What the dialogue does with bytes, while there is one."""
        self._eof = False  # the client's side is closed
        self._finishing = False  # our side is to be closed at the end of this turn of the loop
        self._linger = False  # and the client's is then waited for
        self._lingering = False  # our side is closed
        self._reading = True
        self._ticks = 0  # sweeps since something arrived
        self._buffered = 0
        self.accepting = False
        """Bytes that arrive are for the dialogue."""
        self.output_full = False
        """The client does not read what it was sent."""
        self.busy = False
        """Above the soft cap: gets one 503 and nothing else."""

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The interface of asyncio.Transport; uvloop's does not inherit from it.
        self._transport = transport  # type: ignore[assignment]
        interface = self._interface
        self.descriptor = transport.get_extra_info("socket").fileno()
        ready = not interface.tls or interface.context is not None
        if not interface.admission.admit(
            self, ready=ready and self.descriptor < interface.descriptors
        ):
            self.abort()
            return
        transport.set_write_buffer_limits(high=OUTPUT_BUFFER_MAX)  # type: ignore[attr-defined]
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()  # the socket is closed after this
        self._transport = None
        self.accepting = False
        dialogue = self._dialogue
        if dialogue is not None:
            self._dialogue = None
            self._turn = _unheard
            dialogue.gone()
        self._interface.admission.forget(self)

    def data_received(self, data: bytes) -> None:
        if self.accepting:
            self._ticks = 0
            self._turn(data)
        elif self.busy:
            self._refuse_busy()

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered."""
        self._eof = True
        if self._finishing:
            return not self._lingering
        dialogue = self._dialogue
        if dialogue is None:
            return False
        dialogue.leave()
        return True

    def pause_writing(self) -> None:
        self.output_full = True
        self.set_reading(False)

    def resume_writing(self) -> None:
        self.output_full = False
        self._ticks = 0
        if self._dialogue is not None:
            self._dialogue.go_on()

    # What its listener asks of it.

    def shut(self) -> None:
        """Take no more requests; close when the answers owed are out."""
        dialogue = self._dialogue
        if dialogue is None or self._lingering:
            self.abort()
        else:
            dialogue.leave()

    def abort(self) -> None:
        """Close now, whatever is owed."""
        if self._transport is not None:
            self._settle()
            self._sender = None  # what is said from now on goes nowhere
            self._outgoing.clear()
            self._transport.abort()

    def tick(self, idle: int | None, handshake: int, linger: int) -> None:
        """A sweep passed; the arguments are limits in sweeps."""
        self._ticks += 1
        dialogue = self._dialogue
        if dialogue is not None:
            dialogue.tick()
        if self._lingering:
            self._tick_lingering(idle, linger)
        elif dialogue is None:
            if self._ticks > handshake:
                self.abort()
        elif idle is not None and self._ticks > idle and (self.output_full or not dialogue.waits):
            transport = self._transport
            assert transport is not None, "a connection that is swept is open"
            buffered = transport.get_write_buffer_size() + dialogue.unsent
            if buffered != self._buffered:  # the client is reading, slowly
                self._buffered = buffered
                self._ticks = 0
            elif buffered:
                self.abort()
            else:
                dialogue.leave()

    def _tick_lingering(self, idle: int | None, linger: int) -> None:
        """Our side is closed; the time of the client's counts from the last byte it took."""
        transport = self._transport
        assert transport is not None, "a connection that is swept is open"
        buffered = transport.get_write_buffer_size()
        limit = idle if buffered else linger
        if buffered != self._buffered:
            self._buffered = buffered
            self._ticks = 0
        elif limit is not None and self._ticks > limit:
            self.abort()

    def drain(self) -> None:
        """Write what is to leave; that may have been the last."""
        self._settle()
        outgoing = self._outgoing
        if outgoing:
            data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
            outgoing.clear()
            self.put_back(data)
        if self._finishing:
            self._close()

    # What its sender asks of it (`sender.Outlet`).

    def put_back(self, data: bytes) -> None:
        """Have the transport write this, and wait for room if it must."""
        if self._transport is not None:
            self._wrote = True
            self._transport.write(data)

    def take_back(self, data: bytes) -> None:
        """This is to leave before the rest."""
        self._outgoing.insert(0, data)

    # What its dialogue asks of it.

    @property
    def is_open(self) -> bool:
        """Whether what is written can still reach the client."""
        transport = self._transport
        return transport is not None and not self._finishing and not transport.is_closing()

    def write(self, data: bytes) -> None:
        """Have the client told this, at the end of this turn of the loop."""
        if self._transport is not None and data:
            self._send(data)

    def set_reading(self, wanted: bool) -> None:
        """Whether more is to be read from the client."""
        transport = self._transport
        if wanted == self._reading or transport is None or transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def blunder(self, error: Exception) -> None:
        """A request could not be handled, and nobody foresaw why."""
        self.abort()
        asyncio.get_running_loop().call_exception_handler(
            {"message": "A request failed", "exception": error, "protocol": self}
        )

    def finish(self, *, linger: bool) -> None:
        """Close our side when what was written has left; then wait a little for the client's."""
        self.accepting = False
        if self._transport is None or self._finishing:
            return
        self._ticks = 0
        self._finishing = True
        self._linger = linger
        if not self._outgoing:
            self._interface.turns.leaving(self)

    def _close(self) -> None:
        transport = self._transport
        if transport is None or self._lingering or transport.is_closing():
            return
        if self._linger and not self._eof and transport.can_write_eof():
            self._lingering = True
            self.set_reading(True)
            transport.write_eof()
        else:
            transport.close()

    # The rest is between it and TLS.

    def _begin(self) -> None:
        if self._may_speak():
            self._open(None)

    def _may_speak(self) -> bool:
        """Whether there is a dialogue at all; in HTTP/2 even a refusal is one."""
        return not self.busy or self._interface.http2

    def _open(self, peer_cert: bytes | None) -> None:
        interface = self._interface
        dialogue: Dialogue
        if interface.http2:
            dialogue = Dialogue2(self, interface, peer_cert, busy=self.busy)
        else:
            dialogue = Dialogue1(self, interface, peer_cert)
        self._dialogue = dialogue
        self._turn = dialogue.turn
        self.accepting = True

    def _refuse_busy(self) -> None:
        if not self._finishing:
            self.write(BUSY)
            self.finish(linger=True)

    def _send(self, data: bytes) -> None:
        """Have bytes written at the end of this turn of the loop.

        Answers of all connections leave together: a client that sleeps is woken once for many of
        them, and what they acknowledge was handed to the disk before (`turn_done` came first).
        """
        sender = self._sender
        if sender is None or not self._may_share() or not sender.add(self, data):
            self._send_alone(data)

    def _may_share(self) -> bool:
        """Whether nothing else has to leave before what a sender would send."""
        if self._outgoing:
            return False
        if self._wrote:
            transport = self._transport
            assert transport is not None, "who writes is connected"
            if transport.get_write_buffer_size():
                return False
            self._wrote = False
        return True

    def _send_alone(self, data: bytes) -> None:
        """As `_send`, not through the sender."""
        outgoing = self._outgoing
        if not outgoing:
            self._interface.turns.leaving(self)
            self._pull()
        outgoing.append(data)

    def _pull(self) -> None:
        """Take back what the sender would send for this connection at the end of this turn."""
        sender = self._sender
        if sender is not None and self.batch == sender.number:
            sender.settle(self)

    def _settle(self) -> None:
        """Let the sender have nothing of this connection, nor use its socket."""
        if self._sender is not None and self.batch:
            self._sender.settle(self)


def _unheard(data: bytes) -> None:
    """Bytes on a connection that has no dialogue."""
