"""Keys of token issuers in their table."""

from __future__ import annotations

from typing import Any

import pytest

from pyccf.codec.text import b64, b64url
from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPublicKey
from pyccf.errors import LocalError
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.service import jwt, tables
from pyccf.types import Json
from support.service import person

A = "https://login.a.test/x"
B = "https://b.test"


def rsa_jwk(kid: str, name: str = "member0", **more: Json) -> dict[str, Json]:
    numbers = person(name).encryption_key.native.public_key().public_numbers()
    n = numbers.n.to_bytes(256, "big")
    return {"kty": "RSA", "kid": kid, "n": b64url(n), "e": "AQAB", **more}


def keys(tx: Tx) -> dict[str, Any]:
    return {
        key.decode(): tables.decode_row(tables.JWT_KEYS, raw)
        for key, raw in tx.map(tables.JWT_KEYS).foreach()
    }


def fresh() -> Tx:
    return Store(view=2).tx()


def test_rsa_ec_and_certificate_material() -> None:
    tx = fresh()
    ec_jwk: dict[str, Json] = {
        "kty": "EC",
        "kid": "ec",
        "crv": "P-256",
        "x": "MGdUQElMeS82jqfrCLz9D_ze8Qt9w_Xu1tygiU1e9aw",
        "y": "UuOgzLsw9n0g0Y7PNzjJO4lbGKXyfk-slWjOtqm5660",
    }
    cert = certs.pem_to_der(person("member1").cert)
    x5c: dict[str, Json] = {"kty": "EC", "kid": "x5c", "x5c": [b64(cert), "ignored"]}
    jwt.set_keys(tx, A, [rsa_jwk("rsa"), ec_jwk, x5c])
    found = keys(tx)
    expected = person("member0").encryption_key.public.der
    assert found["rsa"] == [{"issuer": A, "public_key": b64(expected)}]
    assert found["x5c"] == [{"issuer": A, "public_key": b64(person("member1").key.public.der)}]
    assert RsaPublicKey.from_der(expected).bits == 2048
    assert set(found) == {"rsa", "ec", "x5c"}


def test_n_and_e_win_over_a_certificate() -> None:
    tx = fresh()
    cert = b64(certs.pem_to_der(person("member1").cert))
    jwt.set_keys(tx, A, [rsa_jwk("k", x5c=[cert])])
    assert keys(tx)["k"][0]["public_key"] == b64(person("member0").encryption_key.public.der)


def test_keys_of_an_issuer_are_replaced_as_a_whole() -> None:
    tx = fresh()
    jwt.set_keys(tx, A, [rsa_jwk("k1"), rsa_jwk("k2")])
    jwt.set_keys(tx, B, [rsa_jwk("k2")])
    jwt.set_keys(tx, A, [rsa_jwk("k2", "member1"), rsa_jwk("k3")])
    found = keys(tx)
    assert set(found) == {"k2", "k3"}
    assert [row["issuer"] for row in found["k2"]] == [A, B]
    assert found["k2"][0]["public_key"] == b64(person("member1").encryption_key.public.der)


def test_an_identical_key_is_not_written_again() -> None:
    store = Store(view=2)
    tx = store.tx()
    jwt.set_keys(tx, A, [rsa_jwk("k1")])
    store.commit(tx)
    tx = store.tx()
    jwt.set_keys(tx, A, [rsa_jwk("k1")])
    assert not tx.writes


def test_removal_reaches_the_tables_of_older_versions() -> None:
    tx = fresh()
    jwt.set_keys(tx, A, [rsa_jwk("k1"), rsa_jwk("k2")])
    jwt.set_keys(tx, B, [rsa_jwk("k2")])
    tables.put_json(tx, tables.JWT_KEYS_V1, "old", [{"cert": "", "issuer": A}])
    tables.put_raw(tx, tables.JWT_KEY_LEGACY, "older", b"der")
    tables.put_raw(tx, tables.JWT_KEY_ISSUER_LEGACY, "older", A)
    jwt.remove_keys(tx, A)
    assert {kid: [row["issuer"] for row in rows] for kid, rows in keys(tx).items()} == {"k2": [B]}
    assert tx.map(tables.JWT_KEYS_V1).size() == 0
    assert tx.map(tables.JWT_KEY_LEGACY).size() == 0
    assert tx.map(tables.JWT_KEY_ISSUER_LEGACY).size() == 0


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        ("https://login.a.test/v2", True),
        ("https://a.test", True),
        ("https://test", True),
        ("https://evil.test", False),
        ("https://x.login.a.test", False),
        ("nonsense", False),
        ("", False),
        (5, False),
    ],
)
def test_constraints_stay_in_the_domain_of_the_issuer(constraint: Json, fits: bool) -> None:
    tx = fresh()
    if fits:
        jwt.set_keys(tx, A, [rsa_jwk("k", issuer=constraint)])
        assert keys(tx)["k"][0]["constraint"] == constraint
    else:
        with pytest.raises(LocalError):
            jwt.set_keys(tx, A, [rsa_jwk("k"), rsa_jwk("k2", issuer=constraint)])
        assert not tx.writes


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        5,
        {"kty": "RSA", "kid": ""},
        {"kid": "k", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "kid": "k", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "k", "n": "!!", "e": "AQAB"},
        {"kty": "RSA", "kid": "k", "x5c": ["AAAA"]},
        {"kty": "RSA", "kid": "k", "x5c": [5]},
    ],
)
def test_one_bad_key_refuses_the_whole_set(jwk: Json) -> None:
    tx = fresh()
    with pytest.raises(LocalError):
        jwt.set_keys(tx, A, [rsa_jwk("good"), jwk])
    assert not tx.writes
