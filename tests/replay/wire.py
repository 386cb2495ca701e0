"""Connections to a node, byte by byte: TLS or plain, HTTP/1.1, one frame library for HTTP/2."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

from support.node import Reply

ANSWER_TIMEOUT_S = 12.0
SILENCE_S = 1.5
"""How long nothing must come where nothing was recorded."""
CLOSE_S = 0.5
CHUNK = 65536


class NoAnswer(Exception):
    """Nothing came; the text says why."""


class Line:
    """A TCP connection, with TLS unless plain."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        plain: bool = False,
        cert: Path | None = None,
        alpn: list[str] | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.rest = b""
        self.socket: socket.socket = socket.create_connection(address, ANSWER_TIMEOUT_S)
        if plain:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = newest
        if cert is not None:
            context.load_cert_chain(cert)
        if alpn is not None:
            context.set_alpn_protocols(alpn)
        try:
            self.socket = context.wrap_socket(self.socket)
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()

    def send(self, data: bytes) -> None:
        # A peer that refuses early closes while we still write; its answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.socket.sendall(data)

    def more(self, timeout_s: float) -> bytes:
        """What comes next; empty when the peer closed. Raises TimeoutError."""
        self.socket.settimeout(timeout_s)
        try:
            return self.socket.recv(CHUNK)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def reply(self, *, head: bool, timeout_s: float = ANSWER_TIMEOUT_S) -> bytes:
        """One answer, whole. Raises NoAnswer."""
        deadline = time.monotonic() + timeout_s
        data = self.rest
        while (end := _end(data, head)) is None:
            left = deadline - time.monotonic()
            try:
                got = self.more(max(left, 0.001))
            except TimeoutError:
                raise NoAnswer(f"no answer within {timeout_s:g} s") from None
            if not got:
                raise NoAnswer("connection closed without an answer")
            data += got
        self.rest = data[end:]
        return data[:end]

    def closed(self) -> bool:
        """Whether the peer closes within a moment."""
        try:
            return not self.more(CLOSE_S)
        except TimeoutError:
            return False


def _end(data: bytes, head: bool) -> int | None:
    """Where the first answer of what came ends; None while it is incomplete."""
    start, blank, _ = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    length = 0 if head else int(Reply(start + blank).headers.get("content-length", "0"))
    end = len(start) + len(blank) + length
    return end if len(data) >= end else None
