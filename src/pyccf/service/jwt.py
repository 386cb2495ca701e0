"""Keys that token issuers sign with: setting and removing them (spec: auth.md §8.2-8.3).

The keys of one issuer are replaced as a whole; a key id may carry keys of several issuers. Refused
with LocalError, before anything is written: an empty set, a key without id or material, a
constraint naming a host outside the issuer's domain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pyccf.codec.text import b64, dump_json, unb64, unb64url
from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.service import tables
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}


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
        der = _material(jwk)
    except (ValueError, OverflowError):
        raise LocalError(f"Key {kid} cannot be read") from None
    return SigningKey(kid, der, constraint)


def _material(jwk: dict[str, Json]) -> bytes:
    """DER of the first kind of key material that is there: n and e, x and y and crv, x5c."""
    n, e = _text(jwk, "n"), _text(jwk, "e")
    x, y, crv = _text(jwk, "x"), _text(jwk, "y"), _text(jwk, "crv")
    if n and e:
        native: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
        native = rsa.RSAPublicNumbers(_number(e), _number(n)).public_key()
    elif x and y and crv:
        curve = _CURVES.get(crv)
        if curve is None:
            raise ValueError("unknown curve")
        native = ec.EllipticCurvePublicNumbers(_number(x), _number(y), curve()).public_key()
    else:
        chain = _list(jwk.get("x5c"))
        if not chain or not isinstance(chain[0], str):
            raise ValueError("no key material")
        return certs.spki(unb64(chain[0]))
    return native.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _number(text: str) -> int:
    return int.from_bytes(unb64url(text), "big")


def _text(jwk: dict[str, Json], name: str) -> str:
    value = jwk.get(name)
    return value if isinstance(value, str) else ""


def _within_domain(constraint: str, issuer: str) -> bool:
    """Whether the constraint's host is the issuer's or a domain above it."""
    try:
        outer, inner = urlsplit(constraint).hostname, urlsplit(issuer).hostname
    except ValueError:
        return False
    if not outer or not inner:
        return False
    return outer == inner or inner.endswith(f".{outer}")
