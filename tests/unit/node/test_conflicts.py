"""A request whose transaction conflicts again and again is given up, and says so."""

from __future__ import annotations

from pyccf.apps.context import Context
from pyccf.apps.router import Endpoint
from support.node import Service

TABLE = "contended"
KEY = b"k"


def make(conflicts: int) -> tuple[Service, list[int]]:
    """A service with an endpoint that is overtaken so many times."""
    attempts: list[int] = []
    made: list[Service] = []

    def contend(ctx: Context) -> None:
        handle = ctx.tx.map(TABLE)
        handle.get(KEY)
        handle.set(KEY, b"mine")
        attempts.append(len(attempts))
        if len(attempts) <= conflicts:
            other = made[0].node.store.tx()
            other.map(TABLE).set(KEY, b"%d" % len(attempts))
            made[0].node.commit(other)
        ctx.json(len(attempts))

    service = Service(
        install=lambda parts: [("app", [Endpoint(verb="POST", path="/contend", execute=contend)])]
    )
    made.append(service)
    service.open_app()
    return service, attempts


def test_a_conflict_is_tried_again() -> None:
    service, attempts = make(29)
    reply = service.call("POST", "/app/contend")
    assert (reply.status, reply.json) == (200, 30)
    assert len(attempts) == 30


def test_conflicts_without_end_are_answered() -> None:
    service, attempts = make(1000)
    reply = service.call("POST", "/app/contend")
    assert reply.status == 503
    assert reply.json["error"]["code"] == "TransactionCommitAttemptsExceedLimit"
    assert reply.headers["retry-after"] == "3"
    assert "x-ms-ccf-transaction-id" not in reply.headers
    assert len(attempts) == 30
