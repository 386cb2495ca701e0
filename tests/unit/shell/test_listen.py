"""Listeners: sockets, TLS, order of answers, caps, time-outs, back-pressure."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from pyccf.errors import LocalError
from pyccf.http.limits import PIPELINE_MAX, HttpLimits
from pyccf.http.message import Request, encode_response
from pyccf.http.session import Session
from pyccf.shell import http1, listen, wire
from pyccf.shell.listen import Listener, join_address, split_address
from support.listening import (
    IDLE_S,
    PATIENCE_S,
    Script,
    answer,
    ask,
    certificate,
    client_tls,
    connect,
    connect_raw,
    half_closing,
    listening,
    present,
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


# Requests and answers


@both_kinds
def test_a_connection_is_kept_for_many_requests(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            for number in range(3):
                client.send(ask(f"/{number}"))
                await client.expect(answer(f"/{number}"))
            client.send(ask("/x").replace(b"host: h", b"connection: close"))
            await client.expect(answer("/x"))
            assert await client.silent()
            assert handler.turns == 4
            assert [session.interface for session in handler.sessions] == ["rpc"]
            await client.close()
            await until(lambda: handler.closed == handler.sessions)

    run(test())


@both_kinds
def test_pipelined_requests_are_answered_in_one_turn(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(b"".join(ask(f"/{i}") for i in range(4)))
            await client.expect(b"".join(answer(f"/{i}") for i in range(4)))
            assert handler.turns == 1
            await client.close()

    run(test())


@both_kinds
def test_answers_keep_the_order_of_requests(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            paths = ["/1", "/later2", "/3", "/later4", "/5"]
            client.send(b"".join(ask(path) for path in paths))
            await client.expect(answer("/1"))
            handler.deferred["/later4"](answer("four"))
            assert await client.silent()
            client.send(ask("/6"))
            await until(lambda: "/6" in handler.handled)
            handler.deferred["/later2"](answer("two"))
            for text in ("two", "/3", "four", "/5", "/6"):
                await client.expect(answer(text))
            client.send(ask("/later7"))
            await until(lambda: "/later7" in handler.handled)
            handler.deferred["/later7"](answer("seven"))
            await client.expect(answer("seven"))
            with pytest.raises(AssertionError, match="answered once"):
                handler.deferred["/later7"](answer("seven"))
            await client.close()

    run(test())


@both_kinds
def test_before_answers_leave_the_handler_is_asked_and_may_end_all(tls: bool) -> None:
    """As a node does whose disk fails: nothing it was about to say is heard."""

    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:

            def end() -> None:
                assert handler.handled[2:] == ["/read"]
                for connection in list(listener.connections):
                    connection.abort()

            clients = [await connect(listener) for _ in range(2)]
            for client in clients:
                client.send(ask("/first"))
                await client.expect(answer("/first"))
            handler.before = end
            clients[0].send(ask("/read"))
            assert await clients[0].rest() == b""
            assert await clients[1].rest() == b""

    run(test())


@both_kinds
@pytest.mark.parametrize("closing", ["by the client", "by the handler", "after a mistake"])
def test_before_the_last_answer_leaves_the_handler_is_asked(closing: str, tls: bool) -> None:
    """Also when the connection is closed with it: it may acknowledge something too."""

    async def test() -> None:
        handler = Script()

        def last(session: Session, request: Request) -> bytes:
            session.close_after = closing == "by the handler"
            return answer("last")

        handler.script["/last"] = last
        async with listening(handler, tls=tls) as listener:

            def end() -> None:
                asked.append(list(handler.handled))
                for connection in list(listener.connections):
                    connection.abort()

            asked: list[list[str]] = []
            client = await connect(listener)
            client.send(ask("/first"))
            await client.expect(answer("/first"))  # by then the TLS handshake is over here, too
            handler.before = end
            request = ask("/last")
            if closing == "by the client":
                request = request.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
            client.send(request + b"?\r\n" * (closing == "after a mistake"))
            assert await client.rest() == b""
            assert asked[0] == ["/first", "/last"]

    run(test())


@both_kinds
def test_who_is_cut_off_hears_nothing_of_what_was_about_to_be_said(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/first"))
            await client.expect(answer("/first"))
            (connection,) = listener.connections
            connection.write(answer("/second"))
            connection.abort()
            connection.write(answer("/third"))
            assert await client.rest() == b""

    run(test())


def test_an_answer_may_be_delivered_while_its_request_is_handled() -> None:
    async def test() -> None:
        handler = Script()

        def at_once(session: Session, request: Request) -> None:
            session.defer()(answer("now"))

        handler.script["/now"] = at_once
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/now"))
            await client.expect(answer("now"))
            client.send(ask("/now") + ask("/1") + ask("/now"))
            await client.expect(answer("now") + answer("/1") + answer("now"))
            await client.close()

    run(test())


def test_an_answer_for_a_client_that_left_is_dropped() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/later"))
            await until(lambda: "/later" in handler.deferred)
            await client.close()
            await until(lambda: bool(handler.closed))
            handler.deferred["/later"](answer("late"))
            assert listener.metrics()["active"] == 0

    run(test())


@both_kinds
def test_a_session_may_be_closed_after_an_answer(tls: bool) -> None:
    async def test() -> None:
        handler = Script()

        def last(session: Session, request: Request) -> bytes:
            session.close_after = True
            return answer("last")

        handler.script["/last"] = last
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/last"))
            assert await client.rest() == answer("last")
            client = await connect(listener)
            client.send(ask("/later") + ask("/last") + ask("/never"))
            await until(lambda: "/last" in handler.handled[1:])
            handler.deferred["/later"](answer("first"))
            assert await client.rest() == answer("first") + answer("last")
            assert "/never" not in handler.handled

    run(test())


def test_a_deferred_answer_may_close_the_session() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/later"))
            await until(lambda: "/later" in handler.deferred)
            handler.sessions[0].close_after = True
            handler.deferred["/later"](answer("lost consistency"))
            assert await client.rest() == answer("lost consistency")

    run(test())


@both_kinds
def test_large_bodies_and_answers(tls: bool) -> None:
    async def test() -> None:
        handler = Script()

        def echo(session: Session, request: Request) -> bytes:
            return encode_response(200, {}, request.body * 5)

        handler.script["/echo"] = echo
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            body = bytes(range(256)) * 4096
            for _ in range(2):
                client.send(b"POST /echo HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await client.expect(encode_response(200, {}, body * 5))
            await client.close()

    run(test())


@both_kinds
def test_a_request_in_many_pieces(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            for piece in (b"GET /a", b"b HTTP/1.1\r\nho", b"st: h\r\n\r", b"\nGET /c HTTP/1.1"):
                client.send(piece)
                await asyncio.sleep(0.02)
            await client.expect(answer("/ab"))
            client.send(b"\r\n\r\n")
            await client.expect(answer("/c"))
            await client.close()

    run(test())


@both_kinds
def test_a_client_that_closes_its_side_still_gets_what_it_asked(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            asked = ask("/1") + ask("/later")
            got = asyncio.create_task(half_closing(listener, asked, tls=tls))
            await until(lambda: bool(handler.deferred))
            await asyncio.sleep(0.05)
            handler.deferred["/later"](answer("later"))
            assert await got == answer("/1") + answer("later")
            await until(lambda: bool(handler.closed))

    run(test())


@pytest.mark.parametrize("paths", [["/1"], ["/1", "/2"]])
def test_a_client_that_asks_and_says_goodbye_in_one_breath_is_answered(paths: list[str]) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_tls().wrap_bio(incoming, outgoing)
            reader, writer = await connect_raw(listener)
            while True:
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                writer.write(outgoing.read())
                incoming.write(await reader.read(10_000))
            tls.write(b"".join(map(ask, paths)))
            with suppress(ssl.SSLWantReadError):
                tls.unwrap()
            writer.write(outgoing.read())
            incoming.write(await reader.read())
            assert tls.read(10_000) == b"".join(map(answer, paths))
            writer.close()

    run(test())


def test_an_exception_of_the_handler_closes_the_connection_and_is_told() -> None:
    async def test() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        handler = Script()

        def broken(session: Session, request: Request) -> bytes:
            raise KeyError("ours")

        handler.script["/broken"] = broken
        async with listening(handler) as listener:
            for data in (ask("/broken"), ask("/1") + ask("/broken")):
                client = await connect(listener)
                client.send(data)
                assert await client.rest() == b""
            await until(lambda: len(handler.closed) == 2)
            assert [type(context["exception"]) for context in told] == [KeyError, KeyError]
            client = await connect(listener)
            client.send(ask("/fine"))
            await client.expect(answer("/fine"))
            await client.close()

    run(test())


# What is refused


@both_kinds
def test_a_parse_error_is_answered_after_the_requests_before_it(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/1") + ask("/later") + b"nonsense\r\n\r\n")
            await client.expect(answer("/1"))
            client.send(ask("/never"))
            await asyncio.sleep(0.05)
            handler.deferred["/later"](answer("later"))
            rest = await client.rest()
            assert rest.startswith(answer("later") + b"HTTP/1.1 400 BAD_REQUEST\r\n")
            assert b"HPE_INVALID_METHOD" in rest
            assert "/never" not in handler.handled
            errors = listener.metrics()["errors"]
            assert (errors["parsing"], errors["request_header_too_large"]) == (1, 0)

    run(test())


@both_kinds
def test_a_refusal_reaches_a_client_that_is_still_sending(tls: bool) -> None:
    async def test() -> None:
        async with listening(Script(), tls=tls, limits=HttpLimits(max_body_size=1000)) as listener:
            client = await connect(listener)
            client.send(b"POST / HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n")
            for _ in range(100):
                client.send(b"x" * 50_000)
            rest = await client.rest()
            assert rest.startswith(b"HTTP/1.1 413 PAYLOAD_TOO_LARGE\r\n")
            assert b"RequestBodyTooLarge" in rest
            assert listener.metrics()["errors"]["request_payload_too_large"] == 1
            await client.close()

    run(test())


def test_headers_too_large_are_counted() -> None:
    async def test() -> None:
        async with listening(Script(), limits=HttpLimits(max_header_size=10)) as listener:
            client = await connect(listener)
            client.send(b"GET / HTTP/1.1\r\nx: 12345678901\r\n\r\n")
            assert (await client.rest()).startswith(b"HTTP/1.1 431 ")
            assert listener.metrics()["errors"]["request_header_too_large"] == 1

    run(test())


def test_tls_bytes_to_a_plain_interface_get_a_parse_error() -> None:
    async def test() -> None:
        async with listening(Script(), tls=False) as listener:
            client = await connect(listener)
            client.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x01")
            assert (await client.rest()).startswith(b"HTTP/1.1 400 BAD_REQUEST\r\n")

    run(test())


def test_http_text_to_a_tls_interface_gets_no_answer() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            reader, writer = await connect_raw(listener)
            writer.write(ask("/"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE_S)
            writer.close()
            await until(lambda: listener.metrics()["active"] == 0)
            assert handler.sessions == []

    run(test())


# TLS


@pytest.mark.parametrize(
    ("version", "cipher"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (ssl.TLSVersion.TLSv1_3, "TLS_AES_256_GCM_SHA384"),
    ],
)
def test_versions_and_ciphers(version: ssl.TLSVersion, cipher: str) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.minimum_version = context.maximum_version = version
            client = await connect(listener, context)
            assert client.writer.get_extra_info("cipher")[0] == cipher
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    run(test())


@pytest.mark.parametrize(
    "prepare",
    [
        lambda context: context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305"),
        lambda context: context.set_ecdh_curve("secp256k1"),
    ],
)
def test_what_is_not_offered_is_refused(prepare: Any) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            prepare(context)
            with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"):
                await connect(listener, context)

    run(test())


def test_groups() -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            for group, name in (("P-521", "secp521r1"), ("P-384", "secp384r1")):
                assert await asyncio.to_thread(negotiated, listener.address, group) == name
            assert await asyncio.to_thread(negotiated, listener.address, "P-256") is not None
            with pytest.raises(SSL.Error):
                await asyncio.to_thread(negotiated, listener.address, "X25519")

    run(test())


def negotiated(address: str, group: str) -> str | None:
    """The group of a handshake in which the client offers only this one."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    assert lib.SSL_CTX_set1_curves_list(context._context, group.encode()) == 1
    with socket.create_connection(split_address(address), timeout=PATIENCE_S) as sock:
        sock.settimeout(None)
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        connection.do_handshake()
        return connection.get_group_name()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["http/1.1"], "http/1.1"),
        (["h2", "http/1.1"], "http/1.1"),
        (["h2"], None),
        (["x"], None),
    ],
)
def test_alpn(offered: list[str] | None, chosen: str | None) -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            client = await connect(listener, client_tls(offered))
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_any_client_certificate_is_taken_and_known(version: ssl.TLSVersion, tmp_path: Path) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            expected: list[bytes | None] = []
            for given in (None, certificate("stranger"), certificate("old", expired=True)):
                context = client_tls()
                context.minimum_version = context.maximum_version = version
                if given is not None:
                    present(context, tmp_path, given[0], given[1])
                expected.append(None if given is None else given[2])
                client = await connect(listener, context)
                client.send(ask("/"))
                await client.expect(answer("/"))
                await client.close()
            assert [session.peer_cert for session in handler.sessions] == expected

    run(test())


def test_there_is_no_resumption() -> None:
    async def test() -> None:
        async with listening(Script()) as listener:
            context = client_tls()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            for _ in range(2):
                assert not await asyncio.to_thread(resumed, listener.address, context)

    run(test())


def resumed(address: str, context: ssl.SSLContext) -> bool:
    """Whether a second connection could go on with the first one's session."""
    session = None
    for _ in range(2):
        with (
            socket.create_connection(split_address(address), timeout=PATIENCE_S) as sock,
            context.wrap_socket(sock, session=session) as tls,
        ):
            session = tls.session
            reused = bool(tls.session_reused)
    return reused


def test_certificates_come_and_change() -> None:
    async def test() -> None:
        handler = Script()
        listener = Listener("rpc", "127.0.0.1:0", handler)
        await listener.start()
        try:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await connect(listener)
            assert listener.metrics()["active"] == listener.metrics()["peak"] == 0
            first = None
            for name in ("first", "second"):
                cert_pem, key_pem, der = certificate(name)
                listener.set_certificate(cert_pem, key_pem)
                client = await connect(listener)
                assert client.writer.get_extra_info("ssl_object").getpeercert(True) == der
                first = first or client
            assert first is not None
            first.send(ask("/still"))
            await first.expect(answer("/still"))
            await first.close()
            await client.close()
        finally:
            await listener.close()

    run(test())


# Caps, time-outs, back-pressure


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


# Addresses, start and end


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("[::1]:0", "::1", 0),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)
    assert join_address(host, port) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1",
        ":80",
        "h:",
        "h:x",
        "h:-1",
        "h:65536",
        "::1:80",
        "h:\u0663",
        "[]:1",
        "h:" + "9" * 5000,
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(LocalError, match="is not an address to listen on"):
        split_address(text)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
def test_the_port_is_told(address: str) -> None:
    async def test() -> None:
        async with listening(Script(), address, tls=False) as listener:
            assert split_address(listener.address)[1] > 0
            client = await connect(listener)
            client.send(ask("/"))
            await client.expect(answer("/"))
            await client.close()

    if address.startswith("[") and not ipv6_works():
        pytest.skip("this machine has no IPv6 loopback")
    run(test())


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_an_address_that_cannot_be_had() -> None:
    async def test() -> None:
        async with listening(Script(), tls=False) as listener:
            second = Listener("second", listener.address, Script())
            with pytest.raises(LocalError) as caught:
                await second.start()
            assert caught.value.message == (
                f"interface 'second' cannot listen on {listener.address}: Address already in use"
            )
            await second.close()
        for address in ("192.0.2.1:0", "no-such-host.invalid:0"):
            with pytest.raises(LocalError, match="interface 'rpc' cannot listen on "):
                await Listener("rpc", address, Script()).start()

    run(test())


@both_kinds
def test_closing_lets_answers_out(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls) as listener:
            address = listener.address
            idle = await connect(listener)
            idle.send(ask("/"))
            await idle.expect(answer("/"))
            waiting = await connect(listener)
            waiting.send(ask("/later"))
            await until(lambda: "/later" in handler.deferred)
            closing = asyncio.create_task(listener.close())
            assert await idle.rest() == b""
            await until(lambda: listener.metrics()["active"] == 1)
            with pytest.raises(OSError):
                await asyncio.open_connection(*split_address(address))
            waiting.send(ask("/too-late"))
            await asyncio.sleep(0.05)
            assert not closing.done()
            handler.deferred["/later"](answer("later"))
            assert await waiting.rest() == answer("later")
            await waiting.close()
            await closing
            assert handler.handled == ["/", "/later"]
            assert len(handler.closed) == 2

    run(test())


def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "CLOSE_GRACE_S", 0.1)

    async def test() -> None:
        handler = Script()
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/later"))
            await until(lambda: "/later" in handler.deferred)
            await connect_raw(listener)
            await asyncio.wait_for(listener.close(), 5)
            assert await client.rest() == b""
            assert listener.metrics()["active"] == 0

    run(test())
