"""What the endpoints have in common: the application, its tables, and the types of its JSON."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pyccf.apps.python import App, Table
from pyccf.errors import RpcError

MESSAGE_MAX = 4096
"""Longest message, in characters."""

Id = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Message = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MESSAGE_MAX, pattern=r"\A[^\x00]*\Z")
]
Scope = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9_-]{1,32}\Z")]


class Record(msgspec.Struct):
    """A message under an id."""

    id: Id
    msg: Message
    record_claim: bool | None = None
    """Whether the receipt is to prove the message; public records say yes when not told."""


class Scoped(msgspec.Struct):
    """Records of a scope are kept apart from all others."""

    scope: Scope | None = None


class ById(Scoped, kw_only=True):
    id: Id


class Text(msgspec.Struct):
    """What a record says."""

    msg: str


app = App(
    title="Logging",
    description="Records that users write, read and prove.",
    version="1.0.0",
)

private = Table("records", key=int, value=str)
public = Table("public:records", key=int, value=str)
TABLES = {"/log/private": private, "/log/public": public}

USER = ["jwt", "user_cert", "user_cose_sign1"]
"""Who may use most of it: a token of a known issuer, or a user by certificate or signature."""
USER_CERT = ["user_cert"]


def scoped(records: Table[int, str], scope: str | None) -> Table[int, str]:
    """The records of a scope, which has a table of its own."""
    return records if scope is None else Table(f"{records.name}-{scope}", key=int, value=str)


def not_found(record_id: int) -> RpcError:
    return RpcError(404, "ResourceNotFound", f"There is no record {record_id}")
