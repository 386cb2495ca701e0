"""What connections say leaves together at the end of a turn of the loop, mostly by a second thread.

Sending is what an answer costs most, and none of it is Python: on a machine with a processor to
spare a node answers a quarter more. Answers are encrypted, or copied, into a box; once everything
readable was read and handled, the thread is given the box and offers each piece to its socket once.
While it still has the box before, and when few have something to say, this thread does so itself.
What a socket does not take goes back to its connection, which waits for room with the loop.

Promises: nothing leaves before `before` was called, which puts what answers acknowledge on the
disk; bytes of one connection leave in their order; no socket is closed while the thread may use its
descriptor. Connections see to the last two by calling `settle` before they write themselves, close,
or are gone. All methods belong to the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.bindings._rust import _openssl

from pyccf.errors import LocalError
from pyccf.shell._sender import ffi, lib

SHARED_MIN = 8
"""Connections with something to say from which on it is worth to wake another thread."""
PIECE_MAX = 64 * 1024
"""Bytes that are said at once in this way; who has more to say writes by itself."""

_add = lib.sender_add
_add_tls = lib.sender_add_tls
_busy = lib.sender_busy
_over = lib.sender_over


class Outlet(Protocol):
    """A connection, as it is seen from here."""

    batch: int
    """The number of the last batch that held a piece of it; 0 for none."""
    piece: int
    """Which one it is of that batch."""
    descriptor: int
    """Of its socket."""

    def put_back(self, data: bytes) -> None:
        """Its socket did not take this."""
        ...

    def take_back(self, data: bytes) -> None:
        """This is to be written by itself, before anything else."""
        ...


class Sender:
    """The box that is being filled, and the one that the thread empties."""

    __slots__ = (
        "_before",
        "_flight",
        "_handle",
        "_loop",
        "_owners",
        "_shares",
        "_size",
        "flying",
        "number",
    )

    def __init__(self, before: Callable[[], None], *, shares: bool = True) -> None:
        """Begin; without `shares` the thread never gets anything to do.

        Raises LocalError when the system has no thread or descriptor for it.
        """
        self._before = before
        self._shares = shares
        functions = [
            ffi.cast("void *", _openssl.ffi.addressof(_openssl.lib, name))
            for name in ("SSL_write", "BIO_read")
        ]
        handle = lib.sender_new(*functions)
        if handle == ffi.NULL:
            raise LocalError(
                "no thread for sending could be started",
                hint="Raise the limits of memory, threads and open files of this process.",
            )
        self._handle = handle
        self._size = ffi.new("size_t *")
        self._owners: list[Outlet] = []
        """Whose the pieces of this batch are."""
        self.number = 1
        """Of the batch that is gathered."""
        self._flight: list[Outlet] = []
        """Whose the pieces are that the thread was given."""
        self.flying = 0
        """The number of that batch."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(lib.sender_notice(handle), self._noticed)

    def add(self, outlet: Outlet, data: bytes) -> bool:
        """Have this sent; False if its connection must write it by itself."""
        size = len(data)
        if size > PIECE_MAX or not self._is_free(outlet):
            return False
        self._enlist(outlet)
        if _add(self._handle, outlet.descriptor, data, size):
            return True
        self._strike()
        return False

    def add_tls(self, outlet: Outlet, ssl: object, bio: object, data: bytes) -> int:
        """Have this encrypted and sent. 0, 1, 2 and -1 as `sender_add_tls` has it."""
        size = len(data)
        if size > PIECE_MAX or not self._is_free(outlet):
            return 0
        self._enlist(outlet)
        done = _add_tls(self._handle, outlet.descriptor, ssl, bio, data, size)
        if done <= 0:
            self._strike()
        return done

    def _is_free(self, outlet: Outlet) -> bool:
        """Whether nothing of this connection is under way that must arrive before."""
        batch = outlet.batch
        if batch == self.flying and self._flight:
            return _over(self._handle, outlet.piece)
        return batch != self.number

    def _enlist(self, outlet: Outlet) -> None:
        owners = self._owners
        if not owners:
            self._loop.call_soon(self.flush)
        outlet.batch = self.number
        outlet.piece = len(owners)
        owners.append(outlet)

    def _strike(self) -> None:
        """The box did not take the last one's piece."""
        self._owners.pop().batch = 0

    def flush(self) -> None:
        """The end of this turn of the loop: send what was said in it."""
        if not self._owners:
            return
        self._before()
        handle = self._handle
        share = self._shares and len(self._owners) >= SHARED_MIN and not _busy(handle)
        if share:
            self._collect()
        owners, self._owners = self._owners, []
        assert lib.sender_count(handle) == len(owners), "each piece is somebody's"
        self.number += 1
        if share:
            self._flight = owners
            self.flying = self.number - 1
            lib.sender_go(handle)
        else:
            lib.sender_here(handle)
            self._give_back(owners, flying=False)

    def settle(self, outlet: Outlet) -> None:
        """Have nothing of this connection in a box or under way.

        What is still in the box it must write by itself.
        """
        handle, size = self._handle, self._size
        if outlet.batch == self.number:
            outlet.batch = 0
            start = lib.sender_pull(handle, outlet.piece, size)
            outlet.take_back(bytes(ffi.buffer(start, size[0])))
        elif outlet.batch == self.flying and self._flight and not _over(handle, outlet.piece):
            lib.sender_wait(handle)
            self._collect()

    def close(self) -> None:
        """Send what is left, and stop; once all connections are gone."""
        self.flush()
        self._loop.remove_reader(lib.sender_notice(self._handle))
        lib.sender_wait(self._handle)
        self._collect()
        lib.sender_free(self._handle)

    def _noticed(self) -> None:
        # Busy, it is about to be done and this is called again, or has the next box already.
        if not _busy(self._handle):
            self._collect()

    def _collect(self) -> None:
        """The thread is done: take its box back."""
        flight, self._flight = self._flight, []
        if flight:
            self._give_back(flight, flying=True)

    def _give_back(self, owners: list[Outlet], *, flying: bool) -> None:
        """Empty a box that was offered; what sockets did not take is for their connections."""
        handle, size = self._handle, self._size
        left: list[tuple[Outlet, bytes]] = []
        if lib.sender_left(handle, flying):
            for index, outlet in enumerate(owners):
                start = lib.sender_rest(handle, flying, index, size)
                if size[0]:
                    left.append((outlet, bytes(ffi.buffer(start, size[0]))))
        lib.sender_clear(handle, flying)
        for outlet, rest in left:
            outlet.put_back(rest)


def spare_processor() -> bool:
    """Whether this process may use more than one processor."""
    return len(os.sched_getaffinity(0)) > 1
