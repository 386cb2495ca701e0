"""HTTP/2 requests out of bytes, and responses into frames, for one connection.

The `h2` library keeps the states of RFC 9113; what is added is CCF's limits and words, and bounds
on everything a client can make us hold or do (spec: http-api.md §4.2, §4.5). `feed` takes bytes and
gives the requests they complete; `answer`, or `begin`, `push` and `end`, give responses, which go
out as far as the client's windows allow; `take` gives the bytes to send.

Promises: a malformed request resets its stream and harms no other. A request beyond the limits is
answered with 413 or 431 and is the last of its connection. Bytes that are not HTTP/2, a method that
does not exist, and clients that make work for nothing (floods of resets, settings, pings, empty or
tiny frames; `limits`) end the connection without an answer: `closing` is true, `metric` says how to
count it, and after what `take` still gives it must be closed. Nothing is pushed to clients.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    UnknownFrameReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import Frame, GoAwayFrame, SettingsFrame

from pyccf.http.failure import ParseFailure, refused_body
from pyccf.http.h2_frames import BadFrame, FrameGuard
from pyccf.http.h2_heads import Malformed, Reply, response_head, take_head
from pyccf.http.limits import (
    FIELD_COST,
    NUISANCE_MAX,
    REQUEST_COST,
    RESET_COST,
    SILENT_FORGIVEN,
    TINY_DATA,
    WINDOW_STEP,
    HttpLimits,
)
from pyccf.http.message import Request
from pyccf.http.methods import METHODS
from pyccf.http.room import Holding, Room

FRAME_SIZE = 16 * 1024
"""Bytes of one DATA frame that we send: others get their turn after it."""
OUTPUT_SIZE_MAX = 256 * 1024
"""Bytes of bodies given out at once."""
TABLE_SIZE_MAX = 4096
"""Bytes of headers remembered for a client, whatever more it offers to remember."""
STREAMS_REMEMBERED = 1024
"""Ended streams of which it is known how they ended."""

_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,  # malformed ones would end the connection, not the stream
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class _Library(H2Connection):
    MAX_CLOSED_STREAMS = STREAMS_REMEMBERED

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        """The client makes no more requests; what it began goes on (RFC 9113 6.8).

        The library would neither hear nor say anything more, and forget what it has not said yet.
        """
        return [], [ConnectionTerminated()]


class Arrived(msgspec.Struct, frozen=True):
    """A complete request."""

    stream: int
    request: Request
    size: int
    """Bytes to give back with `release` once it is handled."""


class _Receiving:
    """A request that is not complete yet."""

    __slots__ = ("body", "fields", "method", "path", "size")

    def __init__(self, method: str, path: str, fields: list[bytes], size: int) -> None:
        self.method = method
        self.path = path
        self.fields = fields
        self.body = bytearray()
        self.size = size


class _Sending:
    """A body that waits for the client to open its window."""

    __slots__ = ("data", "ended")

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False


class Server:
    """The server's end of one HTTP/2 connection. All of a node share one `room`."""

    def __init__(self, limits: HttpLimits, room: Room | None = None) -> None:
        self._limits = limits
        self._holding = Holding(Room() if room is None else room)
        self._guard = FrameGuard(limits.max_frame_size, limits.head_block_max)
        self._library = _library(limits)
        self._receiving: dict[int, _Receiving] = {}
        self._sending: dict[int, _Sending] = {}
        self._arrived: dict[int, Arrived] = {}
        self._cancelled: list[int] = []
        self._held = 0
        self._nuisance = 0
        self._windows = 0  # openings of windows that what was sent gives reason for
        self._silent = 0
        self._broken = False
        self._greeted = False
        self._raw = b""
        self.waiting = 0
        """Bytes of bodies that the client's windows hold back."""
        self.closing = False
        """The connection is to be closed when what `take` gives is sent."""
        self.leaving = False
        """The client makes no more requests."""
        self.metric: str | None = None
        """Which error of the client closes the connection, as `/node/metrics` counts them."""

    # --- bytes in -------------------------------------------------------------------------------

    def feed(self, data: bytes) -> list[Arrived]:
        """Take the next bytes; the requests they complete. Of a closing connection, none."""
        if self.closing:
            return []
        try:
            known = self._guard.frames
            self._guard.check(data)
            if not self._greeted:
                self._greeted = self._guard.greeted
                if self._greeted:
                    self._raw += _settings(self._limits)
            events = self._library.receive_data(data)
            self._take_events(events)
            self._listen_for_silence(self._guard.frames - known, events)
        except (BadFrame, ProtocolError):
            self._close("parsing")
            # The library says nothing more either.
            self._broken = True
            self._sending.clear()
            self._wait(-self.waiting)
        arrived = list(self._arrived.values())
        self._arrived.clear()
        self._trim_tables()
        return arrived

    def cancelled(self) -> list[int]:
        """Streams that the client gave up since this was asked last, of requests given out."""
        cancelled, self._cancelled = self._cancelled, []
        return cancelled

    def release(self, arrived: Arrived) -> None:
        """A request was handled, or forgotten: others may take its room."""
        self._hold(-arrived.size)

    def gone(self) -> None:
        """The connection is no more, and holds nothing; nothing is asked of this any more."""
        self._broken = self.closing = True
        self._receiving.clear()
        self._sending.clear()
        self._arrived.clear()
        self._held = self.waiting = 0
        self._holding.clear()

    @property
    def crowded(self) -> bool:
        """Whether answers that wait keep others from being made."""
        return self._holding.crowded(self.waiting)

    def relax(self) -> None:
        """Some time passed (about a second): what a client did before is forgiven."""
        self._nuisance = self._silent = 0

    def _take_events(self, events: list[Event]) -> None:
        for event in events:
            if not self.closing:
                self._happened(event)
            elif isinstance(event, StreamReset):
                assert event.stream_id is not None
                self._unsend(event.stream_id)  # for the library, that stream is no more

    def _listen_for_silence(self, frames: int, events: list[Event]) -> None:
        """Frames about streams that are over, and the like: the library passes over them.

        A few are nobody's fault. A frame that is not complete yet counts until it is.
        """
        told = requests = 0
        for event in events:
            told += not isinstance(event, StreamEnded)
            requests += isinstance(event, RequestReceived)
        self._silent = max(0, self._silent + frames - told - SILENT_FORGIVEN * requests)
        if self._silent > NUISANCE_MAX:
            self._close("parsing")

    def _happened(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._on_head(event)
            case DataReceived():
                self._on_data(event)
            case StreamEnded():
                self._on_end(event.stream_id)
            case StreamReset():
                self._on_reset(event.stream_id)
            case WindowUpdated():
                self._windows -= 1
                if self._windows < 0:
                    self._windows = 0
                    self._annoyed(1)
            case ConnectionTerminated():
                self.leaving = True
                self._annoyed(1)
            case (
                PingReceived()
                | PingAckReceived()
                | PriorityUpdated()
                | RemoteSettingsChanged()
                | SettingsAcknowledged()
                | UnknownFrameReceived()
            ):
                self._annoyed(1)
            case _:
                pass  # trailers, for one: they change nothing here

    def _on_head(self, event: RequestReceived) -> None:
        stream, headers = event.stream_id, event.headers
        assert stream is not None
        assert headers is not None
        try:
            head = take_head(headers, self._limits)
        except Malformed:
            self._annoyed(RESET_COST)
            self.reset(stream, ErrorCodes.PROTOCOL_ERROR)
            return
        except ParseFailure as failure:
            self._refuse(stream, failure)
            return
        method = METHODS.get(head.method)
        if method is None:
            self._close("parsing")
            return
        size = head.size + REQUEST_COST + FIELD_COST * len(head.fields) // 2
        if not self._may_hold(size):
            self.refuse(stream)
            return
        self._hold(size)
        self._nuisance = max(0, self._nuisance - 1)
        path = head.path.decode("ascii")
        self._receiving[stream] = _Receiving(method, path, head.fields, size)

    def _on_data(self, event: DataReceived) -> None:
        stream, data, size = event.stream_id, event.data, event.flow_controlled_length
        assert stream is not None
        assert size is not None
        self._library.acknowledge_received_data(size, stream)
        receiving = self._receiving.get(stream)
        if len(data) < TINY_DATA and event.stream_ended is None:
            self._annoyed(1)
        if not data or receiving is None:
            return
        if len(receiving.body) + len(data) > self._limits.max_body_size:
            self._forget(stream)
            self._refuse(stream, refused_body(self._limits.max_body_size))
        elif not self._may_hold(len(data)):
            self._forget(stream)
            self.refuse(stream)
        else:
            receiving.body += data
            receiving.size += len(data)
            self._hold(len(data))

    def _on_end(self, stream: int | None) -> None:
        assert stream is not None
        receiving = self._receiving.pop(stream, None)
        if receiving is not None:
            request = Request.received(
                receiving.method, receiving.path, receiving.fields, bytes(receiving.body)
            )
            self._arrived[stream] = Arrived(stream, request, receiving.size)

    def _on_reset(self, stream: int | None) -> None:
        assert stream is not None
        self._annoyed(RESET_COST)
        self._forget(stream)
        self._unsend(stream)
        arrived = self._arrived.pop(stream, None)
        if arrived is None:
            self._cancelled.append(stream)
        else:
            self.release(arrived)

    def _forget(self, stream: int) -> None:
        receiving = self._receiving.pop(stream, None)
        if receiving is not None:
            self._hold(-receiving.size)

    def _may_hold(self, size: int) -> bool:
        """Whether so much more of a request can be kept."""
        return self._held + size <= self._limits.held_size_max and self._holding.fits(size)

    def _hold(self, size: int) -> None:
        self._held += size
        self._holding.add(size)

    def _wait(self, size: int) -> None:
        """So much more of an answer waits, or so much less."""
        self.waiting += size
        self._holding.add(size)

    def _refuse(self, stream: int, failure: ParseFailure) -> None:
        self.answer(stream, failure.encode())
        self._close(failure.metric)

    def _annoyed(self, cost: int) -> None:
        self._nuisance += cost
        if self._nuisance > NUISANCE_MAX:
            self._close("parsing")

    def _close(self, metric: str) -> None:
        self.closing = True
        self.metric = metric

    def _trim_tables(self) -> None:
        """Remember no more headers for the client than we want to, and no more of its changes."""
        encoder = self._library.encoder
        if encoder.header_table_size > TABLE_SIZE_MAX:
            encoder.header_table_size = TABLE_SIZE_MAX
        changes = encoder.table_size_changes
        if len(changes) > 2:
            # What an encoder must tell: the smallest size, and the last (RFC 7541 4.2).
            encoder.table_size_changes = [min(changes), changes[-1]]

    # --- responses ------------------------------------------------------------------------------

    def answer(self, stream: int, response: bytes) -> None:
        """Give the complete response, in the form of HTTP/1.1 (`message.encode_response`)."""
        if not self._is_open(stream):
            return
        reply = Reply(response)
        self._library.send_headers(stream, reply.headers, end_stream=not reply.body)
        if reply.body:
            sending = self._sending[stream] = _Sending()
            sending.data += reply.body
            sending.ended = True
            self._wait(len(reply.body))

    def begin(self, stream: int, status: int, headers: Mapping[str, str]) -> None:
        """Give the head of a response whose body follows."""
        if not self._is_open(stream):
            return
        fields = (
            (name.encode("utf-8", "surrogatepass"), headers[name].encode("utf-8", "surrogatepass"))
            for name in sorted(headers)
            if name != "content-length"
        )
        self._library.send_headers(stream, response_head(b"%d" % status, fields))
        self._sending[stream] = _Sending()

    def push(self, stream: int, piece: bytes) -> None:
        """Give a piece of the body."""
        sending = self._sending.get(stream)
        if sending is not None:
            sending.data += piece
            self._wait(len(piece))

    def end(self, stream: int) -> None:
        """The body is complete."""
        sending = self._sending.get(stream)
        if sending is not None:
            sending.ended = True

    def reset(self, stream: int, error: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """End a stream, whatever is owed on it."""
        self._unsend(stream)
        if self._is_open(stream):
            self._library.reset_stream(stream, error)

    def refuse(self, stream: int) -> None:
        """End a stream of which nothing was handled: the client may ask elsewhere."""
        self.reset(stream, ErrorCodes.REFUSED_STREAM)

    def waiting_of(self, stream: int) -> int:
        """Bytes of one body that the client's windows hold back."""
        sending = self._sending.get(stream)
        return 0 if sending is None else len(sending.data)

    def say_goodbye(self) -> None:
        """Tell the client to make no more requests here (RFC 9113 6.8)."""
        if self._greeted and not self.closing:
            frame = GoAwayFrame(0)
            frame.last_stream_id = self._library.highest_inbound_stream_id
            self._raw += self._library.data_to_send() + frame.serialize()

    def take(self) -> bytes:
        """The bytes to send now. Ask again while `more` is true."""
        if self._sending:
            self._send_bodies()
        raw, self._raw = self._raw, b""
        data = self._library.data_to_send()
        return raw + data if raw else data

    @property
    def more(self) -> bool:
        """Whether `take` would give more of the bodies at once."""
        return any(self._sendable(stream, body) for stream, body in self._sending.items())

    def _is_open(self, stream: int) -> bool:
        """Whether a stream can still be answered."""
        if self._broken:
            return False
        found = self._library.streams.get(stream)
        return found is not None and not found.closed

    def _unsend(self, stream: int) -> None:
        sending = self._sending.pop(stream, None)
        if sending is not None:
            self._wait(-len(sending.data))

    def _sendable(self, stream: int, body: _Sending) -> bool:
        if not body.data:
            return body.ended
        return self._library.local_flow_control_window(stream) > 0

    def _send_bodies(self) -> None:
        """A frame of each body in turn, as far as the windows allow."""
        left = OUTPUT_SIZE_MAX
        going = True
        while going and left > 0:
            going = False
            for stream in list(self._sending):
                body = self._sending[stream]
                if left <= 0 or not self._sendable(stream, body):
                    continue
                going = True
                left -= self._send_some(stream, body)

    def _send_some(self, stream: int, body: _Sending) -> int:
        """One frame; its size."""
        library = self._library
        size = min(len(body.data), FRAME_SIZE, library.max_outbound_frame_size)
        if size:
            size = min(size, library.local_flow_control_window(stream))
        piece = bytes(body.data[:size])
        del body.data[:size]
        self._wait(-size)
        # For each of them one opening of the stream's window and one of the connection's.
        self._windows += 2 * (size // WINDOW_STEP if body.data else 1 + size // WINDOW_STEP)
        # Those that are not at their end wait behind the others.
        del self._sending[stream]
        ends = body.ended and not body.data
        if not ends:
            self._sending[stream] = body
        library.send_data(stream, piece, end_stream=ends)
        return size


def _library(limits: HttpLimits) -> H2Connection:
    library = _Library(_CONFIG)
    library.initiate_connection()
    library.clear_outbound_data_buffer()  # what we announce is said by `_settings`
    library.local_settings.update(
        {
            SettingCodes.MAX_FRAME_SIZE: limits.max_frame_size,
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams_count,
            SettingCodes.INITIAL_WINDOW_SIZE: limits.initial_window_size,
        }
    )
    # Larger than what is refused with an answer; what is larger still is not even decoded.
    library.decoder.max_header_list_size = 2 * limits.head_size_max
    return library


def _settings(limits: HttpLimits) -> bytes:
    """What we announce to the client; it holds once the client has acknowledged it."""
    frame = SettingsFrame(
        0,
        settings={
            SettingsFrame.MAX_FRAME_SIZE: limits.max_frame_size,
            SettingsFrame.MAX_CONCURRENT_STREAMS: limits.max_concurrent_streams_count,
            SettingsFrame.INITIAL_WINDOW_SIZE: limits.initial_window_size,
            SettingsFrame.MAX_HEADER_LIST_SIZE: limits.max_headers_count * limits.max_header_size,
        },
    )
    return frame.serialize()
