"""A client of HTTP/2 that says whatever a test wants, well formed or not, and notes what comes."""

from __future__ import annotations

import asyncio
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hyperframe.frame import Frame

from pyccf.http.h2 import Server
from support.listening import PATIENCE_S, Client

CONFIG = H2Configuration(
    client_side=True,
    header_encoding="utf-8",
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Got:
    """What came on one stream."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None


def head(method: str, path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """The fields of a request."""
    return [
        (":method", method),
        (":path", path),
        (":scheme", "https"),
        (":authority", "h"),
        *more,
    ]


class Talker:
    """One connection without a socket; `data` takes what is to be sent, `hear` what came."""

    def __init__(self, *, reads: bool = True) -> None:
        self.library = H2Connection(CONFIG)
        self.library.initiate_connection()
        self.got: dict[int, Got] = {}
        self.settings: dict[int, int] = {}
        self.goodbye: int | None = None
        self.reads = reads
        """Gives windows back for what it received."""
        self._next = 1

    def ask(
        self,
        method: str = "GET",
        path: str = "/",
        *more: tuple[str, str],
        body: bytes | None = None,
    ) -> int:
        """Make a whole request; its stream."""
        return self.send(head(method, path, *more), body)

    def send(self, fields: list[tuple[str, str]], body: bytes | None = None) -> int:
        """Make a request of these fields."""
        stream = self.open(fields, ended=body is None)
        if body is not None:
            self.library.send_data(stream, body, end_stream=True)
        return stream

    def open(self, fields: list[tuple[str, str]], *, ended: bool = False) -> int:
        stream, self._next = self._next, self._next + 2
        self.got[stream] = Got()
        self.library.send_headers(stream, fields, end_stream=ended)
        return stream

    def raw(self, *frames: Frame) -> bytes:
        """Frames behind what there is to send."""
        return self.data() + b"".join(frame.serialize() for frame in frames)

    def data(self) -> bytes:
        return self.library.data_to_send()

    def hear(self, data: bytes) -> None:
        for event in self.library.receive_data(data):
            self._note(event)

    def _note(self, event: Any) -> None:
        match event:
            case ResponseReceived():
                got = self.got[event.stream_id or 0]
                fields: list[tuple[str, str]] = event.headers  # type: ignore[assignment]
                got.headers = dict(fields)
                got.status = int(got.headers.pop(":status"))
            case DataReceived():
                self.got[event.stream_id or 0].body += event.data or b""
                if self.reads and event.flow_controlled_length:
                    self.library.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id or 0
                    )
            case StreamEnded():
                self.got[event.stream_id or 0].ended = True
            case StreamReset():
                self.got[event.stream_id or 0].reset = int(event.error_code or 0)
            case RemoteSettingsChanged():
                self.settings.update(
                    {int(code): change.new_value for code, change in event.changed_settings.items()}
                )
            case ConnectionTerminated():
                self.goodbye = int(event.error_code or 0)


class Pair:
    """A talker and a server that hear each other."""

    def __init__(self, server: Server, *, reads: bool = True) -> None:
        self.server = server
        self.talker = Talker(reads=reads)
        self.arrived: list[Any] = []

    def go(self, data: bytes | None = None) -> list[Any]:
        """Carry bytes there and back until nobody says anything; the requests that arrived."""
        data = self.talker.data() if data is None else data
        before = len(self.arrived)
        while data:
            self.arrived += self.server.feed(data)
            back = self.server.take()
            while self.server.more and not self.server.closing:
                back += self.server.take()
            if back:
                self.talker.hear(back)
            data = self.talker.data()
        return self.arrived[before:]


class H2Client:
    """The same over a socket."""

    def __init__(self, client: Client, *, reads: bool = True) -> None:
        self.client = client
        self.talker = Talker(reads=reads)
        self.closed = False

    def flush(self) -> None:
        data = self.talker.data()
        if data:
            self.client.send(data)

    async def hear(self, seconds: float = PATIENCE_S) -> bool:
        """Take what comes next; False at the end of the connection."""
        data = await asyncio.wait_for(self.client.reader.read(64 * 1024), seconds)
        if not data:
            self.closed = True
            return False
        self.talker.hear(data)
        self.flush()
        return True

    async def answer(self, stream: int) -> Got:
        """What came on a stream, once it is over, or the connection."""
        self.flush()
        got = self.talker.got[stream]
        while not got.over and await self.hear():
            pass
        return got

    async def ask(
        self,
        method: str = "GET",
        path: str = "/",
        *more: tuple[str, str],
        body: bytes | None = None,
    ) -> Got:
        return await self.answer(self.talker.ask(method, path, *more, body=body))

    async def end(self) -> None:
        """Everything until the other side closes."""
        self.flush()
        while not self.closed and await self.hear():
            pass
