"""A sample in Python served in memory, with users, members and signed bodies."""

from __future__ import annotations

import json
from typing import Any

from pyccf.apps.python import App
from pyccf.codec import cbor
from pyccf.crypto import cosesign
from pyccf.service import tables
from pyccf.types import Json
from support.node import STARTED, Person, Reply, Service
from support.samples import python_app

TXID_HEADER = "x-ms-ccf-transaction-id"
COSE = {"content-type": "application/cose"}


def serve(name: str, app: App | None = None) -> Service:
    """The sample in a service of its own, open to users."""
    app = app or python_app(name)
    service = Service(app=app)
    for make in app.indexes:
        service.node.indexes.install(make())
    service.open_app()
    service.tick()
    return service


def add_user(service: Service, name: str, data: Json = None) -> Person:
    """A new user of the service."""
    user = Person(name, service.entropy)
    tx = service.node.store.tx()
    tables.put_raw(tx, tables.USERS_CERTS, user.id, user.cert)
    tables.put_json(tx, tables.USERS_INFO, user.id, {"user_data": data})
    service.node.commit(tx)
    service.pump()
    return user


def settle(service: Service) -> None:
    """Have everything signed, committed and indexed."""
    service.node.sign()
    service.pump()
    for _ in range(5):
        service.tick(20)


def signed(signer: Person, payload: object, **fields: object) -> bytes:
    """A COSE Sign1 message of somebody; `fields` go into its protected header."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    head: list[tuple[bytes, bytes]] = [
        (cbor.integer(1), cbor.integer(signer.key.public.curve.cose_alg)),
        (cbor.integer(4), cbor.bstr(signer.id.encode())),
    ]
    for name, value in fields.items():
        key = cbor.tstr(name.replace("__", "."))
        head.append((key, cbor.integer(value) if isinstance(value, int) else cbor.tstr(str(value))))
    return cosesign.sign1(signer.key, cbor.mapping(head), content, detached=False)


def by_member(service: Service, payload: object) -> bytes:
    """A message of the first member."""
    made = {"ccf__gov__msg__type": "app", "ccf__gov__msg__created_at": STARTED}
    return signed(service.members[0], payload, **made)


def refused(reply: Reply, status: int, code: str) -> str:
    """The message of a refusal."""
    assert reply.status == status, reply.body
    error: dict[str, Any] = reply.json["error"]
    assert error["code"] == code
    return str(error["message"])
