"""Listeners: order of answers, what is refused, addresses, start and end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any

import pytest

from pyccf.errors import LocalError
from pyccf.http.limits import HttpLimits
from pyccf.http.message import Request, encode_response
from pyccf.http.session import Session
from pyccf.shell import listen
from pyccf.shell.listen import Listener, join_address, split_address
from support.listening import (
    PATIENCE_S,
    Script,
    answer,
    ask,
    client_tls,
    connect,
    connect_raw,
    half_closing,
    listening,
    run,
    until,
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
