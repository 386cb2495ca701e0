"""Sessions."""

from __future__ import annotations

import pytest

from pyccf.http.session import Deliver, Session


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
