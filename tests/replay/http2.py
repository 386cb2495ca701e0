"""Recorded HTTP/2 exchanges, made with a frame library that refuses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from replay.wire import ANSWER_TIMEOUT_S, Line
from support.node import Reply
from support.transcripts import Answer

if TYPE_CHECKING:
    from replay.driver import LiveReplay
    from replay.recording import Exchange

LOOSE = H2Configuration(
    client_side=True,
    header_encoding=None,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
    validate_inbound_headers=False,
)


class Speaker:
    """One HTTP/2 connection, one stream after the other."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.h2 = H2Connection(LOOSE)
        self.h2.initiate_connection()
        line.send(self.h2.data_to_send())
        self.stream = -1

    def events(self) -> list[Event] | None:
        """What came; None when the peer closed."""
        try:
            data = self.line.more(ANSWER_TIMEOUT_S)
        except TimeoutError:
            return []
        if not data:
            return None
        try:
            found = self.h2.receive_data(data)
        except ProtocolError:
            return None
        self.line.send(self.h2.data_to_send())
        return found

    def ask(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        """One request and what came of it."""
        try:
            self.stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(self.stream, headers, end_stream=not body)
            self._body(body)
        except ProtocolError:
            return Answer(None, "", True)
        self.line.send(self.h2.data_to_send())
        head: dict[str, str] = {}
        came = b""
        while True:
            events = self.events()
            if not events:
                return Answer(None, "", events is None)
            for event in events:
                if isinstance(event, ResponseReceived):
                    head = {k.decode(): v.decode("latin-1") for k, v in event.headers}
                elif isinstance(event, DataReceived):
                    came += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamReset | ConnectionTerminated):
                    return Answer(None, "", isinstance(event, ConnectionTerminated))
                elif isinstance(event, StreamEnded):
                    return Answer(reply(head, came), "", False)
            self.line.send(self.h2.data_to_send())

    def _body(self, body: bytes) -> None:
        size = self.h2.max_outbound_frame_size
        for start in range(0, len(body), size):
            last = start + size >= len(body)
            self.h2.send_data(self.stream, body[start : start + size], end_stream=last)


def reply(headers: dict[str, str], body: bytes) -> Reply:
    """An answer in the form of one over HTTP/1.1."""
    lines = [f"HTTP/1.1 {headers[':status']} -"]
    lines += [f"{k}: {v}" for k, v in headers.items() if not k.startswith(":")]
    return Reply("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def exchange(replay: LiveReplay, exchange: Exchange) -> Answer:
    """The answer to a recorded exchange over HTTP/2."""
    asked = exchange["request"]
    name: str = exchange["name"]
    shared = name.startswith("HTTP/2 session")
    speaker = replay.speakers.get(exchange["interface"]) if shared else None
    if speaker is None:
        try:
            speaker = Speaker(replay._open(exchange, alpn=["h2"]))
        except OSError:
            return Answer(None, "", True)
        if shared:
            replay.speakers[exchange["interface"]] = speaker
    body = replay.body(exchange)
    headers = [(k.encode(), replay.ours(v).encode()) for k, v in asked["headers"]]
    if len(headers) == 2 and exchange["response"]["status"] is not None:
        # Written down in short; without these two there would have been no answer.
        headers += [(b":scheme", b"https"), (b":authority", b"h")]
    answer = speaker.ask(headers, body)
    if "connection_closed" in exchange["response"] and answer.reply is not None:
        answer = answer._replace(closed=speaker.line.closed())
    if not shared:
        speaker.line.close()
    elif answer.closed:
        speaker.line.close()
        if answer.reply is None:
            del replay.speakers[exchange["interface"]]
    return answer


def settings(replay: LiveReplay, exchange: Exchange) -> dict[str, Any]:
    """The first settings a node sends, and the protocol it chose."""
    line = replay._open(exchange, alpn=["h2"])
    chosen = line.socket.selected_alpn_protocol()  # type: ignore[attr-defined]
    try:
        for event in Speaker(line).events() or []:
            if isinstance(event, RemoteSettingsChanged):
                told = {
                    str(int(code)): change.new_value
                    for code, change in event.changed_settings.items()
                }
                return {"settings": told, "alpn_selected": chosen}
        return {"settings": {}, "alpn_selected": chosen}
    finally:
        line.close()
