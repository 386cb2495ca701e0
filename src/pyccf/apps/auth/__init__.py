"""Who is calling: authentication policies and their evaluation.

A policy looks at one request and either names the caller or says why it cannot. Policies are tried
in order, the first success wins; when all fail the request is refused with every reason. A policy
that cannot even read its input (a malformed signed message or token) refuses the request at once,
with the error the input deserves (spec: auth.md §2).

`certificate`, `signed` and `bearer` hold the policies by what they look at, `combined` those made
of others, `names` what apps call them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyccf.apps.auth.bearer import Bearer
from pyccf.apps.auth.certificate import AnyCert, MemberCert, NodeCert, UserCert
from pyccf.apps.auth.combined import AllOf, NoAuth
from pyccf.apps.auth.names import PolicySpec, js_policy, python_policy
from pyccf.apps.auth.policy import INVALID, AuthFailure, Policy
from pyccf.apps.auth.signed import COSE_CHALLENGE, MemberCose, UserCose
from pyccf.apps.context import Caller, Context
from pyccf.errors import RpcError

__all__ = [
    "COSE_CHALLENGE",
    "AllOf",
    "AnyCert",
    "AuthFailure",
    "Bearer",
    "MemberCert",
    "MemberCose",
    "NoAuth",
    "NodeCert",
    "Policy",
    "PolicySpec",
    "UserCert",
    "UserCose",
    "authenticate",
    "js_policy",
    "python_policy",
]


def authenticate(ctx: Context, policies: Sequence[Policy]) -> Caller | None:
    """The caller by the first policy that succeeds; None when none is asked for.

    Raises RpcError 401 naming why each policy failed (spec: auth.md §2).
    """
    if not policies:
        return None
    failures: list[tuple[Policy, AuthFailure]] = []
    for policy in policies:
        try:
            return policy.authenticate(ctx)
        except AuthFailure as e:
            failures.append((policy, e))
    last, failure = failures[-1]
    challenge = failure.challenge or last.challenge
    raise RpcError(
        401,
        INVALID,
        "Invalid authentication credentials.",
        details=[
            {"auth_policy": policy.name, "code": INVALID, "message": e.reason}
            for policy, e in failures
        ],
        headers={"www-authenticate": challenge} if challenge else None,
    )
