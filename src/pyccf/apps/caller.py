"""Who calls, and for whom a service signs: plain facts.

Apart from `context` because mypyc, which compiles that module, drops the options of structures.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pyccf.types import Json


class Cose(msgspec.Struct, frozen=True):
    """A signed request that verified: payload, whole envelope, signature, protected header."""

    content: bytes
    envelope: bytes
    signature: bytes
    headers: Mapping[int | str, object]


class Jwt(msgspec.Struct, frozen=True):
    """A bearer token that verified, with the issuer its key is registered under."""

    key_issuer: str
    header: dict[str, Json]
    payload: dict[str, Json]


class Caller(msgspec.Struct, frozen=True):
    """Who a policy found to be calling (spec: auth.md §6). Unused fields are None."""

    policy: str
    id: str | None = None
    data: Json = None
    cert_pem: str | None = None
    cose: Cose | None = None
    jwt: Jwt | None = None
    all_of: tuple[Caller, ...] = ()


class SignsAs(msgspec.Struct, frozen=True):
    """Whom a service names as the maker of its COSE signatures (configuration, RFC 8392 §3.1)."""

    issuer: str
    subject: str
