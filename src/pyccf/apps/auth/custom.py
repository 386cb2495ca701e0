"""Policies that an application wrote, kept from doing more harm than refusing a request."""

from __future__ import annotations

from pyccf.apps.auth.policy import AuthFailure, Policy
from pyccf.apps.context import Caller, Context
from pyccf.apps.handlers import HandlerFailed, run


class OfApplication:
    """Somebody else's policy: what it throws but for refusals ends its own request with 500."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.name: str = policy.name
        self.challenge: str | None = getattr(policy, "challenge", None)
        self.scheme: str | None = getattr(policy, "scheme", None)

    def authenticate(self, ctx: Context) -> Caller:
        found = run(self._authenticate, ctx)
        if isinstance(found, AuthFailure):
            raise found
        if not isinstance(found, Caller):
            raise HandlerFailed(f"the policy {self.name} found a {type(found).__name__}")
        return found

    def _authenticate(self, ctx: Context) -> Caller | AuthFailure:
        try:
            return self._policy.authenticate(ctx)
        except AuthFailure as refused:
            return refused
