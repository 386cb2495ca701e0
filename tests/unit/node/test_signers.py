"""Whose signatures count in a ledger of several services, and of hosts that forge."""

from __future__ import annotations

import pytest

from pyccf.codec.text import dump_json
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger
from pyccf.kv.changes import UNIT, Changes
from pyccf.kv.store import Store
from pyccf.ledger import signature
from pyccf.ledger.signature import Signature
from pyccf.node.signers import Signers
from pyccf.types import TxID
from support.ledgers import NODE_CERTS, NODES_INFO, NOW, SERVICE_INFO, Identity

ROOT = bytes(range(32))


def tables(identity: Identity, status: str = "Trusted") -> Changes:
    me = identity.node_id.encode()
    return {
        NODES_INFO: {me: dump_json({"status": status})},
        NODE_CERTS: {me: identity.node_cert.encode()},
        SERVICE_INFO: {UNIT: dump_json({"cert": identity.service_cert, "status": "Open"})},
    }


def signed(by: Identity, *, cert: str | None = None, root: bytes = ROOT) -> Signature:
    made = signature.build(
        TxID(2, 9),
        root,
        b"",
        by.node_id,
        by.node_key,
        by.node_cert if cert is None else cert,
        by.service_key,
        "",
        "",
        NOW,
    )
    return signature.read(2, 9, {name: rows[UNIT] for name, rows in made.items()})


class World:
    def __init__(self, own: Identity) -> None:
        self.store = Store(view=2)
        self.own = own
        self.signers = Signers(self.store, self._key)

    def _key(self) -> PublicKey:
        return self.own.service_key.public

    def write(self, changes: Changes) -> None:
        self.store.apply(self.store.version + 1, changes)

    def refuses(self, what: Signature, words: str, root: bytes = ROOT) -> None:
        with pytest.raises(InvalidLedger, match=words) as refused:
            self.signers.check(what, root)
        assert refused.value.seqno == 9


FIRST, SECOND, THIRD = Identity("first"), Identity("second"), Identity("third")


def test_each_service_signs_its_own_part() -> None:
    world = World(THIRD)
    world.refuses(signed(FIRST), "before there is a service")
    for identity in (FIRST, SECOND, THIRD):
        world.write(tables(identity))
        world.signers.check(signed(identity), ROOT)
    # Those before have had their time, though their nodes are still in the tables.
    for identity in (FIRST, SECOND):
        world.refuses(signed(identity), "did not endorse")


def test_once_the_own_service_was_seen_no_other_counts() -> None:
    world = World(SECOND)
    world.write(tables(FIRST))
    world.write(tables(SECOND))
    world.signers.check(signed(SECOND), ROOT)
    world.write(tables(THIRD))
    world.refuses(signed(THIRD), "did not endorse")
    world.signers.check(signed(SECOND), ROOT)
    # Unless that is undone.
    world.store.rollback(1, 4)
    world.signers.check(signed(FIRST), ROOT)
    world.refuses(signed(SECOND), "no node of this service")


def test_a_row_about_the_service_that_makes_no_sense_changes_nothing() -> None:
    world = World(FIRST)
    world.write(tables(FIRST))
    world.signers.check(signed(FIRST), ROOT)
    for row in (b"", b"[]", b'{"cert":5}', b'{"cert":"none"}'):
        world.write({SERVICE_INFO: {UNIT: row}})
        world.signers.check(signed(FIRST), ROOT)


def test_forged_signatures() -> None:
    world = World(SECOND)
    world.write(tables(FIRST))
    world.write({NODES_INFO: {THIRD.node_id.encode(): dump_json({"status": "Trusted"})}})
    world.refuses(signed(THIRD), "did not endorse")
    world.refuses(signed(FIRST, cert=THIRD.node_cert), "certificate of another node")
    world.refuses(signed(FIRST, cert="none"), "has no certificate")
    world.refuses(signed(FIRST), "over the root", root=bytes(32))
    world.refuses(signed(SECOND), "no node of this service")
    world.write({NODES_INFO: {FIRST.node_id.encode(): dump_json({"status": "Pending"})}})
    fresh = World(SECOND)
    fresh.write(tables(FIRST, "Pending"))
    fresh.refuses(signed(FIRST), "is not trusted yet")


def test_signatures_of_old_versions_carry_no_certificate() -> None:
    world = World(SECOND)
    world.write(tables(FIRST))
    world.signers.check(signed(FIRST, cert=""), ROOT)
    own = certs.self_signed(
        FIRST.node_key, "CN=node", not_before=NOW, days=9, entropy=SeededEntropy("own")
    )
    old = World(SECOND)
    row = {FIRST.node_id.encode(): dump_json({"status": "TRUSTED", "cert": own})}
    old.write({SERVICE_INFO: tables(FIRST)[SERVICE_INFO], NODES_INFO: row})
    old.signers.check(signed(FIRST, cert=""), ROOT)
    old.write({NODES_INFO: {FIRST.node_id.encode(): dump_json({"status": "TRUSTED"})}})
    old.refuses(signed(FIRST, cert=""), "which has no certificate")
