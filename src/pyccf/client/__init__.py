"""A typed client of a CCF service, ours or the original.

    with Client(url, "service_cert.pem", cert="user0_cert.pem", key="user0_privk.pem") as client:
        reply = client.post("/app/log/private", json={"id": 1, "msg": "hello"}, wait="receipt")

Several addresses may be given instead of one; the client then goes on to the next when a node does
not answer. `AsyncClient` has the same methods, for programs with an event loop.

From outside: `Client`, `AsyncClient`, `Identity`, `Reply`, the result types of `client.types`, and
the errors below. What a service says arrives as a value; a refusal arrives as `ServiceError` with
CCF's code.
"""

from __future__ import annotations

from pyccf.client.client import AsyncClient, Client
from pyccf.client.connection import Reply
from pyccf.client.errors import (
    CommitTimeout,
    NotCommitted,
    ServiceError,
    Unanswered,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from pyccf.client.signing import Identity, MessageType, sign_governance

__all__ = [
    "AsyncClient",
    "Client",
    "CommitTimeout",
    "Identity",
    "MessageType",
    "NotCommitted",
    "Reply",
    "ServiceError",
    "Unanswered",
    "UnexpectedAnswer",
    "Unreachable",
    "Untrusted",
    "sign_governance",
]
