"""Sockets between nodes: the kernel's patience, addresses, refusals in words."""

from __future__ import annotations

import asyncio
import socket

import pytest

from pyccf.errors import LocalError
from pyccf.shell.peer_sockets import DEAD_AFTER_MS, dial, listening_socket
from support.listening import run


def options(sock: socket.socket) -> tuple[int, int, int]:
    return (
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    )


def test_both_sides_are_watched_over() -> None:
    async def test() -> None:
        with await listening_socket("127.0.0.1", 0) as listening:
            listening.listen(1)
            port = listening.getsockname()[1]
            with await dial(f"127.0.0.1:{port}", None) as dialled:
                accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
                with accepted:
                    assert options(accepted) == options(dialled) == (1, 1, DEAD_AFTER_MS)

    run(test())


@pytest.mark.parametrize("local", ["127.0.0.3", "127.0.0.3:0", "localhost"])
def test_dials_from_the_address_it_is_told(local: str) -> None:
    async def test() -> None:
        with await listening_socket("127.0.0.1", 0) as listening:
            listening.listen(1)
            port = listening.getsockname()[1]
            with await dial(f"127.0.0.1:{port}", local) as dialled:
                expected = "127.0.0.1" if local == "localhost" else "127.0.0.3"
                assert dialled.getsockname()[0] == expected

    run(test())


def test_refusals() -> None:
    async def test() -> None:
        with await listening_socket("127.0.0.1", 0) as listening:
            port = listening.getsockname()[1]
            with pytest.raises(ConnectionRefusedError):
                await dial(f"127.0.0.1:{port}", None)
            with pytest.raises(LocalError, match="'nowhere' is not an address"):
                await dial("nowhere", None)
            listening.listen(1)
            with pytest.raises(LocalError, match=r"node_to_node_interface\): Address already in"):
                await listening_socket("127.0.0.1", port)
            with pytest.raises(OSError, match="assign requested address"):
                await dial(f"127.0.0.1:{port}", "203.0.113.7")

    run(test())
