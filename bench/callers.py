"""Requests that say who calls: by bearer tokens, and by signatures over their bodies."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import Target
from bench.servers import Service
from pyccf.client import Client, Identity
from pyccf.client.types import Action
from pyccf.codec import cbor
from pyccf.codec.text import b64url
from pyccf.crypto import certs, cosesign, jwk
from pyccf.crypto.keys import PrivateKey, RsaPrivateKey

ISSUER = "https://issuer.bench.test"
KID = "bench"
FAR = 1 << 33
"""A time long after any benchmark."""
TOKENS = 500
"""So many that a connection hardly ever sees the same again at once."""
SIGNED = 50


def targets(service: Service, folder: Path) -> list[Target]:
    """Register an issuer, make requests, and say where they go."""
    key = RsaPrivateKey.generate()
    _register(service, key)
    tokens = [_token(key, f"user{i}") for i in range(TOKENS)]
    signer = _user(service)
    bodies = [_signed(signer, b'{"n": %d}' % i) for i in range(SIGNED)]
    host = urlsplit(service.url).netloc
    kinds = {
        "no_auth": [_request(host, "/app/none", {}, b"")],
        "jwt, same token": [_request(host, "/app/jwt", _bearer(tokens[0]), b"")],
        "jwt, other tokens": [_request(host, "/app/jwt", _bearer(t), b"") for t in tokens],
        "user_cose_sign1": [
            _request(host, "/app/cose", {"content-type": "application/cose"}, b) for b in bodies
        ],
    }
    found = []
    for number, (name, requests) in enumerate(kinds.items()):
        path = folder / f"requests{number}"
        path.write_bytes(b"".join(b"%d\n%s" % (len(r), r) for r in requests))
        found.append(Target(name, service, "write", "", 1, path))
    return found


def _register(service: Service, key: RsaPrivateKey) -> None:
    member = service.said["members"][0]
    jwks = {"keys": [jwk.rsa_public_jwk(key.public.pem(), KID)]}
    action = Action("set_jwt_issuer", {"issuer": ISSUER, "jwks": jwks})
    certificate = service.said["service_cert"]
    with Client(service.url, certificate, cert=member["cert"], key=member["key"]) as client:
        proposal = client.submit([action])
        if proposal.proposal_state == "Open":
            proposal = client.vote(proposal.proposal_id)
        if proposal.proposal_state != "Accepted":
            raise RuntimeError(f"the issuer was not registered: {proposal}")


def _user(service: Service) -> Identity:
    user = service.said["users"][0]
    return Identity.load(user["cert"], user["key"])


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _token(key: RsaPrivateKey, subject: str) -> str:
    header = {"alg": "RS256", "typ": "JWT", "kid": KID}
    payload = {"iss": ISSUER, "exp": FAR, "sub": subject}
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, payload))
    return f"{text}.{b64url(key.sign_pkcs1(text.encode()))}"


def _signed(signer: Identity, payload: bytes) -> bytes:
    key = PrivateKey.from_pem(Path(signer.key_path).read_text(encoding="ascii"))
    ident = certs.fingerprint(Path(signer.cert_path).read_text(encoding="ascii"))
    protected = cbor.mapping(
        [
            (cbor.integer(1), cbor.integer(key.public.curve.cose_alg)),
            (cbor.integer(4), cbor.bstr(ident.encode())),
        ]
    )
    return cosesign.sign1(key, protected, payload, detached=False)


def _request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
