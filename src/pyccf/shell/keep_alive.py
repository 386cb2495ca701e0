"""Having the kernel notice that the other side of a connection vanished."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def keep_alive(
    sock: socket.socket, every_s: int, probes: int, more: Mapping[str, int] | None = None
) -> None:
    """Ask whether the other side is still there when nothing was heard for so long, so many times.

    What a listening socket accepts inherits it. `more` are further options of TCP by name. Those
    that an operating system does not have are left out.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {"TCP_KEEPIDLE": every_s, "TCP_KEEPINTVL": every_s, "TCP_KEEPCNT": probes}
    for name, value in (wanted | dict(more or {})).items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
