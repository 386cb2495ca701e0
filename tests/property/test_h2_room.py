"""Whatever clients and handlers do, what connections hold together is known and given back."""

from __future__ import annotations

from collections.abc import Callable

from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.http.h2 import Arrived, Server
from pyccf.http.limits import KB, MB, HttpLimits
from pyccf.http.message import encode_response
from pyccf.http.room import Room
from support.h2_client import Talker

POST, GET = b"\x83\x84\x87\x01\x01h", b"\x82\x84\x87\x01\x01h"
LIMITS = HttpLimits(max_body_size=300 * KB, max_concurrent_streams_count=20)


class Connection:
    """One connection, whose client need not be of good will."""

    def __init__(self, room: Room) -> None:
        self.server = Server(LIMITS, room)
        self.waiting: list[Arrived] = []
        self.handled: list[int] = []
        self.streaming: list[int] = []
        self.next = 1
        self.over = False
        self.hear(Talker().data())

    def hear(self, data: bytes) -> None:
        self.waiting += self.server.feed(data)
        cancelled = set(self.server.cancelled())
        for arrived in [a for a in self.waiting if a.stream in cancelled]:
            self.waiting.remove(arrived)
            self.server.release(arrived)

    def says(self, *frames: Frame) -> None:
        self.hear(b"".join(frame.serialize() for frame in frames))

    def asks(self, size: int) -> None:
        flags = ["END_HEADERS"] if size else ["END_HEADERS", "END_STREAM"]
        self.says(HeadersFrame(self.next, POST if size else GET, flags=flags))
        self.next += 2

    def sends(self, back: int, size: int, ends: bool) -> None:
        stream = max(1, self.next - 2 - 2 * back)
        self.says(DataFrame(stream, b"x" * size, flags=["END_STREAM"] if ends else []))

    def handle(self) -> None:
        if self.waiting:
            arrived = self.waiting.pop(0)
            self.server.release(arrived)
            self.handled.append(arrived.stream)

    def answer(self, size: int) -> None:
        if self.handled:
            self.server.answer(self.handled.pop(0), encode_response(200, {}, b"y" * size))

    def stream(self, size: int) -> None:
        if self.handled:
            self.streaming.append(self.handled.pop(0))
            self.server.begin(self.streaming[-1], 200, {})
        for stream in self.streaming:
            self.server.push(stream, b"z" * size)

    def end(self) -> None:
        if self.streaming:
            self.server.end(self.streaming.pop(0))

    def goes(self) -> None:
        self.over = True
        self.server.gone()


sizes = st.sampled_from([0, 1, 15, 100, 5 * KB, 16 * KB])
steps: list[st.SearchStrategy[Callable[[Connection], object]]] = [
    sizes.map(lambda n: lambda c: c.asks(n)),
    st.tuples(st.integers(0, 3), sizes, st.booleans()).map(lambda t: lambda c: c.sends(*t)),
    st.integers(0, 5).map(lambda b: lambda c: c.says(RstStreamFrame(max(1, c.next - 2 * b), 8))),
    st.tuples(st.integers(0, 5), st.sampled_from([1, 2000, 60_000])).map(
        lambda t: lambda c: c.says(WindowUpdateFrame(t[0] and c.next - 2, window_increment=t[1]))
    ),
    st.just(lambda c: c.says(PingFrame(0, b"12345678"))),
    st.sampled_from([0, 100, 1 << 20]).map(
        lambda n: lambda c: c.says(SettingsFrame(0, settings={4: n}))
    ),
    st.just(lambda c: c.says(GoAwayFrame(0))),
    st.binary(max_size=20).map(lambda data: lambda c: c.hear(data)),
    st.just(lambda c: c.handle()),
    st.sampled_from([0, 1000, 200 * KB]).map(lambda n: lambda c: c.answer(n)),
    st.sampled_from([0, 1000, 70 * KB]).map(lambda n: lambda c: c.stream(n)),
    st.just(lambda c: c.end()),
    st.just(lambda c: c.server.take()),
    st.just(lambda c: c.server.relax()),
    st.just(lambda c: c.server.say_goodbye()),
]
usual = st.one_of(steps[0], steps[1], steps[8], steps[9], steps[10], steps[12])


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.one_of(usual, *steps)), max_size=120),
    st.sets(st.integers(0, 2)),
)
def test_what_is_held_is_given_back(
    happenings: list[tuple[int, Callable[[Connection], object]]], early: set[int]
) -> None:
    room = Room(MB // 2)
    connections = [Connection(room) for _ in range(3)]
    for at, (which, happens) in enumerate(happenings):
        if at == 100:
            for gone in early:
                connections[gone].goes()
        connection = connections[which]
        if not connection.over:
            happens(connection)
            server = connection.server
            assert server._holding.size == server._held + server.waiting
            assert server._held >= sum(a.size for a in connection.waiting)
    for connection in connections:
        if not connection.over:
            connection.goes()
    assert room.left == MB // 2
