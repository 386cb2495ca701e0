"""Keys that token issuers sign with: finding, setting and removing them (spec: auth.md §5, §8).

The keys of one issuer are replaced as a whole; a key id may carry keys of several issuers. Refused
with LocalError, before anything is written: an empty set, a key without id or material, a
constraint naming a host outside the issuer's domain.

Tokens are judged with the keys of the table of this version; the tables of older versions are
looked at only where it has no row for a key id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from pyccf.codec.text import b64, dump_json, unb64
from pyccf.crypto import certs
from pyccf.crypto.jwk import key_material
from pyccf.crypto.keys import PublicKey, RsaPublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.service import tables
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

ENTRA_HOST = "login.microsoftonline.com"
TENANT = "{tenantid}"
"""Stands for the token's tenant in the constraint of a key that many tenants share."""


class SigningKey(msgspec.Struct, frozen=True):
    """A key an issuer signs with."""

    kid: str
    public_key: bytes
    """DER SubjectPublicKeyInfo."""
    constraint: str | None = None
    """What the issuer claim of its tokens must be."""

    def row(self, issuer: str) -> dict[str, Json]:
        """Entry of the key's list in the table."""
        entry: dict[str, Json] = {"issuer": issuer, "public_key": b64(self.public_key)}
        if self.constraint is not None:
            entry["constraint"] = self.constraint
        return entry


class TrustedKey(msgspec.Struct, frozen=True):
    """A key by which tokens are judged, as the tables have it."""

    issuer: str
    """Under which it is registered."""
    public_key: bytes
    """DER SubjectPublicKeyInfo."""
    constraint: str | None = None

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether this is the key's signature over data, digest SHA-256.

        PKCS#1 v1.5 with an RSA key, raw r ‖ s with a key on a curve.
        """
        try:
            rsa_key = RsaPublicKey.from_der(self.public_key)
        except ValueError:
            try:
                return PublicKey.from_der(self.public_key).verify_raw(signature, data, "SHA-256")
            except ValueError:
                return False
        return rsa_key.verify_pkcs1(signature, data)


def keys_of(tx: Tx, kid: str) -> list[TrustedKey]:
    """The keys under a key id, from the newest table that has any. LocalError: there are none."""
    for table, read in ((tables.JWT_KEYS, _current), (tables.JWT_KEYS_V1, _with_certificate)):
        rows = tables.get_json(tx, table, kid)
        if rows is not None:
            return [_trusted(table, row, read) for row in _list(rows)]
    raw = tx.map(tables.JWT_KEY_LEGACY).get(kid.encode())
    if raw is None:
        raise LocalError(f"JWT signing key not found for kid {kid}")
    issuer = tables.get_raw(tx, tables.JWT_KEY_ISSUER_LEGACY, kid)
    if issuer is None:
        raise LocalError(f"JWT signing key fallback issuers not found for kid {kid}")
    return [TrustedKey(issuer, _spki_of(tables.JWT_KEY_LEGACY, raw))]


def _trusted(table: str, row: Json, read: Callable[[str, dict[str, Json]], bytes]) -> TrustedKey:
    if not isinstance(row, dict):
        raise InvalidLedger(f"Table {table} holds a key that is not an object")
    constraint = row.get("constraint")
    return TrustedKey(
        tables.text_member(row, "issuer", table),
        read(table, row),
        constraint if isinstance(constraint, str) else None,
    )


def _current(table: str, row: dict[str, Json]) -> bytes:
    return _bytes_member(table, row, "public_key")


def _with_certificate(table: str, row: dict[str, Json]) -> bytes:
    return _spki_of(table, _bytes_member(table, row, "cert"))


def _bytes_member(table: str, row: dict[str, Json], name: str) -> bytes:
    try:
        return unb64(tables.text_member(row, name, table))
    except ValueError:
        raise InvalidLedger(f"Table {table} holds a {name} that is not base64") from None


def _spki_of(table: str, certificate: bytes) -> bytes:
    try:
        return certs.spki(certificate)
    except ValueError:
        raise InvalidLedger(f"Table {table} holds a certificate that cannot be read") from None


def meets(constraint: str, issuer: str, tenant: str | None) -> bool:
    """Whether a token's issuer claim is what a key's constraint demands (spec: auth.md §5.4).

    Raises ValueError when the constraint is no URL.
    """
    if _host(constraint) != ENTRA_HOST:
        return issuer == constraint and tenant is None
    if tenant is None or issuer != constraint.replace(TENANT, tenant, 1):
        return False
    path = urlsplit(issuer).path
    return next((part for part in path.split("/") if part), None) == tenant


def _host(url: str) -> str:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise ValueError(f"Issuer constraint {url} is not a URL")
    return host


def missing_keys_text(jwks: Json) -> str:
    """What is said of a key set without a list of keys."""
    return f"Missing required field 'keys' in object: {dump_json(jwks).decode()}"


def set_keys(tx: Tx, issuer: str, jwks: list[Json]) -> None:
    """Make these the keys of an issuer; its other keys go. LocalError changes nothing."""
    if not jwks:
        raise LocalError(f"No keys are given for issuer {issuer}")
    keys = {key.kid: key for key in (_parse(jwk, issuer) for jwk in jwks)}
    had = {kid for kid, rows in _rows(tx, tables.JWT_KEYS) if _of(rows, issuer)}
    for kid, key in keys.items():
        _put(tx, kid, key.row(issuer), issuer)
    for kid in sorted(had - keys.keys()):
        _drop(tx, tables.JWT_KEYS, kid, issuer)


def remove_keys(tx: Tx, issuer: str) -> None:
    """Remove every key of an issuer, from the tables of older versions too."""
    for table in (tables.JWT_KEYS, tables.JWT_KEYS_V1):
        for kid in [kid for kid, rows in _rows(tx, table) if _of(rows, issuer)]:
            _drop(tx, table, kid, issuer)
    issuers = tx.map(tables.JWT_KEY_ISSUER_LEGACY)
    for key in [key for key, value in issuers.foreach() if value == issuer.encode()]:
        issuers.delete(key)
        tx.map(tables.JWT_KEY_LEGACY).delete(key)


def _put(tx: Tx, kid: str, entry: dict[str, Json], issuer: str) -> None:
    """Replace the issuer's entry for a key id, or append it; nothing when it is there."""
    rows = _list(tables.get_json(tx, tables.JWT_KEYS, kid))
    if entry in rows:
        return
    at = next((i for i, row in enumerate(rows) if _owner(row) == issuer), None)
    if at is None:
        rows.append(entry)
    else:
        rows[at] = entry
    tables.put_json(tx, tables.JWT_KEYS, kid, rows)


def _drop(tx: Tx, table: str, kid: str, issuer: str) -> None:
    rows = _list(tables.get_json(tx, table, kid))
    left = [row for row in rows if _owner(row) != issuer]
    if left:
        tables.put_json(tx, table, kid, left)
    else:
        tx.map(table).delete(kid.encode())


def _rows(tx: Tx, table: str) -> list[tuple[str, list[Json]]]:
    return [
        (key.decode("utf-8", "replace"), _list(tables.decode_row(table, raw)))
        for key, raw in tx.map(table).foreach()
    ]


def _list(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list) else []


def _owner(row: Json) -> Json:
    return row.get("issuer") if isinstance(row, dict) else None


def _of(rows: list[Json], issuer: str) -> bool:
    return any(_owner(row) == issuer for row in rows)


def _parse(jwk: Json, issuer: str) -> SigningKey:
    if not isinstance(jwk, dict):
        raise LocalError("A JSON web key is not an object")
    kid = _text(jwk, "kid")
    if not kid or not _text(jwk, "kty"):
        raise LocalError("A JSON web key has no kid or no kty")
    constraint = jwk.get("issuer")
    if constraint is not None and not (
        isinstance(constraint, str) and _within_domain(constraint, issuer)
    ):
        raise LocalError(f"Key {kid} names a constraint outside the domain of its issuer")
    try:
        der = key_material(jwk)
    except (ValueError, OverflowError):
        raise LocalError(f"Key {kid} cannot be read") from None
    return SigningKey(kid, der, constraint)


def _text(jwk: dict[str, Json], name: str) -> str:
    value = jwk.get(name)
    return value if isinstance(value, str) else ""


def _within_domain(constraint: str, issuer: str) -> bool:
    """Whether the constraint's host is the issuer's or a domain above it."""
    try:
        outer, inner = _host(constraint), _host(issuer)
    except ValueError:
        return False
    return outer == inner or inner.endswith(f".{outer}")
