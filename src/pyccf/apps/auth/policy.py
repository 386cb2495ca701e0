"""What a policy is: it names the caller of one request, or says why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyccf.codec.text import load_json

if TYPE_CHECKING:
    from pyccf.apps.context import Caller, Context
    from pyccf.types import Json

INVALID = "InvalidAuthenticationInfo"


class AuthFailure(Exception):
    """A policy found no caller; the text is told to the client."""

    def __init__(self, reason: str, challenge: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.challenge = challenge


class Policy(Protocol):
    """One way of finding out who calls."""

    @property
    def name(self) -> str:
        """Name in error details, in `request.caller.policy` and in app metadata."""
        ...

    @property
    def challenge(self) -> str | None:
        """Value of `www-authenticate` when this is the last policy to fail."""
        ...

    @property
    def scheme(self) -> str | None:
        """Name of the OpenAPI security scheme, None for policies that have none."""
        ...

    def authenticate(self, ctx: Context) -> Caller:
        """The caller; raises AuthFailure."""
        ...


def member_of(raw: bytes | None, field: str) -> Json:
    record = load_json(raw) if raw is not None else None
    return record.get(field) if isinstance(record, dict) else None
