"""POST /node/jwt_keys/refresh: who may submit keys, and what is counted."""

from __future__ import annotations

import datetime
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pyccf.api import jwt_refresh
from pyccf.crypto import certs
from pyccf.http.message import Request
from pyccf.node.create import Parts
from pyccf.service import tables
from support.node import Person, Reply, Service
from support.tokens import Issuer

A = "https://a.test"


def make() -> Service:
    def install(parts: Parts) -> list[Any]:
        return [("node", jwt_refresh.endpoints(parts.node))]

    return Service(install=install)


def write(service: Service, table: str, key: str, value: Any) -> None:
    tx = service.node.store.tx()
    tables.put_json(tx, table, key, value)
    service.node.commit(tx)
    service.pump()


def add(service: Service, **changes: object) -> None:
    """As `set_jwt_issuer` does."""
    row = {"issuer": A, "auto_refresh": True, **changes}
    write(service, tables.JWT_ISSUERS, A, {k: v for k, v in row.items() if v is not None})


def metrics(service: Service) -> tuple[int, int]:
    """Successes and failures."""
    told = service.call("GET", "/node/jwt_keys/refresh/metrics").json
    assert told["attempts"] == told["successes"] + told["failures"]
    return told["successes"], told["failures"]


def submit(service: Service, body: object, der: bytes | None) -> Reply:
    session = service.session()
    session.peer_cert = der
    headers = {"content-type": "application/json"}
    raw = json.dumps(body).encode()
    (answer,) = service.send(Request("POST", "/node/jwt_keys/refresh", headers, raw), session)
    return answer


def of_rsa_key() -> bytes:
    """A certificate with a key that no node can have."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rsa")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=365)
    ).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def own(service: Service) -> bytes:
    return certs.pem_to_der(service.parts.self_signed_pem)


def message(answer: Reply) -> str:
    return str(answer.json["error"]["message"])


def test_nobody_but_a_node_may_submit_keys() -> None:
    service = make()
    body = {"issuer": A, "jwks": {"keys": []}}
    for der in (None, service.members[0].der, of_rsa_key()):
        assert submit(service, body, der).status == 401
    assert metrics(service) == (0, 3)


def test_the_primary_may_submit_keys_of_issuers_that_want_it() -> None:
    service = make()
    good = {"issuer": A, "jwks": Issuer(A, ec=True).jwks()}
    der = own(service)
    refused = submit(service, good, der)
    assert (refused.status, message(refused)) == (500, f"{A} is not a valid issuer.")
    add(service, auto_refresh=None)
    assert message(submit(service, good, der)) == f"{A} does not have auto_refresh enabled."
    add(service)
    for bad in (False, [], {}, {"issuer": A}, {"issuer": 1, "jwks": {"keys": []}}):
        assert message(submit(service, bad, der)) == "Unable to parse body."
    empty = {"issuer": A, "jwks": {"keys": []}}
    assert message(submit(service, empty, der)) == (
        f"Error while storing signing keys for issuer {A}."
    )
    taken = submit(service, good, der)
    assert (taken.status, taken.json) == (200, True)
    assert metrics(service) == (1, 8)


def test_another_node_may_not() -> None:
    service = make()
    other = Person("node", service.entropy)

    row = tables.get_object(service.node.store.tx(), tables.NODES_INFO, service.node.node_id)
    joining = {**(row or {}), "status": "Pending"}
    write(service, tables.NODES_INFO, other.key.public.id, joining)
    answer = submit(service, {"issuer": "x", "jwks": {"keys": []}}, other.der)
    assert (answer.status, message(answer)) == (500, "Request does not originate from primary.")
