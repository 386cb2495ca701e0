"""The thread that sends: order, what a socket does not take, and sockets that are closed."""

from __future__ import annotations

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

    def __init__(self, *says: bytes) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(30)
        self.batch = 0
        self.says = list(says)
        self.drained: list[bytes] = []
        self.back: list[bytes] = []

    @property
    def descriptor(self) -> int:
        return self.ours.fileno()

    def take(self, size_max: int) -> bytes:
        return self.says.pop(0) if self.says and len(self.says[0]) <= size_max else b""

    def put_back(self, data: bytes) -> None:
        self.back.append(data)

    def drain(self) -> None:
        self.drained += self.says
        self.says.clear()

    def heard(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            got += self.theirs.recv(size - len(got))
        return got


@contextmanager
def speakers(*words: bytes) -> Iterator[list[Speaker]]:
    made = [Speaker(word) for word in words]
    yield made
    for each in made:
        each.ours.close()
        each.theirs.close()


def on_loop(test: Callable[[Sender], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        thread = Sender()
        try:
            await test(thread)
        finally:
            thread.close()

    uvloop.run(whole())


def words(count: int) -> list[bytes]:
    return [b"word %d" % number for number in range(count)]


def test_what_many_say_is_sent() -> None:
    async def test(thread: Sender) -> None:
        for _ in range(3):
            said = words(SHARED_MIN)
            with speakers(*said) as outlets:
                thread.send(outlets)
                assert [
                    each.heard(len(word)) for each, word in zip(outlets, said, strict=True)
                ] == said
                assert not any(each.drained for each in outlets)
                thread.settle()
                assert not any(each.back for each in outlets)
        assert thread.batch == 3

    on_loop(test)


def test_few_write_by_themselves() -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(SHARED_MIN - 1)) as outlets:
            thread.send(outlets)
            assert [each.drained for each in outlets] == [[word] for word in words(SHARED_MIN - 1)]
        assert thread.batch == 0

    on_loop(test)


def test_who_refuses_to_be_taken_writes_by_itself() -> None:
    async def test(thread: Sender) -> None:
        long = b"x" * (PIECE_MAX + 1)
        with speakers(*words(SHARED_MIN), long) as outlets:
            thread.send(outlets)
            assert outlets[-1].drained == [long]
            assert outlets[-1].batch == 0
            assert outlets[0].batch == thread.batch == 1

    on_loop(test)


def test_what_a_socket_does_not_take_is_given_back_without_asking() -> None:
    async def test(thread: Sender) -> None:
        said = [b"%d" % number * PIECE_MAX for number in range(SHARED_MIN)]
        with speakers(*said) as outlets:
            for each in outlets:
                each.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            thread.send(outlets)
            await until(lambda: all(each.back for each in outlets))
            for each, word in zip(outlets, said, strict=True):
                (rest,) = each.back
                assert 0 < len(rest) < len(word)
                assert each.heard(len(word) - len(rest)) + rest == word
        assert thread.batch == 1

    on_loop(test)


def test_a_socket_whose_client_is_gone_gives_all_back() -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(SHARED_MIN)) as outlets:
            outlets[3].theirs.close()
            thread.send(outlets)
            thread.settle()
            assert [each.back for each in outlets] == [
                [b"word 3"] if number == 3 else [] for number in range(SHARED_MIN)
            ]

    on_loop(test)


def test_a_batch_has_its_bounds_and_the_rest_is_given_back() -> None:
    async def test(thread: Sender) -> None:
        count = (1 << 20) // PIECE_MAX + SHARED_MIN
        with speakers(*[b"y" * PIECE_MAX] * count) as outlets:
            thread.send(outlets)
            back = [each.back for each in outlets[-SHARED_MIN:]]
            assert back == [[b"y" * PIECE_MAX]] * SHARED_MIN
            assert all(each.batch == 0 for each in outlets[-SHARED_MIN:])

    on_loop(test)


def test_while_a_batch_is_under_way_connections_write_by_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(thread: Sender) -> None:
        with speakers(*words(SHARED_MIN)) as outlets:
            monkeypatch.setattr(sender, "_busy", lambda handle: True)
            thread.send(outlets)
            assert all(each.drained for each in outlets)

    on_loop(test)


def test_the_thread_ends_with_its_owner() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = threads()

    async def test(thread: Sender) -> None:
        assert threads() > before
        with speakers(*words(SHARED_MIN)) as outlets:
            thread.send(outlets)

    on_loop(test)
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
        thread = Sender()
        async with listening(Script(), tls=tls, sender=thread) as listener:
            clients = [await connect(listener) for _ in range(20)]
            for turn in range(20):
                for number, client in enumerate(clients):
                    client.send(ask(f"/{number}/{turn}") + ask(f"/{number}/{turn}/again"))
                for number, client in enumerate(clients):
                    await client.expect(
                        answer(f"/{number}/{turn}") + answer(f"/{number}/{turn}/again")
                    )
            assert thread.batch > 0
            for client in clients:
                await client.close()
        thread.close()

    run(test())


@pytest.mark.parametrize("tls", [True, False])
def test_a_client_that_reads_late_misses_nothing(shared: None, tls: bool) -> None:
    async def test() -> None:
        thread = Sender()
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
        thread = Sender()
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
