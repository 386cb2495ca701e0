"""The names by which apps ask for policies (spec: auth.md §1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyccf.apps.auth.bearer import Bearer
from pyccf.apps.auth.certificate import AnyCert, MemberCert, UserCert
from pyccf.apps.auth.combined import AllOf, NoAuth
from pyccf.apps.auth.custom import OfApplication
from pyccf.apps.auth.policy import Policy
from pyccf.apps.auth.signed import MemberCose, UserCose

if TYPE_CHECKING:
    from pyccf.types import Json

NO_AUTH = NoAuth()
USER_CERT = UserCert()
MEMBER_CERT = MemberCert()
ANY_CERT = AnyCert()
JWT = Bearer()
USER_COSE = UserCose()
MEMBER_COSE = MemberCose()

PolicySpec = str | Policy | Mapping[str, Sequence[str | Policy]]
"""How a Python app asks for a policy."""

_FOR_APPS: dict[str, Policy] = {
    "no_auth": NO_AUTH,
    "user_cert": USER_CERT,
    "member_cert": MEMBER_CERT,
    "any_cert": ANY_CERT,
    "user_cose_sign1": USER_COSE,
    "jwt": JWT,
}
_PYTHON_ONLY: dict[str, Policy] = {"member_cose_sign1": MEMBER_COSE}


def js_policy(spec: Json) -> Policy:
    """The policy a JavaScript app names in its metadata.

    Raises ValueError with the text the client is shown (spec: auth.md §1).
    """
    if isinstance(spec, str):
        return _named(spec, _FOR_APPS)
    names = spec.get("all_of") if isinstance(spec, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        shown = json.dumps(spec, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        raise ValueError(
            "Unsupported auth policy. Policies must be either a string, or an object containing an"
            f' "all_of" key with list-of-strings value. Unsupported value: {shown}'
        )
    policies: list[Policy] = []
    for name in names:
        policy = _named(str(name), _FOR_APPS)
        if policy in policies:
            raise ValueError(
                "AND authentication policy contains duplicate policies identified by"
                f" {name} (policy = )"
            )
        policies.append(policy)
    return AllOf(policies)


def python_policy(spec: PolicySpec) -> Policy:
    """The policy a Python app asks for: by name (those of JavaScript apps and member_cose_sign1),
    several of which all must succeed, or one of its own.

    Raises ValueError for an unknown name, and for what is no policy.
    """
    if isinstance(spec, str):
        return _named(spec, {**_FOR_APPS, **_PYTHON_ONLY})
    if isinstance(spec, Mapping):
        parts = [python_policy(one) for one in spec.get("all_of", ())]
        if not parts or len({part.name for part in parts}) < len(parts) or len(spec) > 1:
            raise ValueError(f'{spec} is not {{"all_of": [...]}} with different policies')
        return AllOf(parts)
    if not callable(getattr(spec, "authenticate", None)):
        raise ValueError(f"{spec!r} is no auth policy: it has no method authenticate")
    return spec if spec.__module__.startswith("pyccf.") else OfApplication(spec)


def _named(name: str, known: dict[str, Policy]) -> Policy:
    policy = known.get(name)
    if policy is None:
        raise ValueError(f"Unknown auth policy: {name}")
    return policy
