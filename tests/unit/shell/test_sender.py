"""The thread that sends: order, what a socket does not take, and sockets that are closed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pyccf.shell import sender
from pyccf.shell.listen import Listener
from pyccf.shell.sender import PIECE_MAX, SHARED_MIN, Sender, spare_processor
from pyccf.shell.wire import Wire
from support.listening import Script, answer, ask, connect, listening, run, until


class Speaker:
    """A connection of which the test holds the other end."""

    def __init__(self, word: bytes) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(30)
        self.batch = self.piece = 0
        self.descriptor = self.ours.fileno()
        self.word = word
        self.back: list[bytes] = []
        self.taken: list[bytes] = []

    def put_back(self, data: bytes) -> None:
        self.back.append(data)

    def take_back(self, data: bytes) -> None:
        self.taken.append(data)

    def heard(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            more = self.theirs.recv(size - len(got))
            assert more, "the other end is closed"
            got += more
        return got


@contextmanager
def speakers(*words: bytes) -> Iterator[list[Speaker]]:
    made = [Speaker(word) for word in words]
    yield made
    for each in made:
        each.ours.close()
        each.theirs.close()


def nothing() -> None:
    """Before answers leave."""


def on_loop(test: Callable[[Sender], Coroutine[Any, Any, None]], *, shares: bool = True) -> None:
    async def whole() -> None:
        thread = Sender(nothing, shares=shares)
        try:
            await test(thread)
        finally:
            thread.close()

    uvloop.run(whole())


def say(thread: Sender, outlets: list[Speaker]) -> None:
    for each in outlets:
        assert thread.add(each, each.word)


def words(count: int) -> list[bytes]:
    return [b"word %d" % number for number in range(count)]


def hear(outlets: list[Speaker]) -> list[bytes]:
    return [each.heard(len(each.word)) for each in outlets]


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("count", [1, SHARED_MIN - 1, SHARED_MIN, 5 * SHARED_MIN])
def test_what_is_said_is_sent_at_the_end_of_the_turn(count: int, shares: bool) -> None:
    async def test(thread: Sender) -> None:
        said = words(count)
        with speakers(*said) as outlets:
            for turn in range(3):
                say(thread, outlets)
                assert thread.flying < thread.number == turn + 1
                await asyncio.sleep(0)
                assert hear(outlets) == said
                assert not any(each.back or each.taken for each in outlets)
                # Those whose turn it was may still be under way for others' sake.
                await until(lambda: all(thread._is_free(each) for each in outlets))
            assert (thread.flying > 0) == (shares and count >= SHARED_MIN)

    on_loop(test, shares=shares)


def test_one_piece_of_a_connection_at_a_time() -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(2)) as (first, second):
            assert thread.add(first, b"1")
            assert not thread.add(first, b"2")
            assert thread.add(second, b"3")

    on_loop(test)


def test_what_is_too_long_is_refused() -> None:
    async def test(thread: Sender) -> None:
        with speakers(b"x" * PIECE_MAX) as (outlet,):
            assert not thread.add(outlet, b"x" * (PIECE_MAX + 1))
            assert outlet.batch == 0
            assert thread.add(outlet, outlet.word)
            thread.flush()
            assert len(outlet.heard(PIECE_MAX)) == PIECE_MAX

    on_loop(test)


@pytest.mark.parametrize("count", [1, SHARED_MIN])
def test_what_a_socket_does_not_take_is_given_back_without_asking(count: int) -> None:
    async def test(thread: Sender) -> None:
        said = [b"%d" % number * PIECE_MAX for number in range(count)]
        with speakers(*said) as outlets:
            for each in outlets:
                each.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            say(thread, outlets)
            await until(lambda: all(each.back for each in outlets))
            for each in outlets:
                (rest,) = each.back
                assert 0 < len(rest) < len(each.word)
                assert each.heard(len(each.word) - len(rest)) + rest == each.word

    on_loop(test)


@pytest.mark.parametrize("count", [4, SHARED_MIN])
def test_a_socket_whose_client_is_gone_gives_all_back(count: int) -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(count)) as outlets:
            outlets[3].theirs.close()
            say(thread, outlets)
            thread.flush()
            for each in outlets:
                thread.settle(each)
            assert [each.back for each in outlets] == [
                [b"word 3"] if number == 3 else [] for number in range(count)
            ]

    on_loop(test)


def test_a_batch_has_its_bounds() -> None:
    async def test(thread: Sender) -> None:
        room = (1 << 20) // PIECE_MAX
        with speakers(*[b"y" * PIECE_MAX] * (room + 1)) as outlets:
            say(thread, outlets[:room])
            assert not thread.add(outlets[room], b"y")
            assert outlets[room].batch == 0
            thread.flush()
            assert thread.add(outlets[room], b"y")

    on_loop(test)


def test_a_batch_has_its_number_of_pieces() -> None:
    async def test(thread: Sender) -> None:
        with speakers(b"") as (one,):
            for _ in range(1024):
                assert thread.add(one, b"")
                one.batch = 0  # as if it were another
            assert not thread.add(one, b"")

    on_loop(test)


def test_a_connection_that_settles_writes_by_itself_what_is_still_in_the_box() -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(SHARED_MIN)) as outlets:
            say(thread, outlets)
            thread.settle(outlets[2])
            assert outlets[2].taken == [b"word 2"]
            assert outlets[2].batch == 0
            thread.flush()
            others = outlets[:2] + outlets[3:]
            assert hear(others) == [each.word for each in others]
            thread.settle(outlets[0])
            assert not any(each.taken or each.back for each in others)

    on_loop(test)


def test_after_settling_a_socket_may_be_closed() -> None:
    async def test(thread: Sender) -> None:
        for _ in range(200):
            with speakers(*words(SHARED_MIN)) as outlets:
                say(thread, outlets)
                thread.flush()
                for each in outlets:
                    thread.settle(each)
                    each.ours.close()
                assert hear(outlets) == words(SHARED_MIN)

    on_loop(test)


def test_while_the_thread_is_busy_this_one_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(SHARED_MIN)) as outlets:
            monkeypatch.setattr(sender, "_busy", lambda handle: True)
            say(thread, outlets)
            thread.flush()
            assert thread.flying == 0
            assert hear(outlets) == words(SHARED_MIN)
            monkeypatch.undo()

    on_loop(test)


def test_the_thread_ends_with_its_owner() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()

    async def test(thread: Sender) -> None:
        assert threads() > before
        with speakers(*words(SHARED_MIN)) as outlets:
            say(thread, outlets)
            thread.close()
            assert hear(outlets) == words(SHARED_MIN)

    async def whole() -> None:
        await test(Sender(nothing))

    uvloop.run(whole())
    assert threads() == before


def test_a_spare_processor_is_one_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert not spare_processor()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3})
    assert spare_processor()


# Connections of a listener


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "SHARED_MIN", 1)


@pytest.mark.parametrize("tls", [True, False])
def test_many_clients_get_their_answers_in_order(shared: None, tls: bool) -> None:
    async def test() -> None:
        thread = Sender(nothing)
        async with listening(Script(), tls=tls, sender=thread) as listener:
            clients = [await connect(listener) for _ in range(20)]
            for turn in range(20):
                for number, client in enumerate(clients):
                    client.send(ask(f"/{number}/{turn}") + ask(f"/{number}/{turn}/again"))
                for number, client in enumerate(clients):
                    await client.expect(
                        answer(f"/{number}/{turn}") + answer(f"/{number}/{turn}/again")
                    )
            assert thread.flying > 0
            for client in clients:
                await client.close()
        thread.close()

    run(test())


@pytest.mark.parametrize("tls", [True, False])
def test_a_client_that_reads_late_misses_nothing(shared: None, tls: bool) -> None:
    async def test() -> None:
        thread = Sender(nothing)
        handler = Script()
        big = answer("z" * 40_000)
        handler.script["/big"] = lambda session, request: session.defer()(big)
        async with listening(handler, tls=tls, sender=thread) as listener:
            client = await connect(listener)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for asked in range(1, 200):
                client.send(ask("/big"))
                await until(lambda asked=asked: len(handler.handled) == asked or waits(listener))
                if waits(listener):
                    break
            assert waits(listener), "its socket is full"
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(asked):
                await client.expect(big)
            await client.close()
        thread.close()

    def waits(listener: Listener) -> bool:
        return any(
            each._transport is not None and each._transport.get_write_buffer_size()
            for each in listener.connections
        )

    run(test())


def test_listeners_share_a_sender(shared: None) -> None:
    async def test() -> None:
        thread = Sender(nothing)
        async with (
            listening(Script(), tls=True, sender=thread) as first,
            listening(Script(), tls=False, sender=thread) as second,
        ):
            clients = [await connect(each) for each in (first, second, first, second)]
            for turn in range(20):
                for number, client in enumerate(clients):
                    client.send(ask(f"/{number}/{turn}"))
                for number, client in enumerate(clients):
                    await client.expect(answer(f"/{number}/{turn}"))
            for client in clients:
                await client.close()
        thread.close()

    run(test())


def test_before_anything_leaves_it_is_asked_for() -> None:
    async def whole() -> None:
        asked: list[int] = []

        def before() -> None:
            for each in outlets:
                each.theirs.setblocking(False)
                with pytest.raises(BlockingIOError):
                    each.theirs.recv(1)
            asked.append(len(outlets))

        thread = Sender(before)
        for count in (1, SHARED_MIN):
            with speakers(*words(count)) as outlets:
                say(thread, outlets)
                await asyncio.sleep(0)
                thread.settle(outlets[-1])
        thread.close()
        assert asked == [1, SHARED_MIN]

    uvloop.run(whole())


@pytest.mark.parametrize("how", ["client closes", "client resets", "we close", "we abort"])
def test_a_socket_is_closed_after_its_connection_is_told(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lets `Wire.connection_lost` wait for the thread that may still use the descriptor."""
    told: list[bool] = []
    lost = Wire.connection_lost

    def connection_lost(self: Wire, exc: Exception | None) -> None:
        told.append(os.fstat(descriptors[0]) is not None)
        lost(self, exc)

    descriptors: list[int] = []
    monkeypatch.setattr(Wire, "connection_lost", connection_lost)

    async def test() -> None:
        thread = Sender(nothing)
        async with listening(Script(), tls=False, sender=thread) as listener:
            client = await connect(listener)
            client.send(ask("/"))
            await client.expect(answer("/"))
            (wire,) = listener.connections
            descriptors.append(wire.descriptor)
            if how == "client closes":
                await client.close()
            elif how == "client resets":
                client.writer.transport.abort()
            elif how == "we close":
                wire.shut()
            else:
                wire.abort()
            await until(lambda: bool(told))
        thread.close()

    run(test())
    assert told == [True]
