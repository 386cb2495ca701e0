"""A TLS connection to a client, over memory BIOs.

The handshake goes through pyOpenSSL's methods, records through the functions of `shell.records`.
Whatever is not a TLS handshake gets no answer (spec: http-api.md §4.5).
"""

from __future__ import annotations

import asyncio

from OpenSSL import SSL
from OpenSSL._util import lib

from pyccf.shell.interface import READ_SIZE, Interface
from pyccf.shell.records import (
    ANY_POINTER,
    RECORD_SIZE_MAX,
    TLS_HANDSHAKE,
    bio_read,
    bio_size,
    bio_write,
    ssl_read,
    ssl_write,
)
from pyccf.shell.tls import peer_certificate
from pyccf.shell.wire import Wire


class TlsWire(Wire):
    """A connection that speaks TLS."""

    __slots__ = ("_bio_in", "_bio_out", "_fresh", "_ssl", "_tls")

    def __init__(self, interface: Interface) -> None:
        super().__init__(interface)
        self._tls: SSL.Connection | None = None
        self._fresh = True

    def _begin(self) -> None:
        context = self._interface.context
        assert context is not None, "a connection is admitted when there is a certificate"
        tls = SSL.Connection(context, None)
        tls.set_accept_state()
        self._tls = tls
        # These live as long as `tls`.
        self._ssl = tls._ssl
        self._bio_in = tls._into_ssl
        self._bio_out = tls._from_ssl

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._tls = self._ssl = self._bio_in = self._bio_out = None

    def data_received(self, data: bytes) -> None:
        if not self.accepting:
            if self._dialogue is None and not self._finishing:
                self._handshake(data)
            return
        self._ticks = 0
        interface = self._interface
        bio_write(self._bio_in, data, len(data))
        n = ssl_read(self._ssl, interface.read_buffer, READ_SIZE)
        if n > 0 and bio_size(self._bio_in, ANY_POINTER) == 0:
            self._turn(interface.read_view[:n])
        else:
            self._pump(n)

    def _pump(self, n: int) -> None:
        """Go on reading records after a first read returned n, until none is whole."""
        interface = self._interface
        buffer = interface.read_buffer
        while n > 0:
            total = n
            while READ_SIZE - total >= RECORD_SIZE_MAX and self._pending():
                n = ssl_read(self._ssl, buffer + total, READ_SIZE - total)
                if n <= 0:
                    lib.ERR_clear_error()  # comes again in the next read, and is judged then
                    break
                total += n
            self._turn(interface.read_view[:total])
            if not (self.accepting and self._reading) or (n > 0 and not self._pending()):
                return
            n = ssl_read(self._ssl, buffer, READ_SIZE)
        self._no_record(n)

    def _pending(self) -> bool:
        return self._ssl is not None and bio_size(self._bio_in, ANY_POINTER) > 0

    def _no_record(self, result: int) -> None:
        """A read returned nothing: wait for more, or end."""
        error = lib.SSL_get_error(self._ssl, result)
        if error == lib.SSL_ERROR_SSL:
            # Errors of others in the thread's queue look like ours; a real one comes again.
            lib.ERR_clear_error()
            result = ssl_read(self._ssl, self._interface.read_buffer, READ_SIZE)
            if result > 0:
                self._turn(self._interface.read_view[:result])
                return
            error = lib.SSL_get_error(self._ssl, result)
        lib.ERR_clear_error()
        self._flush()
        if error == lib.SSL_ERROR_WANT_READ:
            return
        # Who gives up while it waits says so, too, and many then wait for our end.
        dialogue = self._dialogue if error == lib.SSL_ERROR_ZERO_RETURN else None
        if dialogue is None or dialogue.waits or dialogue.unsent:
            self.finish(linger=False)
        else:
            dialogue.leave()  # RFC 8446 6.1: what it has just asked is still answered

    def _handshake(self, data: bytes) -> None:
        tls = self._tls
        if tls is None:
            return
        if self._fresh and data[0] != TLS_HANDSHAKE:
            self.abort()  # not TLS: gets no answer (http-api.md §4.5)
            return
        self._fresh = False
        try:
            tls.bio_write(data)
            tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return
        except SSL.Error:
            lib.ERR_clear_error()
            self._flush()
            self._tls = None
            super().finish(linger=False)
            return
        self._flush()
        if not self._may_speak():
            self._refuse_busy()
            return
        self._ticks = 0
        self._open(peer_certificate(tls))
        self._read_more()

    def _read_more(self) -> None:
        """Read records that came before they could be handled."""
        if self.accepting and self._reading:
            self._pump(ssl_read(self._ssl, self._interface.read_buffer, READ_SIZE))

    def set_reading(self, wanted: bool) -> None:
        resumed = wanted and not self._reading
        super().set_reading(wanted)
        if resumed:
            asyncio.get_running_loop().call_soon(self._read_more)

    def write(self, data: bytes) -> None:
        if self._transport is None or not data:
            return
        sender = self._sender
        if sender is not None and self._may_share():
            done = sender.add_tls(self, self._ssl, self._bio_out, data)
            if done == 1:
                return
            if done == 2:
                self._flush()
                return
            if done < 0:
                lib.ERR_clear_error()
                self.abort()
                return
        if ssl_write(self._ssl, data, len(data)) != len(data):
            lib.ERR_clear_error()
            self.abort()
            return
        interface = self._interface
        n = bio_read(self._bio_out, interface.write_buffer, READ_SIZE)
        self._send(interface.write_view[:n])
        if n == READ_SIZE:
            self._flush()

    def _flush(self) -> None:
        """Hand to the socket what TLS wants to send."""
        if self._transport is None or self._bio_out is None:
            return
        interface = self._interface
        out: list[bytes] = []
        while (n := bio_read(self._bio_out, interface.write_buffer, READ_SIZE)) > 0:
            out.append(interface.write_view[:n])
        if out:
            self._send(b"".join(out))

    def finish(self, *, linger: bool) -> None:
        if self._tls is not None and not self._finishing:
            if lib.SSL_shutdown(self._ssl) < 0:
                lib.ERR_clear_error()
            self._flush()
        super().finish(linger=linger)
