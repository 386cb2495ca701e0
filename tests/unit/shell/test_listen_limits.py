"""Listeners: caps, time-outs, back-pressure."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import pytest

from pyccf.http.limits import PIPELINE_MAX
from pyccf.http.message import Request, encode_response
from pyccf.http.session import Session
from pyccf.shell import http1, listen, wire
from support.listening import (
    IDLE_S,
    PATIENCE_S,
    Script,
    answer,
    ask,
    connect,
    connect_raw,
    listening,
    run,
    stays,
    until,
)

BUSY = encode_response(
    503,
    {"content-type": "application/json"},
    b'{"error":{"code":"SessionCapExhausted","message":'
    b'"Service is currently busy and unable to serve new connections"}}',
)

pytestmark = pytest.mark.usefixtures("sending")
both_kinds = pytest.mark.parametrize("tls", [True, False])


@both_kinds
def test_the_kernel_notices_clients_that_vanished(tls: bool) -> None:
    async def test() -> None:
        async with listening(Script(), tls=tls, idle_timeout_s=None) as listener:
            await connect(listener)
            (accepted,) = listener.connections
            with socket.socket(fileno=os.dup(accepted.descriptor)) as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                assert idle == listen.KEEPALIVE_S

    run(test())


@both_kinds
def test_no_connection_gets_a_descriptor_that_is_the_ledger_s(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        free = os.dup(0)
        os.close(free)
        async with listening(handler, tls=tls, descriptors=free + 30) as listener:
            client = await connect(listener)
            client.send(ask("/x"))
            await client.expect(answer("/x"))
            others = [os.dup(0) for _ in range(30)]
            try:
                reader, _ = await connect_raw(listener)
                with suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            finally:
                for other in others:
                    os.close(other)
            again = await connect(listener)
            again.send(ask("/y"))
            await again.expect(answer("/y"))

    run(test())


@both_kinds
def test_session_caps(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls, sessions_soft=2, sessions_hard=4) as listener:
            clients = [await connect(listener) for _ in range(2)]
            for client in clients:
                client.send(ask("/"))
                await client.expect(answer("/"))
            busy = await connect(listener)
            busy.send(ask("/never"))
            assert await busy.rest() == BUSY
            await busy.close()
            await until(lambda: listener.metrics()["active"] == 2)
            raw = [await connect_raw(listener) for _ in range(6)]
            await until(lambda: listener.metrics()["active"] == 4)
            closed = 0
            for reader, _ in raw:
                try:
                    await asyncio.wait_for(reader.readexactly(1), 0.1)
                except TimeoutError:
                    continue
                except (asyncio.IncompleteReadError, ConnectionError):
                    closed += 1
            assert closed == 4
            metrics = listener.metrics()
            assert metrics == {
                "active": 4,
                "errors": {
                    "parsing": 0,
                    "request_header_too_large": 0,
                    "request_payload_too_large": 0,
                },
                "hard_cap": 4,
                "peak": 4,
                "soft_cap": 2,
            }
            for _, writer in raw:
                writer.close()
            await until(lambda: listener.metrics()["active"] == 2)
            clients[0].send(ask("/again"))
            await clients[0].expect(answer("/again"))
            await clients[0].close()
            await until(lambda: listener.metrics()["active"] == 1)
            client = await connect(listener)
            client.send(ask("/room"))
            await client.expect(answer("/room"))
            assert listener.metrics()["peak"] == 4
            assert "/never" not in handler.handled
            await client.close()
            await clients[1].close()

    run(test())


@both_kinds
def test_idle_connections_are_closed_but_not_those_owed_an_answer(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls, idle_timeout_s=IDLE_S) as listener:
            waiting = await connect(listener)
            waiting.send(ask("/later"))
            await until(lambda: "/later" in handler.deferred)
            idle = await connect(listener)
            idle.send(ask("/"))
            await idle.expect(answer("/"))
            assert await idle.rest() == b""
            await until(lambda: listener.metrics()["active"] == 1)
            handler.deferred["/later"](answer("later"))
            assert await waiting.rest() == answer("later")

    run(test())


def test_idle_connections_may_stay_for_ever() -> None:
    async def test() -> None:
        async with listening(Script(), idle_timeout_s=None) as listener:
            client = await connect(listener)
            client.send(ask("/"))
            await client.expect(answer("/"))  # now its handshake is over, on both sides
            (connection,) = listener.connections
            for _ in range(1000):
                connection.tick(None, 1, 1)
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    run(test())


@pytest.mark.parametrize("idle_s", [0.0, 1e-6])
def test_an_idle_timeout_of_nothing_closes_what_is_idle(idle_s: float) -> None:
    async def test() -> None:
        async with listening(Script(), tls=False, idle_timeout_s=idle_s) as listener:
            client = await connect(listener)
            client.send(ask("/1"))
            assert await client.rest() == answer("/1")

    run(test())


def test_half_open_handshakes_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "HANDSHAKE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(listen, "SWEEP_S", 0.05)

    async def test() -> None:
        async with listening(Script(), idle_timeout_s=None) as listener:
            reader, writer = await connect_raw(listener)
            for byte in (b"\x16", b"\x03", b"\x01"):
                writer.write(byte)
                await asyncio.sleep(0.05)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
            writer.close()
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


def test_a_client_that_does_not_close_its_side_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "LINGER_S", 0.1)
    monkeypatch.setattr(listen, "SWEEP_S", 0.05)

    async def test() -> None:
        async with listening(Script(), tls=False, idle_timeout_s=None) as listener:
            reader, writer = await connect_raw(listener)
            writer.write(b"nonsense\r\n\r\n")
            await asyncio.wait_for(reader.read(-1), PATIENCE_S)
            while listener.metrics()["active"] and not writer.is_closing():
                writer.write(b"more")  # goes on sending
                await asyncio.sleep(0.01)
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


def test_a_client_that_reads_slowly_gets_the_last_answer_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "LINGER_S", 0.2)
    monkeypatch.setattr(listen, "SWEEP_S", 0.05)

    async def test() -> None:
        handler = Script()
        big = answer("x" * 20_000_000)
        handler.script["/big"] = lambda session, request: big
        async with listening(handler, tls=False) as listener:
            client = await connect(listener)
            client.send(ask("/big") + b"nonsense\r\n\r\n")
            await client.expect(big[:100_000])
            (connection,) = listener.connections
            transport = connection._transport
            assert transport is not None
            at = 100_000
            for _ in range(10):  # longer than it may linger
                await asyncio.sleep(0.05)
                assert transport.get_write_buffer_size()
                await client.expect(big[at : at + 100_000])
                at += 100_000
            await client.expect(big[at:])

    run(test())


@both_kinds
def test_a_client_that_does_not_read_is_not_read(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)
    total = 3000

    async def test() -> None:
        handler = Script()
        big = answer("x" * 10_000)
        handler.script["/big"] = lambda session, request: big
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for _ in range(total):
                client.send(ask("/big"))
            await until(lambda: bool(handler.handled))
            assert await stays(lambda: len(handler.handled)) < total
            (connection,) = listener.connections
            transport = connection._transport
            assert transport is not None
            waiting = transport.get_write_buffer_size()
            assert 0 < waiting < 100_000 + http1.TURN_OUTPUT_MAX + 2 * len(big)
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(total):
                await client.expect(big)
            assert len(handler.handled) == total
            client.send(ask("/after"))
            await client.expect(answer("/after"))
            await client.close()

    run(test())


def test_a_client_that_never_reads_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)

    async def test() -> None:
        handler = Script()
        handler.script["/big"] = lambda session, request: answer("x" * 20_000_000)
        async with listening(handler, tls=False, idle_timeout_s=0.2) as listener:
            reader, writer = await connect_raw(listener)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(ask("/big"))
            await until(lambda: handler.handled == ["/big"])
            await until(lambda: listener.metrics()["active"] == 0)
            writer.close()
            del reader

    run(test())


@both_kinds
def test_only_so_many_requests_wait_for_their_answers(tls: bool) -> None:
    total = 5 * PIPELINE_MAX

    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            paths = [f"/later{number}" for number in range(total)]
            for path in paths:
                client.send(ask(path))
            await until(lambda: len(handler.handled) >= PIPELINE_MAX)
            assert await stays(lambda: len(handler.handled)) == PIPELINE_MAX
            for number, path in enumerate(paths):
                await until(lambda path=path: path in handler.deferred)  # type: ignore[misc]
                assert len(handler.handled) <= number + PIPELINE_MAX
                handler.deferred[path](answer(path))
                await client.expect(answer(path))
            await client.close()

    run(test())


def test_one_client_does_not_keep_the_others_waiting() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=False) as listener:
            client = await connect(listener)
            total = 4 * http1.TURN_REQUESTS_MAX
            order: list[str] = []

            def mine(session: Session, request: Request) -> bytes:
                if not order:
                    asyncio.get_running_loop().call_soon(order.append, "other")
                order.append("mine")
                return answer("m")

            handler.script["/mine"] = mine
            client.send(ask("/mine") * total)
            await client.expect(answer("m") * total)
            assert 0 < order.index("other") <= http1.TURN_REQUESTS_MAX
            assert handler.turns >= 4
            await client.close()

    run(test())
