"""The three tables of a signature transaction."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from pyccf.codec import cose
from pyccf.codec.text import b64, dump_json, load_json, unb64
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import signature
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.ledger.signature import COSE_SIGNATURES, SIGNATURES, TREE
from pyccf.merkle.tree import Tree
from pyccf.types import TxID
from support.ledgers import NOW, Identity, Service, small_service

ROOT = hashlib.sha256(b"root").digest()
ME = Identity("signer", Curve.P384)


def built(**changed: Any) -> dict[str, dict[bytes, bytes]]:
    arguments: dict[str, Any] = {
        "txid": TxID(2, 22),
        "root": ROOT,
        "tree_blob": Tree().serialise(),
        "node_id": ME.node_id,
        "node_key": ME.node_key,
        "node_cert_pem": ME.node_cert,
        "service_key": ME.service_key,
        "issuer": "service.example.com",
        "subject": "ledger.signature",
        "iat": 0x6900F210,
    }
    return signature.build(**{**arguments, **changed})


def as_entry(
    maps: dict[str, dict[bytes, bytes | None]], service: Service | None = None
) -> ParsedEntry:
    made = service or Service()
    return parse(made.write(maps).data)


def signed_entry(**changed: Any) -> ParsedEntry:
    maps: dict[str, dict[bytes, bytes | None]] = {
        name: dict(rows) for name, rows in built(txid=TxID(2, 1), **changed).items()
    }
    return as_entry(maps)


def test_the_tables_and_their_fields() -> None:
    tables = built()
    assert sorted(tables) == [COSE_SIGNATURES, SIGNATURES, TREE]
    assert all(list(rows) == [UNIT] for rows in tables.values())
    raw = tables[SIGNATURES][UNIT]
    value = json.loads(raw)
    assert list(value) == [
        "cert",
        "commit_seqno",
        "commit_view",
        "hashed_nonce",
        "node",
        "root",
        "seqno",
        "sig",
        "view",
    ]
    assert json.dumps(value, separators=(",", ":")).encode() == raw
    assert value["hashed_nonce"] == "0" * 64
    assert (value["commit_seqno"], value["commit_view"]) == (0, 0)
    assert (value["view"], value["seqno"], value["root"]) == (2, 22, ROOT.hex())
    assert ME.node_key.public.verify_digest(unb64(value["sig"]), ROOT)
    assert tables[TREE][UNIT] == Tree().serialise()


def test_the_cose_header_is_that_of_the_worked_example() -> None:
    # spec: merkle-and-receipts.md §4.5
    kid = "ad3f40d7da00c4be3c7580ab9b0fe91c7b4de9322e99b6680cece8e0629bd8ae"
    header = signature.protected_header(
        -35, kid, TxID(2, 22), 0x6900F210, "service.example.com", "ledger.signature"
    )
    assert header.hex() == (
        "a5013822045840"
        + kid.encode().hex()
        + "19018b020fa3061a6900f2100173736572766963652e6578616d706c652e636f6d"
        "02706c65646765722e7369676e6174757265666363662e7631a1647478696464322e3232"
    )


@pytest.mark.parametrize(("curve", "alg", "size"), [(Curve.P384, -35, 96), (Curve.P256, -7, 64)])
def test_the_cose_envelope(curve: Curve, alg: int, size: int) -> None:
    key = PrivateKey.generate(curve, SeededEntropy("service"))
    raw = load_json(built(service_key=key)[COSE_SIGNATURES][UNIT])
    assert isinstance(raw, str)
    envelope = cose.parse_sign1(unb64(raw))
    assert unb64(raw).startswith(b"\xd2\x84\x58")
    assert envelope.payload is None
    assert envelope.unprotected == {}
    assert envelope.alg == alg
    assert envelope.kid == key.public.id.encode()
    assert len(envelope.signature) == size
    assert key.public.verify_raw(envelope.signature, cose.sig_structure(envelope.protected, ROOT))


@pytest.mark.parametrize("curve", [Curve.P521, Curve.ED25519])
def test_keys_without_a_cose_algorithm_are_refused(curve: Curve) -> None:
    key = PrivateKey.generate(curve, SeededEntropy("service"))
    with pytest.raises(LocalError, match="cannot sign the ledger"):
        built(service_key=key)


def test_round_trip_and_verification() -> None:
    found = signature.parse(signed_entry())
    assert (found.view, found.seqno, found.node, found.root) == (2, 1, ME.node_id, ROOT)
    assert found.cert == ME.node_cert
    signature.verify(found, ROOT, ME.node_key.public, ME.service_key.public)


def test_verification_says_what_is_wrong() -> None:
    found = signature.parse(signed_entry())
    node, service = ME.node_key.public, ME.service_key.public
    with pytest.raises(InvalidLedger, match="is over the root"):
        signature.verify(found, bytes(32), node, service)
    with pytest.raises(InvalidLedger, match="is not by node"):
        signature.verify(found, ROOT, service, service)
    with pytest.raises(InvalidLedger, match="names another service key") as caught:
        signature.verify(found, ROOT, node, node)
    assert caught.value.seqno == 1


def replaced(maps: dict[str, dict[bytes, bytes]], envelope: bytes) -> ParsedEntry:
    return as_entry(
        {
            COSE_SIGNATURES: {UNIT: dump_json(b64(envelope))},
            SIGNATURES: dict(maps[SIGNATURES]),
            TREE: dict(maps[TREE]),
        }
    )


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda e: cose.encode_sign1(e.protected, None, bytes(96)), "not by the service key"),
        (lambda e: cose.encode_sign1(e.protected, ROOT, e.signature), "payload of its own"),
        (
            lambda e: cose.encode_sign1(e.protected, None, e.signature, b"\xa1\x18\x64\x01"),
            "unprotected header",
        ),
        (lambda e: b"\xd2\x84", "is malformed"),
    ],
)
def test_wrong_cose_signatures(make: Any, why: str) -> None:
    maps = built(txid=TxID(2, 1))
    text = load_json(maps[COSE_SIGNATURES][UNIT])
    assert isinstance(text, str)
    envelope = make(cose.parse_sign1(unb64(text)))
    found = signature.parse(replaced(maps, envelope))
    with pytest.raises(InvalidLedger, match=why):
        signature.verify_cose(found, ME.service_key.public)


def test_a_cose_signature_belongs_to_its_transaction() -> None:
    text = load_json(built(txid=TxID(2, 5))[COSE_SIGNATURES][UNIT])
    assert isinstance(text, str)
    found = signature.parse(replaced(built(txid=TxID(2, 1)), unb64(text)))
    assert signature.cose_fault(found, ME.service_key.public) == "is that of transaction 2.5"


def test_signatures_before_cose_are_read() -> None:
    maps = {name: dict(rows) for name, rows in built(txid=TxID(2, 1)).items()}
    del maps[COSE_SIGNATURES]
    value = json.loads(maps[SIGNATURES][UNIT])
    del value["cert"]
    value["a_later_field"] = {"unknown": True}
    found = signature.parse(
        as_entry({SIGNATURES: {UNIT: dump_json(value)}, TREE: dict(maps[TREE])})
    )
    assert (found.cert, found.cose) == ("", None)
    signature.verify(found, ROOT, ME.node_key.public, ME.service_key.public)


def without(name: str) -> Any:
    def change(value: dict[str, Any]) -> None:
        del value[name]

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v.update(seqno=2), "carries the signature of 2.2"),
        (lambda v: v.update(view=3), "carries the signature of 3.1"),
        (lambda v: v.update(root="00"), "no SHA-256 digest"),
        (lambda v: v.update(root="zz"), "malformed signature"),
        (lambda v: v.update(sig="?"), "not base64"),
        (lambda v: v.update(seqno=True), "seqno is no integer"),
        (lambda v: v.update(cert=1), "cert is no text"),
        (without("node"), "node is no text"),
    ],
)
def test_malformed_values(change: Any, why: str) -> None:
    maps = built(txid=TxID(2, 1))
    value = json.loads(maps[SIGNATURES][UNIT])
    change(value)
    entry = as_entry({SIGNATURES: {UNIT: dump_json(value)}, TREE: dict(maps[TREE])})
    with pytest.raises(InvalidLedger, match=why) as caught:
        signature.parse(entry)
    assert caught.value.seqno == 1


def test_other_combinations_of_tables_are_refused() -> None:
    maps = built(txid=TxID(2, 1))
    with pytest.raises(InvalidLedger, match="is no signature transaction"):
        signature.parse(as_entry({SIGNATURES: dict(maps[SIGNATURES])}))
    more = {name: dict(rows) for name, rows in maps.items()}
    with pytest.raises(InvalidLedger, match="is no signature transaction"):
        signature.parse(as_entry({**more, "public:mine": {b"k": b"v"}}))
    with pytest.raises(InvalidLedger, match="other rows than its one"):
        signature.parse(as_entry({**more, TREE: {UNIT: None}}))
    assert not signature.is_signature(as_entry({"public:mine": {b"k": b"v"}}))


def test_what_a_signature_covers() -> None:
    service = small_service(8, every=4)
    entries = [parse(e.data) for e in service.entries]
    last = entries[service.signed - 1]
    previous = max(e.seqno for e in service.entries if e.committable and e.seqno < last.seqno)
    for entry in entries[previous - 1 : service.signed]:
        signature.verify_covered(entry, last)
    with pytest.raises(InvalidLedger, match="is not covered"):
        signature.verify_covered(entries[0], last)
    foreign = Service("another")
    foreign.genesis()
    while foreign.last < previous + 1:
        foreign.record(b"x")
    with pytest.raises(InvalidLedger, match="is not what the signature"):
        signature.verify_covered(parse(foreign.entries[previous].data), last)
    with pytest.raises(InvalidLedger, match="is no signature transaction"):
        signature.verify_covered(entries[0], entries[2])


def test_seeded_keys_sign_the_same_twice() -> None:
    assert built() == built()
    assert built(iat=NOW) != built()
