"""HTTP/2 over sockets: a session for each stream, answers as they come, streams, ends."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes

from pyccf.http.limits import FIELD_COST, MB, PIPELINE_MAX, REQUEST_COST, RESERVE_SIZE, HttpLimits
from pyccf.http.message import Request
from pyccf.http.room import Room
from pyccf.http.session import STREAM_ROOM, STREAM_WAITING_MAX, Session
from pyccf.shell import listen, wire
from pyccf.shell.listen import Listener
from support.h2_client import H2Client, head
from support.listening import (
    IDLE_S,
    Script,
    answer,
    ask,
    client_tls,
    connect,
    connect_raw,
    listening,
    run,
    until,
)
from support.streaming import Tap, Well

HEAD_SIZE = REQUEST_COST + sum(FIELD_COST + len(name + value) for name, value in head("POST", "/"))

pytestmark = pytest.mark.usefixtures("sending")
both_kinds = pytest.mark.parametrize("tls", [True, False])


async def speak(listener: Listener, *, reads: bool = True) -> H2Client:
    context = client_tls(["h2"]) if listener.tls else None
    return H2Client(await connect(listener, context), reads=reads)


@both_kinds
def test_each_stream_has_its_session_and_its_answer(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls, http2=True) as listener:
            client = await speak(listener)
            later = client.talker.ask("GET", "/later1")
            got = await client.ask("POST", "/now", body=b"x")
            assert (got.status, got.body) == (200, b"/now")
            assert (await client.ask("GET", "/again")).body == b"/again"
            assert len(handler.sessions) == 3
            assert len({session.id for session in handler.sessions}) == 3
            assert handler.closed == handler.sessions[1:]
            handler.deferred["/later1"](answer("one"))
            assert (await client.answer(later)).body == b"one"
            assert set(handler.closed) == set(handler.sessions)
            assert listener.metrics()["peak"] == 1
            with pytest.raises(AssertionError, match="answered once"):
                handler.deferred["/later1"](answer("one"))
            await client.client.close()

    run(test())


def test_the_protocol_is_offered_and_not_insisted_upon() -> None:
    async def test() -> None:
        async with listening(Script(), http2=True) as listener:
            for offered, chosen in (
                (["h2"], "h2"),
                (["http/1.1", "h2"], "h2"),
                (["http/1.1"], None),
                (None, None),
            ):
                raw = await connect(listener, client_tls(offered))
                tls = raw.writer.get_extra_info("ssl_object")
                assert tls.selected_alpn_protocol() == chosen
                client = H2Client(raw)
                assert (await client.ask("GET", "/x")).body == b"/x"
                await raw.close()

    run(test())


@both_kinds
def test_another_protocol_is_closed_without_a_word(tls: bool) -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, tls=tls, http2=True) as listener:
            client = await connect(listener)
            client.send(ask("/x"))
            assert await client.rest() == b""
            assert listener.metrics()["errors"]["parsing"] == 1
            assert handler.sessions == []

    run(test())


def test_what_is_refused_is_counted_and_ends_the_connection() -> None:
    async def test() -> None:
        limits = HttpLimits(max_body_size=10, max_header_size=100)
        async with listening(Script(), http2=True, limits=limits) as listener:
            for wanted, more, body in (
                (413, (), b"x" * 11),
                (431, (("x-a", "v" * 101),), None),
            ):
                client = await speak(listener)
                got = await client.ask("POST", "/x", *more, body=body)
                assert got.status == wanted
                await client.end()
            assert listener.metrics()["errors"] == {
                "parsing": 0,
                "request_header_too_large": 1,
                "request_payload_too_large": 1,
            }

    run(test())


def test_a_session_that_ends_takes_the_connection_along() -> None:
    async def test() -> None:
        handler = Script()

        def last(session: Session, request: Request) -> bytes:
            session.close_after = True
            return answer("last")

        handler.script["/last"] = last
        async with listening(handler, http2=True) as listener:
            client = await speak(listener)
            waiting = client.talker.ask("GET", "/later")
            assert (await client.ask("GET", "/last")).body == b"last"
            await client.end()
            assert not client.talker.got[waiting].over
            await until(lambda: set(handler.closed) == set(handler.sessions))
            handler.deferred["/later"](answer("too late"))

    run(test())


def test_a_client_above_the_soft_cap_is_told_so() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, http2=True, sessions_soft=1) as listener:
            first = await speak(listener)
            assert (await first.ask()).status == 200
            second = await speak(listener)
            got = await second.ask()
            assert got.status == 503
            assert b"SessionCapExhausted" in got.body
            await second.end()
            assert len(handler.sessions) == 1
            await first.client.close()

    run(test())


def test_closing_lets_owed_answers_out_and_says_goodbye() -> None:
    async def test() -> None:
        handler = Script()
        async with listening(handler, http2=True) as listener:
            idle = await speak(listener)
            assert (await idle.ask()).status == 200
            client = await speak(listener)
            stream = client.talker.ask("GET", "/later")
            client.flush()
            await until(lambda: "/later" in handler.handled)
            closing = asyncio.ensure_future(listener.close())
            await idle.end()
            assert idle.talker.goodbye == 0
            late = client.talker.ask("GET", "/late")
            assert (await client.answer(late)).reset == int(ErrorCodes.REFUSED_STREAM)
            handler.deferred["/later"](answer("still"))
            await client.end()
            assert client.talker.got[stream].body == b"still"
            assert client.talker.goodbye == 0
            await client.client.close()
            await idle.client.close()
            await closing

    run(test())


def test_idle_connections_are_closed_with_a_word() -> None:
    async def test() -> None:
        async with listening(Script(), http2=True, idle_timeout_s=IDLE_S) as listener:
            client = await speak(listener)
            assert (await client.ask()).status == 200
            await client.end()
            assert client.talker.goodbye == 0

    run(test())


def test_a_client_that_never_opens_its_windows_is_closed() -> None:
    async def test() -> None:
        handler = Script()
        handler.script["/big"] = lambda session, request: answer("x" * 300_000)
        async with listening(handler, http2=True, idle_timeout_s=0.2) as listener:
            client = await speak(listener, reads=False)
            for _ in range(50):
                client.talker.ask("GET", "/big")
            client.flush()
            await client.end()
            assert len(handler.handled) < 10, "requests wait while answers do"
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


def test_cancelled_requests_that_wait_are_not_handled() -> None:
    async def test() -> None:
        handler = Script()
        handler.script["/big"] = lambda session, request: answer("x" * 2_000_000)
        async with listening(handler, http2=True) as listener:
            client = await speak(listener, reads=False)
            client.talker.ask("GET", "/big")
            client.flush()
            await until(lambda: "/big" in handler.handled)
            stream = client.talker.ask("GET", "/never")
            client.flush()
            await client.hear()
            client.talker.library.reset_stream(stream)
            later = client.talker.ask("GET", "/after")
            client.talker.library.increment_flow_control_window(2_100_000)
            client.talker.library.increment_flow_control_window(2_100_000, 1)
            assert (await client.answer(later)).body == b"/after"
            assert "/never" not in handler.handled
            await client.client.close()

    run(test())


@both_kinds
def test_what_a_connection_held_is_free_when_it_is_gone(tls: bool) -> None:
    async def test() -> None:
        room = Room(MB)
        async with listening(Script(), tls=tls, http2=True, room=room) as listener:
            client = await speak(listener)
            stream = client.talker.open(head("POST", "/"))
            for _ in range(15):
                client.talker.library.send_data(stream, b"x" * 16384)
                client.flush()
                while client.talker.library.local_flow_control_window(stream) < 16384:
                    await client.hear()
            await until(lambda: room.left == MB - 15 * 16384 + RESERVE_SIZE - HEAD_SIZE)
            client.client.writer.transport.abort()
            await until(lambda: room.left == MB)

    run(test())


def test_only_so_many_requests_are_in_work() -> None:
    async def test() -> None:
        handler = Script()
        limits = HttpLimits(max_concurrent_streams_count=1000)
        async with listening(handler, http2=True, limits=limits) as listener:
            client = await speak(listener)
            await client.ask()
            streams = [client.talker.ask("GET", f"/later{i}") for i in range(PIPELINE_MAX + 5)]
            client.flush()
            await until(lambda: len(handler.deferred) == PIPELINE_MAX)
            assert await client.client.silent()
            for number in range(PIPELINE_MAX + 5):
                await until(lambda: f"/later{number}" in handler.deferred)  # noqa: B023
                handler.deferred[f"/later{number}"](answer(str(number)))
            for number, stream in enumerate(streams):
                assert (await client.answer(stream)).body == str(number).encode()
            await client.client.close()

    run(test())


# Streams


def streaming() -> tuple[Script, Tap]:
    handler, tap = Script(), Tap()
    handler.script["/stream"] = tap
    return handler, tap


@both_kinds
def test_pieces_go_out_when_they_are_there(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls, http2=True) as listener:
            client = await speak(listener)
            stream = client.talker.ask("GET", "/stream")
            assert (await client.ask("GET", "/beside")).body == b"/beside"
            tap.begin()
            got = client.talker.got[stream]
            for piece in (b"data: 1\n\n", b"x" * 300):
                assert tap.flow.push(piece)
                while not got.body.endswith(piece):
                    await client.hear()
            assert got.headers == {"content-type": "text/event-stream"}
            assert not got.ended
            tap.flow.end()
            await client.answer(stream)
            assert got.ended
            assert tap.gone_times == 0
            await client.client.close()

    run(test())


def test_a_source_waits_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        handler = Script()
        piece, total = b"x" * 10_000, 300
        well = Well(piece, total)
        handler.script["/well"] = well
        async with listening(handler, http2=True) as listener:
            client = await speak(listener, reads=False)
            stream = client.talker.ask("GET", "/well")
            client.flush()
            got = client.talker.got[stream]
            while len(got.body) < 65535:
                await client.hear()
            assert await client.client.silent()
            assert 0 < well.left < total
            client.talker.reads = True
            client.talker.library.increment_flow_control_window(65535)
            client.talker.library.increment_flow_control_window(65535, stream)
            await client.answer(stream)
            assert got.body == piece * total
            await client.client.close()

    run(test())


def test_a_source_that_does_not_wait_loses_its_client() -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, http2=True) as listener:
            client = await speak(listener, reads=False)
            stream = client.talker.ask("GET", "/stream")
            client.flush()
            await until(lambda: bool(tap.flows))
            tap.begin()
            pieces = 0
            while tap.flow.push(b"x" * 1000):
                pieces += 1
            assert pieces <= STREAM_ROOM // 1000 + 1
            while tap.gone_times == 0:
                tap.flow.push(b"x" * 1000)
                pieces += 1
                assert pieces < STREAM_WAITING_MAX // 1000 + 2
            tap.flow.end()
            got = await client.answer(stream)
            assert got.reset == int(ErrorCodes.INTERNAL_ERROR)
            assert (await client.ask("GET", "/other")).status == 200
            await client.client.close()

    run(test())


@pytest.mark.parametrize("way", ["cancel", "close"])
def test_a_source_learns_that_its_client_is_gone(way: str) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, http2=True) as listener:
            client = await speak(listener)
            stream = client.talker.ask("GET", "/stream")
            client.flush()
            await until(lambda: bool(tap.flows))
            tap.begin()
            if way == "cancel":
                client.talker.library.reset_stream(stream)
                client.flush()
            else:
                await client.client.close()
            await until(lambda: tap.gone_times == 1)
            assert not tap.flow.push(b"2")
            tap.flow.fail()
            tap.flow.end()
            assert tap.gone_times == 1
            await until(lambda: handler.closed == handler.sessions)

    run(test())


def test_what_cannot_be_completed_is_cut_off() -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, http2=True) as listener:
            client = await speak(listener)
            stream = client.talker.ask("GET", "/stream")
            client.flush()
            await until(lambda: bool(tap.flows))
            tap.begin()
            tap.flow.push(b"half")
            got = client.talker.got[stream]
            while got.body != b"half":
                await client.hear()
            tap.flow.fail()
            await client.answer(stream)
            assert got.reset == int(ErrorCodes.INTERNAL_ERROR)
            assert tap.gone_times == 0
            await client.client.close()

    run(test())


def test_closing_the_listener_does_not_wait_for_endless_bodies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "LINGER_S", 0.1)
    monkeypatch.setattr(listen, "SWEEP_S", 0.05)

    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, http2=True) as listener:
            client = await speak(listener)
            client.talker.ask("GET", "/stream")
            client.flush()
            await until(lambda: bool(tap.flows))
            tap.begin()
            await listener.close()
            assert tap.gone_times == 1

    run(test())


def test_a_body_that_just_ended_is_told_before_the_goodbye() -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, http2=True) as listener:
            client = await speak(listener)
            stream = client.talker.ask("GET", "/stream")
            client.flush()
            await until(lambda: bool(tap.flows))
            tap.begin()
            while client.talker.got[stream].status is None:
                await client.hear()
            tap.flow.end()
            for connection in listener.connections:
                connection.shut()
            assert (await client.answer(stream)).ended
            await client.end()

    run(test())


def test_a_client_that_does_not_read_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)

    async def test() -> None:
        handler = Script()
        handler.script["/big"] = lambda session, request: answer("x" * 30_000)
        limits = HttpLimits(max_concurrent_streams_count=1000)
        async with listening(handler, http2=True, limits=limits) as listener:
            client = await speak(listener)
            await client.ask()
            library = client.talker.library
            library.increment_flow_control_window(2**30)
            client.client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            total = 900
            streams = [client.talker.ask("GET", "/big") for _ in range(total)]
            client.flush()
            (connection,) = listener.connections
            await until(lambda: connection.output_full)
            assert len(handler.handled) < total
            client.client.reader._transport.resume_reading()  # type: ignore[attr-defined]
            for stream in streams:
                assert len((await client.answer(stream)).body) == 30_000
            await client.client.close()

    run(test())


def test_a_handshake_that_is_not_tls_gets_no_answer() -> None:
    async def test() -> None:
        async with listening(Script(), http2=True) as listener:
            reader, writer = await connect_raw(listener)
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert await reader.read() == b""

    run(test())
