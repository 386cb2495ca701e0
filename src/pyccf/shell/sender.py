"""A second thread that hands answers to sockets, while this one handles the next requests.

Sending is what an answer costs most, and none of it is Python: on a machine with a processor to
spare a node answers up to a third more. The thread takes what many connections have to say at the
end of a turn of the loop, in one batch, and offers it to their sockets once. What a socket does not
take goes back to its connection, which waits for room as if it had written by itself.

Promises: bytes of one connection leave in their order, and no socket is closed while the thread
holds its descriptor. Connections see to both by calling `settle` before they write themselves,
close, or are gone. While a batch is under way, and when few connections have something to say,
they write themselves. All methods belong to the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Protocol

from pyccf.errors import LocalError
from pyccf.shell._sender import ffi, lib

SHARED_MIN = 8
"""Connections with something to say from which on it is worth to wake another thread."""
PIECE_MAX = 64 * 1024
"""Bytes of one connection in a batch; who has more to say writes by itself."""

_add = lib.sender_add
_busy = lib.sender_busy


class Outlet(Protocol):
    """A connection, as it is seen from here."""

    batch: int
    """The number of the last batch that held bytes of it; 0 for none."""

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        ...

    def take(self, size_max: int) -> bytes:
        """What it has to say, now somebody else's to send; nothing if it should do so itself."""
        ...

    def put_back(self, data: bytes) -> None:
        """Its socket did not take this."""
        ...

    def drain(self) -> None:
        """Write what it has to say."""
        ...


class Sender:
    """The thread, and the batch that is under way."""

    def __init__(self) -> None:
        """Begin. Raises LocalError when the system has no thread or descriptor for it."""
        handle = lib.sender_new()
        if handle == ffi.NULL:
            raise LocalError(
                "no thread for sending could be started",
                hint="Raise the limits of threads and open files of this process.",
            )
        self._handle = handle
        self._pieces: list[tuple[Outlet, bytes]] = []
        """What the last batch was made of."""
        self.batch = 0
        """Its number."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(lib.sender_notice(handle), self._collect)

    def send(self, outlets: Sequence[Outlet]) -> None:
        """Have these write what they have to say, or say it for them."""
        if len(outlets) < SHARED_MIN or _busy(self._handle):
            for outlet in outlets:
                outlet.drain()
            return
        self._forget()
        handle, pieces = self._handle, self._pieces
        batch = self.batch = self.batch + 1
        for outlet in outlets:
            data = outlet.take(PIECE_MAX)
            if not data:
                outlet.drain()
            elif _add(handle, outlet.descriptor, data, len(data)):
                outlet.batch = batch
                pieces.append((outlet, data))
            else:
                outlet.put_back(data)
        if pieces:
            lib.sender_go(handle)

    def settle(self) -> None:
        """Wait until no batch is under way, and give back what it left."""
        lib.sender_wait(self._handle)
        self._forget()

    def close(self) -> None:
        """Stop, once all connections are gone."""
        self._loop.remove_reader(lib.sender_notice(self._handle))
        self.settle()
        lib.sender_free(self._handle)

    def _collect(self) -> None:
        if not _busy(self._handle):  # else it is of the batch before, and was given back
            self._forget()

    def _forget(self) -> None:
        """Have done with the last batch."""
        handle, pieces = self._handle, self._pieces
        if not pieces:
            return
        self._pieces = []
        left: list[tuple[Outlet, bytes]] = []
        if lib.sender_left(handle):
            for index, (outlet, data) in enumerate(pieces):
                sent = lib.sender_sent(handle, index)
                if sent < len(data):
                    left.append((outlet, data[sent:]))
        lib.sender_clear(handle)
        for outlet, rest in left:
            outlet.put_back(rest)


def spare_processor() -> bool:
    """Whether this process may use more than one processor."""
    return len(os.sched_getaffinity(0)) > 1
