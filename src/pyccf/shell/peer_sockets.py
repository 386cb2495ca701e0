"""Sockets between nodes: listening, dialling, and having the kernel notice who is gone.

A machine that vanishes sends nothing, not even the end of a connection. Both sides therefore ask
the kernel to give up after `DEAD_AFTER_MS` without acknowledgement, which is also the longest pause
between two attempts of the kernel to send again: when a partition heals, messages flow at once or
after a new connection. (spec: node-to-node.md §2, §6)
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

from pyccf.errors import LocalError
from pyccf.shell.keep_alive import keep_alive
from pyccf.shell.listen import join_address, split_address

DEAD_AFTER_MS = 2000
KEEPALIVE_S = 1
KEEPALIVE_PROBES = 3


async def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket; what is accepted on it is watched over. Raises LocalError."""
    sock: socket.socket | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, target = found[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _watch(sock)
        sock.bind(target)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise LocalError(
            f"Cannot listen on {join_address(host, port)}"
            f" (network.node_to_node_interface): {cause(error)}",
            hint="Stop whatever uses this address, or choose another one (port 0 is free).",
        ) from None
    return sock


async def dial(address: str, local_address: str | None) -> socket.socket:
    """A TCP connection to "host:port", from a local host or host:port if one is given.

    Tries all addresses of the name. Raises OSError of the last one, LocalError for bad addresses.
    """
    loop = asyncio.get_running_loop()
    host, port = split_address(address)
    failure: OSError = OSError(0, "the name has no address")
    for family, kind, protocol, _, target in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            _watch(sock)
            if local_address is not None:
                sock.bind(await _local(local_address, family))
            await loop.sock_connect(sock, target)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _local(text: str, family: int) -> tuple[object, ...]:
    """The address to dial from."""
    host, port = text.strip("[]"), 0
    with suppress(LocalError):
        host, port = split_address(text)
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM
    )
    return found[0][4]


def _watch(sock: socket.socket) -> None:
    """Notice that the other machine is gone, and send small messages at once."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    keep_alive(sock, KEEPALIVE_S, KEEPALIVE_PROBES, {"TCP_USER_TIMEOUT": DEAD_AFTER_MS})


def cause(error: OSError) -> str:
    """What the operating system says is wrong."""
    if error.errno is not None and error.errno > 0 and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)
