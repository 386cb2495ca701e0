"""Callers as a developer writes them: in the form of `request.caller`."""

from __future__ import annotations

from collections.abc import Mapping

from pyccf.apps.context import Caller, Cose, Jwt
from pyccf.errors import LocalError
from pyccf.types import Json


def parse_caller(value: Json) -> Caller | None:
    """A caller in the form of `request.caller`; None for null. Raises LocalError."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise LocalError("caller must be the name of a policy, or an object like request.caller")
    policy = value.get("policy")
    if isinstance(policy, list):
        parts = []
        for name in sorted(map(str, policy)):
            part = value.get(name)
            inner = part if isinstance(part, dict) else {}
            made = parse_caller({**inner, "policy": name})
            assert made is not None, "an object was given"
            parts.append(made)
        return Caller("+".join(part.policy for part in parts), all_of=tuple(parts))
    if not isinstance(policy, str):
        raise LocalError("caller.policy must name a policy, e.g. user_cert")
    cose, jwt = value.get("cose"), value.get("jwt")
    return Caller(
        policy,
        id=_text(value, "id"),
        data=value.get("data"),
        cert_pem=_text(value, "cert"),
        cose=_cose(cose) if isinstance(cose, dict) else None,
        jwt=_jwt(jwt) if isinstance(jwt, dict) else None,
    )


def _text(value: Mapping[str, Json], name: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise LocalError(f"caller.{name} must be a text")
    return found


def _cose(value: dict[str, Json]) -> Cose:
    content = (_text(value, "content") or "").encode()
    return Cose(content, content, b"", {})


def _jwt(value: dict[str, Json]) -> Jwt:
    header, payload = value.get("header"), value.get("payload")
    return Jwt(
        _text(value, "keyIssuer") or "",
        header if isinstance(header, dict) else {},
        payload if isinstance(payload, dict) else {},
    )
