"""Sessions."""

from __future__ import annotations

import pytest

from pyccf.http.session import Deliver, Flow, Session, Source


def test_a_new_session_remembers_nothing() -> None:
    session = Session(7, "rpc", b"der")
    assert (session.id, session.interface, session.peer_cert) == (7, "rpc", b"der")
    assert session.view is None
    assert session.scratch == {}
    assert not session.close_after
    assert not session.is_forwarding
    assert not session.forwarded


def test_deferring_goes_to_the_connection() -> None:
    session = Session(7, "rpc")
    with pytest.raises(AssertionError, match="no connection"):
        session.defer()
    got: list[bytes] = []

    def take() -> Deliver:
        return got.append

    session.deferrer = take
    session.defer()(b"answer")
    assert got == [b"answer"]


def test_not_every_session_can_stream() -> None:
    class Nobody:
        endless = True

        def room(self) -> None: ...

        def gone(self) -> None: ...

    session = Session(7, "rpc")
    assert not session.can_stream
    with pytest.raises(AssertionError, match="cannot stream"):
        session.stream(Nobody())
    asked: list[Source] = []

    def take(source: Source) -> Flow:
        asked.append(source)
        raise NotImplementedError

    session.streamer = take
    assert session.can_stream
    source = Nobody()
    with pytest.raises(NotImplementedError):
        session.stream(source)
    assert asked == [source]
