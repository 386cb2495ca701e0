"""A network between nodes that can be cut and slowed down, one direction at a time, without rights.

Each node publishes an address of the proxy as its own node-to-node address, and dials from a local
address of its own, by which the proxy knows whose connection it is. Bytes of a connection in either
direction belong to the way from one node to another.

A way that is cut loses nothing and delivers nothing, like a network that drops all packets while
the sender's system keeps repeating them: bytes, and the end of a connection, arrive once it heals,
in order. `reset` breaks connections, as a machine does that has forgotten them.

Refuses connections from addresses that belong to no node, and counts them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

HOST = "127.0.0.1"
CHUNK = 64 * 1024
BUFFER = 16
"""Chunks that wait on one way of one connection before its sender has to wait."""
TIMEOUT_S = 60.0

T = TypeVar("T")
Way = tuple[int, int]


class _Gate:
    """Whether a way is open, and how long it takes."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay_s = 0.0


class FaultProxy:
    """Ways between numbered nodes, kept by a thread of its own. Use it in a `with` statement."""

    def __init__(self) -> None:
        self.strangers = 0
        """Connections from addresses of no node."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._gates: defaultdict[Way, _Gate] = defaultdict(_Gate)
        self._targets: dict[int, Callable[[], tuple[str, int] | None]] = {}
        self._dialled: dict[tuple[int, int], set[asyncio.StreamWriter]] = defaultdict(set)
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        self._loop.close()

    @staticmethod
    def source(node: int) -> str:
        """The local address that a node must dial from."""
        assert 0 <= node < 200
        return f"127.0.1.{node + 1}"

    def listen(self, node: int, target: Callable[[], tuple[str, int] | None]) -> str:
        """An address that leads to a node: the one to publish.

        `target` says where the node really listens, or None while that is not known.
        """
        self._targets[node] = target
        return self._call(self._listen(node))

    # -- faults ----------------------------------------------------------------------------------

    def cut(self, one: int, two: int) -> None:
        """Nothing gets from `one` to `two` any more; the other direction stays as it is."""
        self._run(lambda: self._gates[one, two].open.clear())

    def part(self, *groups: list[int]) -> None:
        """Nodes reach only those of their own group."""
        for group in groups:
            for other in groups:
                if other is not group:
                    for one in group:
                        for two in other:
                            self.cut(one, two)

    def delay(self, one: int, two: int, seconds: float) -> None:
        """What `one` sends to `two` takes so much longer."""

        def change() -> None:
            self._gates[one, two].delay_s = seconds

        self._run(change)

    def reset(self, one: int, two: int) -> None:
        """Break all connections between two nodes, whoever dialled."""

        def abort() -> None:
            for pair in ((one, two), (two, one)):
                for writer in self._dialled[pair]:
                    writer.transport.abort()

        self._run(abort)

    def heal(self) -> None:
        """All ways are open, and as fast as they can be."""

        def change() -> None:
            for gate in self._gates.values():
                gate.delay_s = 0.0
                gate.open.set()

        self._run(change)

    # -- the loop's side -------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT_S)

    def _run(self, change: Callable[[], None]) -> None:
        async def now() -> None:
            change()

        self._call(now())

    async def _listen(self, node: int) -> str:
        server = await asyncio.start_server(lambda r, w: self._serve(node, r, w), HOST, 0)
        self._servers.append(server)
        host, port = server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _serve(
        self, node: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection to a node, until both directions have ended."""
        ours: list[asyncio.StreamWriter] = [writer]
        dialler = None
        try:
            dialler = self._node_at(writer.get_extra_info("peername")[0])
            target = self._targets[node]()
            if dialler is None or target is None:
                self.strangers += dialler is None
                return
            # The dialler's first packet must get through before there is a connection.
            await self._gates[dialler, node].open.wait()
            there_reader, there = await asyncio.open_connection(*target)
            ours.append(there)
            self._dialled[dialler, node].update(ours)
            await asyncio.gather(
                self._carry(reader, there, self._gates[dialler, node]),
                self._carry(there_reader, writer, self._gates[node, dialler]),
            )
        except OSError:
            pass  # one of the two ended: so does this connection
        finally:
            for one in ours:
                one.transport.abort()
                if dialler is not None:
                    self._dialled[dialler, node].discard(one)

    def _node_at(self, host: str) -> int | None:
        return next((node for node in self._targets if self.source(node) == host), None)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: _Gate
    ) -> None:
        """One direction: each chunk leaves when it is due and the way is open; so does the end."""
        chunks: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(BUFFER)

        async def take() -> None:
            chunk: bytes | None = b"-"
            while chunk:
                try:
                    chunk = await reader.read(CHUNK)
                except OSError:
                    chunk = None
                await chunks.put((self._loop.time() + gate.delay_s, chunk))

        taking = self._loop.create_task(take())
        try:
            while True:
                due, chunk = await chunks.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await gate.open.wait()
                if chunk is None:
                    raise ConnectionResetError
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()
        finally:
            taking.cancel()
