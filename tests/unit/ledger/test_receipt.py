"""Receipts: made from entries, verified without them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from pyccf.codec import cbor, cose
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import InvalidReceipt, LocalError
from pyccf.ledger import receipt
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.types import Json, TxID
from support.ledgers import NOW, Identity, Service, small_service

CLAIMS = hashlib.sha256(b"claims").digest()
DAY = 86_400


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(4)
    made.record(b"with claims", claims=CLAIMS)
    made.record(b"private", private=True)
    made.sign()
    return made


def entries(service: Service) -> list[ParsedEntry]:
    return [parse(e.data) for e in service.entries]


def last_signature(service: Service) -> ParsedEntry:
    return parse(service.entries[service.signed - 1].data)


def claimed(service: Service) -> ParsedEntry:
    return next(e for e in entries(service) if e.claims == CLAIMS)


def evidence(service: Service, entry: ParsedEntry) -> str:
    return service.history.evidence(TxID(entry.view, entry.seqno))


def json_of(service: Service, entry: ParsedEntry) -> dict[str, Json]:
    return receipt.json_receipt(entry, last_signature(service), evidence(service, entry))


def cose_of(service: Service, entry: ParsedEntry) -> bytes:
    return receipt.cose_receipt(entry, last_signature(service), evidence(service, entry))


# --- JSON -----------------------------------------------------------------------------------


def test_a_json_receipt_proves_its_transaction(service: Service) -> None:
    entry = claimed(service)
    made = json_of(service, entry)
    assert sorted(made) == ["cert", "leaf_components", "node_id", "proof", "signature"]
    proven = receipt.verify_json_receipt(made, service.identity.service_cert, claims=CLAIMS)
    assert proven.txid == TxID(2, entry.seqno)
    assert proven.claims == CLAIMS
    assert proven.write_set_digest == entry.write_set_digest
    assert proven.node == service.identity.node_id
    assert proven.root == service.signed_root


def test_claims_are_there_even_when_none_were_made(service: Service) -> None:
    entry = next(e for e in entries(service) if e.ciphertext and e.seqno > claimed(service).seqno)
    proven = receipt.verify_json_receipt(json_of(service, entry), service.identity.service_cert)
    assert proven.claims == bytes(32)


def test_the_receipt_of_a_signature_is_its_root(service: Service) -> None:
    entry = last_signature(service)
    made = receipt.json_receipt(entry, entry, None)
    assert made["leaf"] == service.signed_root.hex()
    assert made["proof"] == []
    proven = receipt.verify_json_receipt(made, service.identity.service_cert)
    assert (proven.txid, proven.claims) == (None, None)
    with pytest.raises(InvalidReceipt, match="says nothing about claims"):
        receipt.verify_json_receipt(made, service.identity.service_cert, claims=CLAIMS)


def change(path: str, value: Json) -> Callable[[dict[str, Any]], None]:
    def act(made: dict[str, Any]) -> None:
        *where, last = path.split(".")
        for step in where:
            made = made[step]
        if value is ...:
            del made[last]
        else:
            made[last] = value

    return act


OTHER = Identity("somebody else")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (change("leaf_components.claims_digest", "00" * 32), "not over the root"),
        (change("leaf_components.write_set_digest", "00" * 32), "not over the root"),
        (change("leaf_components.commit_evidence", "ce:2.9:" + "0" * 64), "not over the root"),
        (change("proof", []), "not over the root"),
        (change("node_id", "00" * 32), "not that of node"),
        (change("cert", OTHER.node_cert), "not that of node"),
        (change("cert", "nonsense"), "cannot be read"),
        (change("signature", "AAAA"), "not over the root"),
        (change("signature", "!"), "not base64"),
        (change("leaf", "00" * 32), "either leaf or leaf_components"),
        (change("leaf_components", None), "either leaf or leaf_components"),
        (change("leaf_components", "text"), "no object"),
        (change("leaf_components.write_set_digest", "00"), "no SHA-256 digest"),
        (change("leaf_components.write_set_digest", "zz"), "no SHA-256 digest"),
        (change("leaf_components.write_set_digest", 5), "has no write_set_digest"),
        (change("proof", {}), "no list"),
        (change("proof", [{"left": "00" * 32}] * 65), "at most 64 steps"),
        (change("proof", [{"up": "00" * 32}]), "has no right"),
        (change("proof", [{"left": "00" * 32, "right": "00" * 32}]), "neither left nor right"),
        (change("proof", ["00"]), "neither left nor right"),
        (change("service_endorsements", "text"), "no list"),
        (change("service_endorsements", [1]), "no PEM text"),
        (change("service_endorsements", [OTHER.service_cert]), "not endorsed by the endorsed"),
        (change("service_endorsements", ["x"] * 65), "at most 64"),
    ],
)
def test_a_changed_json_receipt_is_refused(
    service: Service, act: Callable[[dict[str, Any]], None], why: str
) -> None:
    made: dict[str, Any] = copy.deepcopy(json_of(service, claimed(service)))
    act(made)
    with pytest.raises(InvalidReceipt, match=why):
        receipt.verify_json_receipt(made, service.identity.service_cert)


def test_the_wrong_service_and_the_wrong_claims(service: Service) -> None:
    made = json_of(service, claimed(service))
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        receipt.verify_json_receipt(made, OTHER.service_cert)
    with pytest.raises(InvalidReceipt, match="not the expected one"):
        receipt.verify_json_receipt(made, service.identity.service_cert, claims=bytes(32))


def test_dates_count_only_when_asked_for(service: Service) -> None:
    made = json_of(service, claimed(service))
    cert = service.identity.service_cert
    assert receipt.verify_json_receipt(made, cert, now=NOW + DAY)
    assert receipt.verify_json_receipt(made, cert)
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        receipt.verify_json_receipt(made, cert, now=NOW + 1000 * DAY)


def test_an_earlier_service_needs_its_endorsement(service: Service) -> None:
    entry = claimed(service)
    new = Identity("the next service")
    endorsement = certs.endorse_service(
        service.identity.service_cert, new.service_key, new.service_cert, SeededEntropy("e")
    )
    made = receipt.json_receipt(
        entry, last_signature(service), evidence(service, entry), [endorsement]
    )
    assert receipt.verify_json_receipt(made, new.service_cert).txid == TxID(2, entry.seqno)
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        receipt.verify_json_receipt(json_of(service, entry), new.service_cert)


def test_only_covered_entries_have_receipts(service: Service) -> None:
    first = entries(service)[0]
    with pytest.raises(LocalError, match="is not covered by the signature"):
        json_of(service, first)
    with pytest.raises(LocalError, match="is not covered by the signature"):
        receipt.path_in(last_signature(service), first)
    entry = claimed(service)
    with pytest.raises(LocalError, match="needs its commit evidence"):
        receipt.json_receipt(entry, last_signature(service), None)
    with pytest.raises(LocalError, match="not the commit evidence"):
        receipt.json_receipt(entry, last_signature(service), "ce:2.1:" + "0" * 64)


# --- COSE -----------------------------------------------------------------------------------


def test_a_cose_receipt_proves_its_transaction(service: Service) -> None:
    entry = claimed(service)
    key = service.identity.service_key.public
    proven = receipt.verify_cose_receipt(cose_of(service, entry), key, claims=CLAIMS)
    assert proven.txid == TxID(2, entry.seqno)
    assert proven.claims == CLAIMS
    assert proven.root == service.signed_root
    assert proven.leaf == entry.leaf


def test_the_layout_of_a_cose_receipt(service: Service) -> None:
    # spec: merkle-and-receipts.md §6.2
    entry = claimed(service)
    made = cose_of(service, entry)
    proof = receipt.merkle_proof_cbor(entry, last_signature(service), evidence(service, entry))
    size = len(proof)
    head = bytes.fromhex("a119018ca12081") + (
        b"\x58" + bytes((size,)) if size < 256 else b"\x59" + size.to_bytes(2, "big")
    )
    assert head + proof + b"\xf6\x58" in made
    assert made.startswith(b"\xd2\x84\x58")
    value = cbor.decode(proof)
    assert isinstance(value, dict)
    assert list(value) == [1, 2]
    assert value[1] == [entry.write_set_digest, evidence(service, entry), CLAIMS]


def rebuilt(made: bytes, **changed: Any) -> bytes:
    envelope = cose.parse_sign1(made)
    proof = envelope.unprotected[cose.VDP][-1][0]  # type: ignore[index]
    protected = changed.get("protected", envelope.protected)
    proofs = changed.get("proofs", [proof])
    unprotected = changed.get(
        "unprotected",
        cbor.mapping(
            (
                (
                    cbor.uint(396),
                    cbor.mapping(((cbor.nint(-1), cbor.array(map(cbor.bstr, proofs))),)),
                ),
            )
        ),
    )
    return cose.encode_sign1(
        protected, changed.get("payload"), changed.get("signature", envelope.signature), unprotected
    )


def encoded_proof(leaf: list[bytes], steps: list[bytes]) -> bytes:
    return cbor.mapping(((cbor.uint(1), cbor.array(leaf)), (cbor.uint(2), cbor.array(steps))))


LEAF = [cbor.bstr(bytes(32)), cbor.tstr("ce:2.1:" + "0" * 64), cbor.bstr(bytes(32))]
STEP = cbor.array((cbor.TRUE, cbor.bstr(bytes(32))))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"signature": bytes(64)}, "not over the root"),
        ({"payload": b"x"}, "payload of its own"),
        ({"unprotected": b"\xa0"}, "no inclusion proof"),
        ({"proofs": []}, "no inclusion proof"),
        ({"proofs": [b"\xa0"] * 17}, "more than 16 proofs"),
        ({"proofs": [bytes(2049)]}, "2048 bytes or less"),
        ({"proofs": [b"\xff"]}, "malformed"),
        ({"proofs": [b"\xa0"]}, "no leaf or no path"),
        ({"proofs": [encoded_proof(LEAF[:2], [STEP])]}, "no leaf or no path"),
        ({"proofs": [encoded_proof([cbor.bstr(b"x"), *LEAF[1:]], [STEP])]}, "malformed leaf"),
        ({"proofs": [encoded_proof([LEAF[0], cbor.tstr(""), LEAF[2]], [STEP])]}, "malformed leaf"),
        (
            {"proofs": [encoded_proof([LEAF[0], cbor.tstr("x" * 1025), LEAF[2]], [STEP])]},
            "malformed leaf",
        ),
        ({"proofs": [encoded_proof(LEAF, [cbor.array((cbor.TRUE,))])]}, "malformed path"),
        (
            {"proofs": [encoded_proof(LEAF, [cbor.array((cbor.uint(1), cbor.bstr(bytes(32))))])]},
            "malformed path",
        ),
        ({"proofs": [encoded_proof([LEAF[0], cbor.tstr("ce"), LEAF[2]], [])]}, "evidence is malf"),
        ({"proofs": [encoded_proof(LEAF, [STEP])]}, "not over the root"),
        ({"protected": cbor.mapping(((cbor.uint(1), cbor.nint(-7)),))}, "another service key"),
    ],
)
def test_a_changed_cose_receipt_is_refused(
    service: Service, changed: dict[str, Any], why: str
) -> None:
    made = cose_of(service, claimed(service))
    assert rebuilt(made) == made
    with pytest.raises(InvalidReceipt, match=why):
        receipt.verify_cose_receipt(rebuilt(made, **changed), service.identity.service_key.public)


def test_each_of_several_proofs_must_hold(service: Service) -> None:
    key = service.identity.service_key.public
    one, two = entries(service)[claimed(service).seqno - 1 : claimed(service).seqno + 1]
    proofs = [
        receipt.merkle_proof_cbor(e, last_signature(service), evidence(service, e))
        for e in (one, two)
    ]
    made = cose_of(service, one)
    assert receipt.verify_cose_receipt(rebuilt(made, proofs=proofs), key).txid == TxID(2, one.seqno)
    wrong = [proofs[0], encoded_proof(LEAF, [STEP])]
    with pytest.raises(InvalidReceipt, match="not over the root"):
        receipt.verify_cose_receipt(rebuilt(made, proofs=wrong), key)


def test_wrong_key_claims_and_structure(service: Service) -> None:
    made = cose_of(service, claimed(service))
    key = service.identity.service_key.public
    with pytest.raises(InvalidReceipt, match="another service key"):
        receipt.verify_cose_receipt(made, OTHER.service_key.public)
    with pytest.raises(InvalidReceipt, match="not the expected one"):
        receipt.verify_cose_receipt(made, key, claims=bytes(32))
    with pytest.raises(InvalidReceipt, match="Not a COSE receipt"):
        receipt.verify_cose_receipt(b"nonsense", key)
    header = cbor.mapping(
        (
            (cbor.uint(1), cbor.nint(-7)),
            (cbor.uint(4), cbor.bstr(key.id.encode())),
            (cbor.uint(395), cbor.uint(1)),
        )
    )
    with pytest.raises(InvalidReceipt, match="another data structure"):
        receipt.verify_cose_receipt(rebuilt(made, protected=header), key)


def test_what_has_no_cose_receipt(service: Service) -> None:
    signed = last_signature(service)
    with pytest.raises(LocalError, match="it has no inclusion proof"):
        receipt.cose_receipt(signed, signed, None)
    plain = small_service(2, every=2)
    plain.cose = False
    entry = plain.record(b"x")
    covering = plain.sign()
    with pytest.raises(LocalError, match="has no COSE signature"):
        receipt.cose_receipt(
            parse(entry.data), parse(covering.data), plain.history.evidence(TxID(2, entry.seqno))
        )


def test_a_very_deep_proof_is_too_large(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "PROOF_SIZE_MAX", 100)
    with pytest.raises(LocalError, match="too large"):
        cose_of(service, claimed(service))
