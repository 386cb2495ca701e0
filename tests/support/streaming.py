"""A source of a streamed body that does what a test says."""

from __future__ import annotations

from pyccf.http.message import Request
from pyccf.http.session import Flow, Session


class Tap:
    """Streams on one path of a scripted handler, and remembers what it was told."""

    def __init__(self, *, endless: bool = True) -> None:
        self.endless = endless
        self.flows: list[Flow] = []
        self.rooms = 0
        self.gone_times = 0

    def __call__(self, session: Session, request: Request) -> None:
        self.flows.append(session.stream(self))

    @property
    def flow(self) -> Flow:
        """The latest."""
        return self.flows[-1]

    def begin(self) -> None:
        self.flow.begin(200, {"content-type": "text/event-stream"})

    def room(self) -> None:
        self.rooms += 1

    def gone(self) -> None:
        self.gone_times += 1


class Well:
    """A source that gives so many pieces, and heeds when there is no room."""

    endless = False

    def __init__(self, piece: bytes, total: int) -> None:
        self.piece = piece
        self.left = total
        self.gone_times = 0
        self.flow: Flow | None = None

    def __call__(self, session: Session, request: Request) -> None:
        self.flow = session.stream(self)
        self.flow.begin(200, {"content-type": "text/plain"})
        self.room()

    def room(self) -> None:
        flow = self.flow
        assert flow is not None
        while self.left:
            self.left -= 1
            if not flow.push(self.piece):
                return
        flow.end()

    def gone(self) -> None:
        self.gone_times += 1
