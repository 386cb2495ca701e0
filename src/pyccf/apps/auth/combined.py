"""Policies made of others, or of none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pyccf.apps.auth.policy import AuthFailure, Policy
from pyccf.apps.context import Caller, Context


class NoAuth:
    """Everybody is welcome."""

    name: ClassVar = "no_auth"
    challenge: ClassVar = None
    scheme: ClassVar = "no_auth"
    _caller = Caller("no_auth")

    def authenticate(self, ctx: Context) -> Caller:
        return self._caller


class AllOf:
    """Every one of several policies must succeed; they are tried in name order."""

    scheme: ClassVar = None

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(sorted(policies, key=lambda p: p.name))
        self.name = "+".join(p.name for p in self.policies)
        self.challenge: str | None = None

    def authenticate(self, ctx: Context) -> Caller:
        found: list[Caller] = []
        for policy in self.policies:
            try:
                found.append(policy.authenticate(ctx))
            except AuthFailure as e:
                raise AuthFailure(f"{policy.name}:{e.reason}", policy.challenge) from None
        return Caller(self.name, all_of=tuple(found))
