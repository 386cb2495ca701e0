"""One HTTP/2 connection: a session and an answer for each stream, all over one wire.

Requests are independent (spec: http-api.md §4.5, §5.4): each stream has a session of its own, and
answers leave as they become available. Requests are handled at once, in a row, as long as the
client takes its answers; while it does not, they wait, and what they hold is bounded (`http/h2`).
A session that ends (`Session.close_after`) takes the whole connection with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyccf.http.h2 import Arrived, Server
from pyccf.http.limits import PIPELINE_MAX
from pyccf.http.session import (
    STREAM_ROOM,
    STREAM_WAITING_MAX,
    Deliver,
    Flow,
    Session,
    Source,
)
from pyccf.shell.http1 import BUSY, TURN_REQUESTS_MAX

if TYPE_CHECKING:
    from pyccf.shell.interface import Interface
    from pyccf.shell.wire import Wire


class _Stream:
    """One request and its answer, which may come later, or in pieces (then it is a `Flow`)."""

    __slots__ = ("_begun", "_dialogue", "hungry", "id", "session", "source")

    def __init__(self, dialogue: Dialogue2, number: int, session: Session) -> None:
        self._dialogue: Dialogue2 | None = dialogue
        self.id = number
        self.session = session
        self.source: Source | None = None
        self.hungry = False  # the source waits for room
        self._begun = False

    def deliver(self, answer: bytes) -> None:
        assert not self._begun, "a request is answered once"
        self._begun = True
        dialogue = self._dialogue
        if dialogue is not None:
            dialogue.server.answer(self.id, answer)
            self._close(dialogue)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self._begun, "a response begins once"
        self._begun = True
        if self._dialogue is not None:
            self._dialogue.server.begin(self.id, status, headers)
            self._dialogue.send_soon()

    def push(self, piece: bytes) -> bool:
        assert self._begun, "a response begins with its head"
        dialogue = self._dialogue
        if dialogue is None:
            return False
        server = dialogue.server
        server.push(self.id, piece)
        waiting = server.waiting_of(self.id)
        if waiting > STREAM_WAITING_MAX:
            # Its source does not wait for a client that does not read.
            server.reset(self.id)
            self.drop()
            dialogue.send_soon()
            return False
        dialogue.send_soon()
        self.hungry = dialogue.wire.output_full or waiting >= STREAM_ROOM
        return not self.hungry

    def end(self) -> None:
        assert self._begun, "a response begins with its head"
        dialogue = self._dialogue
        if dialogue is not None:
            dialogue.server.end(self.id)
            self._close(dialogue)

    def fail(self) -> None:
        dialogue = self._dialogue
        if dialogue is not None:
            dialogue.server.reset(self.id)
            self._close(dialogue)

    def feed(self) -> None:
        """There may be room again."""
        dialogue = self._dialogue
        if dialogue is None or not self.hungry or dialogue.wire.output_full:
            return
        if dialogue.server.waiting_of(self.id) < STREAM_ROOM:
            self.hungry = False
            assert self.source is not None
            self.source.room()

    def cut(self) -> None:
        """Nobody waits for the end of a body that may have none."""
        source = self.source
        if self._dialogue is not None and source is not None and source.endless:
            self.fail()
            source.gone()

    def drop(self) -> None:
        """The client does not want the answer any more."""
        dialogue = self._dialogue
        if dialogue is not None:
            self._close(dialogue)
            if self.source is not None:
                self.source.gone()

    def _close(self, dialogue: Dialogue2) -> None:
        self._dialogue = None
        dialogue.closed(self)


class Dialogue2:
    """What is said on one connection, in HTTP/2."""

    __slots__ = (
        "_backlog",
        "_busy",
        "_closed_door",
        "_connection",
        "_current",
        "_ending",
        "_farewell",
        "_handler",
        "_in_turn",
        "_interface",
        "_peer_cert",
        "_sending_soon",
        "_streams",
        "server",
        "wire",
    )

    def __init__(
        self, wire: Wire, interface: Interface, peer_cert: bytes | None, *, busy: bool = False
    ) -> None:
        self.wire = wire
        self.server = Server(interface.limits, interface.room)
        self._interface = interface
        self._handler = interface.handler
        self._peer_cert = peer_cert
        self._busy = busy
        """Above the soft cap: the first request is told so, and is the last."""
        self._connection: int | None = None
        """Which session was the first."""
        self._streams: dict[int, _Stream] = {}  # handled, not answered yet
        self._backlog: deque[Arrived] = deque()
        self._current: _Stream | None = None  # what the request being handled belongs to
        self._in_turn = False
        self._sending_soon = False
        self._closed_door = False  # requests that come now are refused
        self._farewell = False  # after the answers owed, the end
        self._ending = False  # nothing more is handled

    # What its connection tells it.

    @property
    def owes(self) -> bool:
        """Whether requests are waiting for their handling or their answers."""
        return bool(self._streams or self._backlog or self.server.waiting)

    @property
    def waits(self) -> bool:
        """Whether it is the node, and not the client, that everybody waits for."""
        return bool(self._streams) and not self.server.waiting

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client to open its windows."""
        return self.server.waiting

    def tick(self) -> None:
        """Some time passed."""
        self.server.relax()

    def turn(self, data: bytes) -> None:
        """Handle the requests that these bytes complete."""
        server = self.server
        # The bytes are lent for this call only.
        arrived = server.feed(bytes(data))
        if self._closed_door:
            for late in arrived:
                server.release(late)
                server.refuse(late.stream)
        else:
            self._backlog.extend(arrived)
        for number in server.cancelled():
            self._cancel(number)
        if server.closing:
            assert server.metric is not None
            self._interface.admission.count(server.metric)
            self._ending = True
        elif server.leaving:
            self._farewell = True
        self.go_on()

    def leave(self) -> None:
        """Close when the answers owed are out; bodies that may never end are cut off."""
        if not self.owes:
            self._end(linger=False)
            return
        self._closed_door = True
        self._farewell = True
        for stream in list(self._streams.values()):
            stream.cut()
        self.go_on()

    def gone(self) -> None:
        """The connection is no more."""
        self._ending = True
        self._backlog.clear()
        for stream in list(self._streams.values()):
            stream.drop()
        self.server.gone()

    # Requests and answers.

    def _cancel(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is not None:
            stream.drop()
            return
        for arrived in self._backlog:
            if arrived.stream == number:
                self._backlog.remove(arrived)
                self.server.release(arrived)
                return

    def _handle(self, arrived: Arrived) -> None:
        server = self.server
        server.release(arrived)
        if self._busy:
            server.answer(arrived.stream, BUSY)
            self._ending = True
            return
        session = self._interface.open_session(self._peer_cert)
        stream = _Stream(self, arrived.stream, session)
        if self._connection is None:
            self._connection = session.id
        session.connection = self._connection
        session.deferrer = self._defer
        session.streamer = self._stream
        self._current = stream
        self._streams[stream.id] = stream
        answer = self._handler.handle(session, arrived.request)
        if answer is not None:
            assert self._current is stream, "a deferred request has no answer yet"
            stream.deliver(answer)
        else:
            assert self._current is None, "a request is answered or deferred"
        self._current = None

    def _defer(self) -> Deliver:
        return self._take_place().deliver

    def _stream(self, source: Source) -> Flow:
        stream = self._take_place()
        stream.source = source
        return stream

    def _take_place(self) -> _Stream:
        stream = self._current
        assert stream is not None, "a request is deferred once, while it is handled"
        self._current = None
        return stream

    def closed(self, stream: _Stream) -> None:
        """A stream is answered, or nobody wants its answer any more."""
        self._streams.pop(stream.id, None)
        self._handler.close_session(stream.session)
        if stream.session.close_after:
            self._ending = True
        self.send_soon()

    def send_soon(self) -> None:
        """There is something to send, or to handle, once this turn of the loop is over."""
        if not self._in_turn and not self._sending_soon:
            self._sending_soon = True
            asyncio.get_running_loop().call_soon(self._send_now)

    def _send_now(self) -> None:
        self._sending_soon = False
        self.go_on()

    def go_on(self) -> None:
        """Handle what is waiting and send what is ready, as far as the limits allow."""
        wire = self.wire
        if self._in_turn or not wire.is_open:
            return
        self._in_turn = True
        if self._backlog and not self._ending:
            self._handle_some()
        self._in_turn = False
        if not wire.output_full or self._ending:
            wire.write(self.server.take())
        if self._ending or (self._farewell and not self.owes):
            self._end(linger=True)
            return
        wire.set_reading(wire.accepting and not wire.output_full)
        self._ask_for_more()
        if not wire.output_full and (self.server.more or self._can_handle()):
            self.send_soon()

    def _can_handle(self) -> bool:
        return (
            bool(self._backlog)
            and not self._ending
            and not self.wire.output_full
            and not self.server.crowded
            and len(self._streams) < PIPELINE_MAX
        )

    def _handle_some(self) -> None:
        handled = 0
        while handled < TURN_REQUESTS_MAX and self._can_handle():
            handled += 1
            try:
                self._handle(self._backlog.popleft())
            except Exception as error:
                self.wire.blunder(error)
                break
        if handled and not self._busy:
            self._handler.turn_done()

    def _ask_for_more(self) -> None:
        """Sources that waited for room, and have it now, go on."""
        for stream in self._streams.values():
            if stream.hungry:
                asyncio.get_running_loop().call_soon(stream.feed)

    def _end(self, *, linger: bool) -> None:
        """Close. The goodbye comes last: some clients take it for the end of all streams."""
        self._ending = True
        self.wire.write(self.server.take())
        self.server.say_goodbye()
        self.wire.write(self.server.take())
        self.wire.accepting = False
        self._backlog.clear()
        for stream in list(self._streams.values()):
            stream.drop()
        self.wire.finish(linger=linger)
