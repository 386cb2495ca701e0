"""Streamed answers in HTTP/1.1: their place among others, room, and what becomes of them."""

from __future__ import annotations

import asyncio

import pytest

from pyccf.http.limits import ANSWERS_WAITING_MAX, RESERVE_SIZE
from pyccf.http.message import Request
from pyccf.http.room import Room
from pyccf.http.session import STREAM_ROOM, STREAM_WAITING_MAX, Session
from pyccf.shell import listen, wire
from pyccf.shell.http1 import BUSY
from support.listening import (
    Script,
    answer,
    ask,
    connect,
    half_closing,
    listening,
    run,
    stays,
    until,
)
from support.streaming import Tap, Well

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

pytestmark = pytest.mark.usefixtures("sending")
both_kinds = pytest.mark.parametrize("tls", [True, False])


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streaming() -> tuple[Script, Tap]:
    handler, tap = Script(), Tap()
    handler.script["/stream"] = tap
    return handler, tap


@both_kinds
def test_pieces_go_out_when_they_are_there(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            assert await client.silent()
            tap.begin()
            await client.expect(HEAD)
            for piece in (b"data: 1\n\n", b"x" * 300):
                assert tap.flow.push(piece)
                await client.expect(chunk(piece))
            assert tap.flow.push(b"")
            assert await client.silent()
            tap.flow.end()
            await client.expect(END)
            client.send(ask("/after"))
            await client.expect(answer("/after"))
            await client.close()
            await until(lambda: handler.closed == handler.sessions)
            assert tap.gone_times == 0

    run(test())


@both_kinds
def test_a_stream_keeps_its_place_among_pipelined_answers(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/1") + ask("/later") + ask("/stream") + ask("/2") + ask("/stream"))
            await client.expect(answer("/1"))
            first, second = tap.flows
            for flow in (first, second):
                flow.begin(200, {"content-type": "text/event-stream"})
            second.push(b"b")
            second.end()
            first.push(b"a")
            assert await client.silent()
            handler.deferred["/later"](answer("/later"))
            await client.expect(answer("/later") + HEAD + chunk(b"a"))
            assert await client.silent()
            first.end()
            await client.expect(END + answer("/2") + HEAD + chunk(b"b") + END)
            await client.close()

    run(test())


def test_a_body_may_be_given_while_its_request_is_handled() -> None:
    async def test() -> None:
        handler = Script()
        handler.script["/well"] = Well(b"drop", 3)
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/well"))
            await client.expect(HEAD.replace(b"event-stream", b"plain") + chunk(b"drop") * 3 + END)
            await client.close()

    run(test())


@both_kinds
def test_a_source_waits_for_a_slow_reader(tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)

    async def test() -> None:
        handler = Script()
        piece, total = b"x" * 10_000, 3000
        well = Well(piece, total)
        handler.script["/well"] = well
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            client.send(ask("/well"))
            await stays(lambda: well.left)
            assert 0 < well.left < total
            client.reader._transport.resume_reading()  # type: ignore[attr-defined]
            await client.expect(HEAD.replace(b"event-stream", b"plain"))
            for _ in range(total):
                await client.expect(chunk(piece))
            await client.expect(END)
            await client.close()

    run(test())


@both_kinds
def test_a_source_that_does_not_wait_loses_its_client(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)

    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            tap.begin()
            pieces = 0
            while tap.flow.push(b"x" * 1000):
                pieces += 1
            assert pieces <= STREAM_ROOM // 1000 + 1
            for _ in range(STREAM_WAITING_MAX // 1000 + 1):
                tap.flow.push(b"x" * 1000)
            await until(lambda: tap.gone_times == 1)
            tap.flow.end()
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


@both_kinds
def test_a_source_learns_that_its_client_is_gone(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            tap.begin()
            tap.flow.push(b"1")
            await client.expect(HEAD + chunk(b"1"))
            await client.close()
            await until(lambda: tap.gone_times == 1)
            assert not tap.flow.push(b"2")
            tap.flow.fail()
            tap.flow.end()
            await until(lambda: listener.metrics()["active"] == 0)
            assert tap.gone_times == 1

    run(test())


class Tenacious(Tap):
    """Goes on although it is told that nobody listens any more."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = [True]

    def __call__(self, session: Session, request: Request) -> None:
        super().__call__(session, request)
        self.begin()
        self.flow.push(b"1")

    def gone(self) -> None:
        super().gone()
        self.heard = [self.flow.push(b"late") for _ in range(2)]
        self.flow.end()


@both_kinds
def test_a_source_that_was_told_to_stop_has_no_effect_any_more(tls: bool) -> None:
    async def test() -> None:
        handler, source = Script(), Tenacious()
        handler.script["/stream"] = source
        async with listening(handler, tls=tls) as listener:
            assert await half_closing(listener, ask("/stream"), tls=tls) == HEAD + chunk(b"1")
            await until(lambda: listener.metrics()["active"] == 0)
        assert source.heard == [False, False]
        assert source.gone_times == 1

    run(test())


@both_kinds
def test_a_client_that_closes_its_side_gets_the_whole_of_what_has_an_end(tls: bool) -> None:
    async def test() -> None:
        handler, well = Script(), Well(b"x" * 10_000, 500)
        handler.script["/stream"] = well
        async with listening(handler, tls=tls) as listener:
            whole = await half_closing(listener, ask("/stream"), tls=tls)
            assert whole.endswith(b"x" * 10_000 + b"\r\n0\r\n\r\n")
            assert whole.count(b"x" * 10_000) == 500
            assert well.gone_times == 0
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


@both_kinds
def test_closing_the_listener_waits_for_what_has_an_end(tls: bool) -> None:
    async def test() -> None:
        handler, tap = Script(), Tap(endless=False)
        handler.script["/stream"] = tap
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            tap.begin()
            await client.expect(HEAD)
            closing = asyncio.create_task(listener.close())
            await asyncio.sleep(0.05)
            tap.flow.push(b"1")
            tap.flow.end()
            assert await client.rest() == chunk(b"1") + b"0\r\n\r\n"
            await closing
            assert tap.gone_times == 0

    run(test())


@both_kinds
def test_what_cannot_be_completed_is_cut_off(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream") + ask("/never"))
            await until(lambda: bool(tap.flows))
            tap.begin()
            tap.flow.push(b"half")
            tap.flow.fail()
            assert await client.rest() == HEAD + chunk(b"half")
            assert tap.gone_times == 0

    run(test())


@both_kinds
def test_closing_the_listener_does_not_wait_for_endless_bodies(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "LINGER_S", 0.1)
    monkeypatch.setattr(listen, "SWEEP_S", 0.05)

    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            tap.begin()
            await client.expect(HEAD)
            await listener.close()
            assert tap.gone_times == 1
            assert await client.rest() == b""

    run(test())


def test_a_client_that_stops_reading_a_stream_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "OUTPUT_BUFFER_MAX", 100_000)

    async def test() -> None:
        handler = Script()
        well = Well(b"x" * 10_000, 10_000)
        handler.script["/well"] = well
        async with listening(handler, idle_timeout_s=0.2) as listener:
            client = await connect(listener)
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            client.send(ask("/well"))
            await until(lambda: well.gone_times == 1)
            await until(lambda: listener.metrics()["active"] == 0)

    run(test())


@both_kinds
def test_answers_that_wait_behind_a_stream_are_bounded(tls: bool) -> None:
    async def test() -> None:
        handler, tap = streaming()
        large = answer("x" * 100_000)
        handler.script["/large"] = lambda session, request: large
        async with listening(handler, tls=tls) as listener:
            client = await connect(listener)
            client.send(ask("/stream") + ask("/large") * 100)
            await until(lambda: bool(tap.flows))
            tap.begin()
            await client.expect(HEAD)
            await stays(lambda: handler.turns)  # nothing is tried again and again meanwhile
            assert handler.handled.count("/large") <= ANSWERS_WAITING_MAX // 100_000 + 1
            tap.flow.end()
            await client.expect(END + large * 100)
            client.send(ask("/after"))
            await client.expect(answer("/after"))

    run(test())


def test_late_answers_count_as_waiting_too() -> None:
    async def test() -> None:
        handler = Script()
        large = answer("x" * ANSWERS_WAITING_MAX)
        async with listening(handler) as listener:
            client = await connect(listener)
            client.send(ask("/later1") + ask("/later2") + ask("/now"))
            await until(lambda: len(handler.handled) == 3)
            handler.deferred["/later2"](large)
            client.send(ask("/held"))
            await asyncio.sleep(0.1)
            assert "/held" not in handler.handled
            handler.deferred["/later1"](answer("1"))
            await client.expect(answer("1") + large + answer("/now") + answer("/held"))

    run(test())


def upload(size: int, *, sent: int) -> bytes:
    head = f"POST /x HTTP/1.1\r\ncontent-length: {size}\r\n\r\n"
    return head.encode() + b"x" * sent


@both_kinds
def test_all_connections_together_hold_only_so_much(tls: bool) -> None:
    async def test() -> None:
        room = Room(400_000)
        handler = Script()
        async with listening(handler, tls=tls, room=room) as listener:
            greedy = await connect(listener)
            greedy.send(upload(500_000, sent=400_000))
            await until(lambda: room.left == RESERVE_SIZE - 1)
            second = await connect(listener)
            second.send(upload(500_000, sent=400_000))
            assert await second.rest() == BUSY, "there is no room for it"
            await second.close()
            await until(lambda: room.left == RESERVE_SIZE - 1)
            usual = await connect(listener)
            for _ in range(3):
                usual.send(upload(100_000, sent=50_000))
                await asyncio.sleep(0.01)
                usual.send(b"x" * 50_000)
                await usual.expect(answer("/x"))
            greedy.send(b"x" * 100_000)
            await greedy.expect(answer("/x"))
            await until(lambda: room.left == 400_000)
            await greedy.close()
            await usual.close()
        assert room.left == 400_000

    run(test())


@both_kinds
def test_what_a_connection_held_is_free_when_it_is_gone(tls: bool) -> None:
    async def test() -> None:
        room = Room()
        at_first = room.left
        handler, _ = streaming()
        handler.script["/large"] = lambda session, request: answer("x" * 200_000)
        async with listening(handler, tls=tls, room=room) as listener:
            client = await connect(listener)
            client.send(ask("/stream") + ask("/large") + upload(900_000, sent=300_000))
            await until(lambda: room.left < at_first - 300_000)
            await client.close()
            await until(lambda: room.left == at_first)

    run(test())


def test_heads_of_streams_carry_no_length_and_no_line_breaks() -> None:
    async def test() -> None:
        handler, tap = streaming()
        async with listening(handler, tls=False) as listener:
            client = await connect(listener)
            client.send(ask("/stream"))
            await until(lambda: bool(tap.flows))
            tap.flow.begin(201, {"content-length": "5", "x-a": "b\r\nx-c: d"})
            tap.flow.end()
            await client.expect(
                b"HTTP/1.1 201 CREATED\r\ntransfer-encoding: chunked\r\nx-a: b  x-c: d\r\n\r\n"
                + END
            )
            await client.close()

    run(test())
