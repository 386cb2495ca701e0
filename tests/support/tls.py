"""TLS contexts of test clients, which may meet a node in the moment it is killed."""

from __future__ import annotations

import ssl
from pathlib import Path


class Socket(ssl.SSLSocket):
    """One that is closed when its peer resets it before the handshake.

    Python 3.11 forgets that socket, which then ends a test as a resource that was not closed.
    """

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ConnectionResetError:
            self.close()
            raise


def trusting(cafile: str | Path) -> ssl.SSLContext:
    """Settings of a client that trusts what this certificate (PEM) vouches for."""
    context = ssl.create_default_context(cafile=str(cafile))
    context.sslsocket_class = Socket
    return context
