"""One HTTP/1.1 connection: requests out of its bytes, answers in their order.

A request that arrives alone is handled at the end of this turn of the loop, together with those of
other connections; pipelined ones are handled in a row. An answer that comes later
(`Session.defer`) keeps its place. Bounded: requests that wait for their turn, answers owed, answers
gathered before they are written. A body produced over time (`Session.stream`) goes out in chunks as
soon as the answers before it are out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pyccf.http.h1 import ParseFailure, Parser
from pyccf.http.limits import PIPELINE_MAX
from pyccf.http.message import Request, encode_error, encode_stream_head
from pyccf.http.room import Holding
from pyccf.http.session import STREAM_ROOM, STREAM_WAITING_MAX, Deliver, Flow, Source

if TYPE_CHECKING:
    from pyccf.shell.interface import Interface
    from pyccf.shell.wire import Wire

TURN_OUTPUT_MAX = 256 * 1024
"""Bytes of answers gathered before they are handed to the socket."""
TURN_REQUESTS_MAX = 256
"""Requests of one connection handled before others get their turn."""

BUSY = encode_error(
    503,
    "SessionCapExhausted",
    "Service is currently busy and unable to serve new connections",
)
"""What a client above the soft cap is told."""


class _Slot:
    """The place of one answer among those of its connection."""

    __slots__ = ("answer", "dialogue")

    streams: ClassVar[bool] = False

    def __init__(self, dialogue: Dialogue1 | None, answer: bytes | None) -> None:
        self.dialogue = dialogue
        self.answer = answer

    def deliver(self, answer: bytes) -> None:
        assert self.answer is None, "a request is answered once"
        self.answer = answer
        dialogue = self.dialogue
        if dialogue is not None:
            self.dialogue = None
            dialogue.wait(len(answer))
            dialogue.delivered()


class _StreamSlot(_Slot):
    """The place of an answer that is produced over time; the `Flow` of its source.

    What is ready waits here while answers before it are owed, or the client does not read.
    """

    __slots__ = ("_begun", "_source", "failed", "hungry", "pieces", "size")

    streams: ClassVar[bool] = True

    def __init__(self, dialogue: Dialogue1, source: Source) -> None:
        super().__init__(dialogue, None)
        self._source = source
        self._begun = False
        self.pieces: list[bytes] = []
        self.size = 0
        self.failed = False
        self.hungry = False  # the source waits for room

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self._begun, "a response begins once"
        self._begun = True
        self._add(encode_stream_head(status, headers))

    def push(self, piece: bytes) -> bool:
        assert self._begun, "a response begins with its head"
        if piece:
            self._add(b"%x\r\n%b\r\n" % (len(piece), piece))
        dialogue = self.dialogue
        if dialogue is None or self.failed:
            return False
        self.hungry = dialogue.wire.output_full or self.size >= STREAM_ROOM
        return not self.hungry

    def end(self) -> None:
        assert self._begun, "a response begins with its head"
        if self.dialogue is not None and not self.failed:
            self.pieces.append(b"0\r\n\r\n")
            self.deliver(b"".join(self.pieces))

    def fail(self) -> None:
        dialogue = self.dialogue
        if dialogue is not None and not self.failed:
            self.failed = True
            dialogue.pushed(self)

    def _add(self, data: bytes) -> None:
        dialogue = self.dialogue
        if dialogue is None or self.failed:
            return
        self.pieces.append(data)
        self.size += len(data)
        dialogue.pushed(self)
        if self.size > STREAM_WAITING_MAX:
            dialogue.wire.abort()  # its source does not wait for a client that does not read

    def feed(self) -> None:
        """There is room again."""
        if self.hungry and not self.failed and self.dialogue is not None:
            self.hungry = False
            self._source.room()

    def cut(self) -> None:
        """Nobody waits for the end of a body that may have none."""
        if self._source.endless and not self.failed and self.dialogue is not None:
            self.fail()  # first: what its source still says has no effect
            self._source.gone()

    def drop(self) -> None:
        """The client is gone."""
        if self.dialogue is not None:
            self.dialogue = None
            self.pieces.clear()
            if not self.failed:
                self._source.gone()


class Dialogue1:
    """What is said on one connection, in HTTP/1.1."""

    __slots__ = (
        "_backlog",
        "_deferred",
        "_ending",
        "_farewell",
        "_handler",
        "_holding",
        "_in_turn",
        "_interface",
        "_parser",
        "_partial",
        "_pouring",
        "_queue",
        "_session",
        "_stepping",
        "_waiting",
        "wire",
    )

    def __init__(self, wire: Wire, interface: Interface, peer_cert: bytes | None) -> None:
        self.wire = wire
        self._interface = interface
        self._handler = interface.handler
        self._parser = Parser(interface.limits)
        self._queue: deque[_Slot] = deque()  # answers owed, in request order
        self._deferred: _Slot | None = None  # what the request being handled deferred
        self._backlog: deque[Request] = deque()  # parsed, not yet handled
        self._farewell: bytes | None = None  # sent after all answers, then the end
        self._in_turn = False
        self._ending = False  # nothing more is handled
        self._pouring = False  # a part of a streamed answer is about to be sent
        self._stepping = False
        """A request waits for its step at the end of this turn of the loop."""
        self._holding = Holding(interface.room)
        self._partial = 0  # bytes of a request that is not complete yet
        self._waiting = 0  # bytes of answers that are there, and wait for others before them
        self._session = interface.open_session(peer_cert)
        self._session.deferrer = self._defer
        self._session.streamer = self._stream

    # What its connection tells it.

    @property
    def owes(self) -> bool:
        """Whether requests are waiting for their handling or their answers."""
        return bool(self._queue or self._backlog or self._stepping)

    @property
    def waits(self) -> bool:
        """Whether it is the node, and not the client, that everybody waits for."""
        return bool(self._queue)

    @property
    def unsent(self) -> int:
        """Bytes that wait for the client, beside those in its socket."""
        return 0

    def tick(self) -> None:
        """Some time passed."""

    def turn(self, data: bytes) -> None:
        """Handle the requests that these bytes complete. The hot path."""
        try:
            requests = self._parser.feed(data)
        except ParseFailure as failure:
            self._interface.admission.count(failure.metric)
            self._bid_farewell(failure.encode())
            requests = failure.requests
        else:
            if (self._partial or not requests) and not self._hold_request():
                self._bid_farewell(BUSY)
            elif not requests:
                return
            elif len(requests) == 1 and not (self._queue or self._backlog or self._stepping):
                self._stepping = True
                self._interface.turns.step_soon(self, requests[0])
                return
        self._backlog.extend(requests)
        self.go_on()

    def leave(self) -> None:
        """Close when the answers owed are out; bodies that may never end are cut off."""
        if not self.owes:
            self.wire.finish(linger=False)
            return
        self._bid_farewell(b"")
        self.wire.set_reading(False)
        for slot in list(self._queue):
            if isinstance(slot, _StreamSlot):
                slot.cut()

    def gone(self) -> None:
        """The connection is no more."""
        self._ending = True
        self._drop_answers()
        self._backlog.clear()
        self._stepping = False
        self._holding.clear()
        self._handler.close_session(self._session)

    # Requests and answers.

    def _defer(self) -> Deliver:
        assert self._in_turn, "a request is deferred while it is handled"
        assert self._deferred is None, "a request is deferred once"
        slot = _Slot(self, None)
        self._deferred = slot
        self._queue.append(slot)
        return slot.deliver

    def _stream(self, source: Source) -> Flow:
        assert self._in_turn, "a request is deferred while it is handled"
        assert self._deferred is None, "a request is deferred once"
        slot = _StreamSlot(self, source)
        self._deferred = slot
        self._queue.append(slot)
        return slot

    def pushed(self, slot: _StreamSlot) -> None:
        """A part of the answer to an earlier request is there."""
        if not self._pouring and self._queue[0] is slot:
            # In a while: a source that pushes on and on notices when there is no more room.
            self._pouring = True
            asyncio.get_running_loop().call_soon(self._pour)

    def _pour(self) -> None:
        self._pouring = False
        self.go_on()

    def delivered(self) -> None:
        """The answer of an earlier request arrived."""
        if not self._in_turn and self._queue[0].answer is not None:
            self.go_on()

    def step(self, request: Request) -> None:
        """Handle one request, together with those of other connections in this turn of the loop."""
        wire = self.wire
        if not self._stepping:
            return  # the connection is gone
        self._stepping = False
        session = self._session
        handler = self._handler
        self._in_turn = True
        answer = handler.handle(session, request)
        handler.turn_done()
        self._in_turn = False
        if answer is not None:
            assert self._deferred is None, "a deferred request has no answer yet"
            wire.write(answer)
            if not session.close_after and not self._backlog and self._farewell is None:
                return
        else:
            assert self._deferred is not None, "a request is answered or deferred"
            self._deferred = None
        self.go_on()

    def go_on(self) -> None:
        """Send what is ready, handle what is waiting, as far as the limits allow."""
        session = self._session
        wire = self.wire
        if self._in_turn or self._stepping or not wire.is_open:
            return
        queue = self._queue
        backlog = self._backlog
        out: list[bytes] = []
        self._in_turn = True
        if backlog:
            self._handle_some(out)
        self._in_turn = False
        if queue:
            self._take_ready(out)
        if queue and queue[0].streams:
            self._take_pieces(out)
        if session.close_after:
            self._ending = True
        elif self._farewell is not None and not backlog and not self._ending:
            self._ending = True
            if queue:
                queue.append(_Slot(None, self._farewell))
                self.wait(len(self._farewell))
            else:
                out.append(self._farewell)
        if out:
            wire.write(b"".join(out))
        if self._ending:
            backlog.clear()
            wire.accepting = False
            if not queue:
                wire.finish(linger=True)
                return
        room = not wire.output_full and self._has_room()
        if backlog and room:
            asyncio.get_running_loop().call_soon(self.go_on)
        wire.set_reading(wire.accepting and room and not backlog)

    def _handle_some(self, out: list[bytes]) -> None:
        """Handle requests of the backlog; answers go to `out`, or to the queue behind others."""
        handle = self._handler.handle
        session = self._session
        wire = self.wire
        queue = self._queue
        backlog = self._backlog
        if queue:
            self._take_ready(out)
        size = handled = 0
        while (
            backlog
            and not session.close_after
            and not wire.output_full
            and size < TURN_OUTPUT_MAX
            and handled < TURN_REQUESTS_MAX
            and self._has_room()
        ):
            handled += 1
            try:
                answer = handle(session, backlog.popleft())
            except Exception as error:
                wire.blunder(error)
                break
            if answer is None:
                assert self._deferred is not None, "a request is answered or deferred"
                self._deferred = None
                continue
            assert self._deferred is None, "a deferred request has no answer yet"
            size += len(answer)
            if queue:
                queue.append(_Slot(None, answer))
                self.wait(len(answer))
            else:
                out.append(answer)
        if handled:
            self._handler.turn_done()

    def _has_room(self) -> bool:
        """Whether more answers may be owed."""
        return len(self._queue) < PIPELINE_MAX and not self._holding.crowded(self._waiting)

    def _hold_request(self) -> bool:
        """Count what an unfinished request takes; False if there is no room for it."""
        more = self._parser.unfinished - self._partial
        if not self._holding.fits(more):
            return False
        self._partial += more
        self._holding.add(more)
        return True

    def wait(self, size: int) -> None:
        """So many bytes of answers wait for others before them, more or less."""
        self._waiting += size
        self._holding.add(size)

    def _take_ready(self, out: list[bytes]) -> None:
        """The answers that nothing has to be waited for."""
        queue = self._queue
        while queue:
            answer = queue[0].answer
            if answer is None:
                return
            out.append(answer)
            self.wait(-len(answer))
            queue.popleft()

    def _take_pieces(self, out: list[bytes]) -> None:
        """What there is of the streamed answer that is next."""
        slot = self._queue[0]
        assert isinstance(slot, _StreamSlot)
        if self.wire.output_full:
            return
        out += slot.pieces
        slot.pieces.clear()
        slot.size = 0
        if slot.failed:
            self._ending = True
            self._drop_answers()
        elif slot.hungry:
            asyncio.get_running_loop().call_soon(slot.feed)

    def _drop_answers(self) -> None:
        """Nobody is going to get the answers that are still owed."""
        slots = list(self._queue)
        self._queue.clear()
        self.wait(-self._waiting)
        for slot in slots:
            if isinstance(slot, _StreamSlot):
                slot.drop()
            else:
                slot.dialogue = None

    def _bid_farewell(self, last: bytes) -> None:
        """Take no more bytes; after the answers owed send `last` and close."""
        self.wire.accepting = False
        if self._farewell is None:
            self._farewell = last
