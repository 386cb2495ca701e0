"""pyccf.client.errors: refusals as a person reads them."""

from __future__ import annotations

import json

import pytest

from pyccf.client.errors import CommitTimeout, NotCommitted, ServiceError, service_error
from pyccf.errors import PyccfError, RemoteError
from pyccf.types import TxID


def body(code: str, message: str, **more: object) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, **more}}).encode()


def test_code_message_and_details() -> None:
    error = service_error(400, body("InvalidInput", "no\nway", details=[{"message": "why"}, 1]))
    assert type(error) is ServiceError
    assert isinstance(error, RemoteError)
    assert (error.status, error.code, error.text) == (400, "InvalidInput", "no\nway")
    assert error.details == ({"message": "why"}, 1)
    assert error.reasons == ("why",)
    assert error.explain() == "no way (400 InvalidInput): why\nThe service changed nothing."


def test_commit_timeouts_say_that_nothing_is_lost() -> None:
    error = service_error(504, body("CommitTimeout", "late"), TxID(2, 3))
    assert type(error) is CommitTimeout
    assert error.txid == TxID(2, 3)
    assert "not lost" in error.explain()


@pytest.mark.parametrize("text", [b"", b"<html>", b"\xff", b"[]", b'{"error": "x"}'])
def test_answers_of_others_than_ccf(text: bytes) -> None:
    error = service_error(502, text)
    assert error.code == "HTTP502"
    assert len(error.explain().splitlines()) == 2


def test_long_answers_are_cut() -> None:
    assert len(service_error(500, b"x" * 10_000).message) < 600


def test_every_error_explains_itself_in_two_lines() -> None:
    errors: list[PyccfError] = [NotCommitted(TxID(2, 3)), service_error(404, body("X", "y"))]
    for error in errors:
        assert len(error.explain().splitlines()) == 2
