"""What scripts were shown of their callers by the original, against our policies and engine.

The people and the issuer are ours; in what we answer, their ids, certificates and tokens are put
back to what stands for them in the recording. Bodies that were signed are only compared in shape.
"""

from __future__ import annotations

import json
from functools import cache

from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.service import jwt, tables
from pyccf.types import Json
from support.js_app import JsBench
from support.node import Person
from support.tokens import Issuer
from support.vectors import vectors_dir
from vectors.test_js_probes import Probe, Tally, _expected, _folder, _observed, _probes, _same

ISSUER = "https://issuer.probe.test"
CLAIMS: dict[str, Json] = {"sub": "s", "nested": {"a": [1]}, "exp": 4102444800}
SIGNED = "COSE Sign1 by user0, payload 'cose payload'"
FORGED = "Signature verification failed"

OPENSSL = {"jwt.bad.bad_b64"}
"""The original quotes OpenSSL."""


@cache
def _people() -> tuple[Person, Person]:
    entropy = SeededEntropy("probes")
    return Person("user", entropy, days=3650), Person("member", entropy, days=3650)


def _unknown() -> str:
    """A certificate that nobody registered, as it was recorded."""
    (probe,) = (p for p in _probes("auth") if p["name"] == "auth.any_cert.unknown_cert")
    body = probe["body"]
    pem: str = body["json"]["caller"]["cert"]  # type: ignore[index,call-overload,assignment]
    return pem


def _install(bench: JsBench, issuer: Issuer) -> None:
    root = _folder() / "app"
    modules = {
        str(path.relative_to(root / "src")): path.read_text(encoding="utf-8")
        for path in sorted((root / "src").rglob("*"))
        if path.is_file()
    }
    described = json.loads((root / "app.json").read_text())["endpoints"]
    bench.install(
        modules,
        {
            f"{verb.upper()} {url}": metadata
            for url, verbs in described.items()
            for verb, metadata in verbs.items()
            if url.startswith("/auth/")
        },
    )
    user, member = _people()
    bench.write(
        {
            tables.USERS_CERTS: {user.id.encode(): user.cert.encode()},
            tables.USERS_INFO: {
                user.id.encode(): b'{"user_data": {"n": [1, null], "role": "probe"}}'
            },
            tables.MEMBERS_CERTS: {member.id.encode(): member.cert.encode()},
            tables.MEMBERS_INFO: {
                member.id.encode(): b'{"status": "Active", "member_data": {"m": 1}}'
            },
        }
    )
    tx = bench.store.tx()
    jwt.set_keys(tx, ISSUER, [issuer.jwk()])
    bench.store.commit(tx)


def _request(probe: Probe, issuer: Issuer, recorded_token: str) -> Request:
    """The recorded request, with our token where the recorded one was used."""
    sent = probe["request"]
    assert isinstance(sent, dict)
    headers = {"accept-encoding": "identity", "host": "127.0.0.1:8400"}
    token = issuer.token(**CLAIMS)
    if sent.get("jwt"):
        headers["authorization"] = f"Bearer {token}"
    if "authorization" in sent:
        headers["authorization"] = str(sent["authorization"]).replace(recorded_token, token)
    body = {SIGNED: _signed(), "garbage": b"garbage"}.get(str(sent.get("body")), b"")
    if "body" in sent:
        kind = sent.get("content-type", "application/cose")
        if kind is not None:
            headers["content-type"] = str(kind)
        headers["content-length"] = str(len(body))
    return Request(str(sent["method"]), str(sent["path"]), headers, body)


def _signed() -> bytes:
    user, _ = _people()
    protected = cbor.mapping(
        [
            (cbor.integer(1), cbor.integer(-35)),
            (cbor.integer(4), cbor.bstr(user.id.encode())),
        ]
    )
    return cosesign.sign1(user.key, protected, b"cose payload", detached=False)


def _as_recorded(seen: dict[str, Json], token: str, recorded_token: str) -> dict[str, Json]:
    text = json.dumps(seen)
    for who, person in zip(("user", "member"), _people(), strict=True):
        text = text.replace(json.dumps(person.cert)[1:-1], f"<{who} cert PEM>")
        text = text.replace(person.id, f"<{who} id>")
    text = text.replace(token, recorded_token)
    made: dict[str, Json] = json.loads(text)
    return made


def _unordered(answer: dict[str, Json]) -> None:
    """The engines list what objects inherit in different orders."""
    body = answer["body"]
    shown = body.get("json") if isinstance(body, dict) else None
    if isinstance(shown, dict) and isinstance(shown.get("body_proto_keys"), list):
        shown["body_proto_keys"] = sorted(map(str, shown["body_proto_keys"]))  # type: ignore[arg-type]


def _wordless(answer: dict[str, Json]) -> None:
    """Without what another library says of a token."""
    error: dict[str, Json] = answer["body"]["json"]["error"]  # type: ignore
    error["message"] = bool(error["message"])


def test_auth_probes() -> None:
    vectors_dir()
    bench = JsBench()
    issuer = Issuer(ISSUER, "probe-kid")
    _install(bench, issuer)
    user, member = _people()
    certificates = {
        "user": user.der,
        "member": member.der,
        "unknown_cert": certs.pem_to_der(_unknown()),
    }
    (example,) = (p for p in _probes("auth") if p["name"] == "auth.jwt.none+jwt")
    headers = example["body"]["json"]["headers"]  # type: ignore[index,call-overload]
    recorded_token = str(headers["authorization"]).removeprefix("Bearer ")  # type: ignore[index,call-overload]
    tally = Tally("auth")
    count = 0
    for probe in _probes("auth"):
        name = str(probe["name"]).removeprefix("auth.")
        sent = probe["request"]
        assert isinstance(sent, dict)
        bench.session = Session(1, "test", certificates.get(str(sent.get("tls_client"))))
        request = _request(probe, issuer, recorded_token)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        answer = bench.run(request, request.path.removeprefix("/app"))
        seen = _observed(answer)
        if len(token) > 100:
            seen = _as_recorded(seen, token, recorded_token)
        else:
            seen = _as_recorded(seen, "\0", "")
        wanted = _expected(probe)
        for side in (seen, wanted):
            _unordered(side)
            if name in OPENSSL:
                _wordless(side)
        count += 1
        tally.judge(name, _same(seen, wanted, probe.get("volatile")), seen, wanted)
    tally.close()
    assert count == 74
