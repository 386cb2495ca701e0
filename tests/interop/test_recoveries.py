"""Three recoveries in a row, with rekeys, another threshold and a member less in between: proofs of
every life of the service lead to the present identity, for the original's tools and for ours."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from pyccf.audit.verify import verify
from pyccf.codec import cose
from pyccf.codec.text import unb64
from pyccf.ledger import endorsement, receipt
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import Entry, parse
from pyccf.ledger.signature import is_signature
from pyccf.service import tables
from pyccf.shell.disk import LedgerDisk
from pyccf.types import TxID
from support.recovering import Consortium, Recovered
from unit.node.test_history_recovered import ask, make_app
from unit.node.test_recover import former, opened, put

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

receipts = pytest.importorskip("ccf.receipt")
coses = pytest.importorskip("ccf.cose")


class Lives(NamedTuple):
    """The service in its fourth life, a transaction of each, and the identities, oldest first."""

    service: Recovered
    written: tuple[int, ...]
    identities: tuple[str, ...]


@cache
def lives() -> Lives:
    written = [next(n for n, raw in enumerate(former().ledger, 1) if b"the first value" in raw)]
    identities = [former().identity]
    ledger = list(former().ledger)
    members = list(former().members)
    for number in range(1, 4):
        service = Recovered(ledger, identities[-1], seed=100 * number, app=make_app())
        consortium = Consortium(service, members)
        service.tick()
        consortium.accept(identities[-1], service.identity)
        consortium.restore()
        assert opened(service), service.lines
        put(service, "a", f"of life {number}")
        written.append(service.node.store.version)
        service.tick()
        identities.append(service.identity)
        if number == 1:
            gone, _ = members.pop()
            consortium.decide("remove_member", {"member_id": gone.id})
            consortium.decide("trigger_ledger_rekey", None)
        elif number == 2:
            consortium.decide("set_recovery_threshold", {"recovery_threshold": 1})
            members = members[::-1][:1] + members[:1]
        service.tick()
        ledger = list(service.ledger)
    return Lives(service, tuple(written), tuple(identities))


@pytest.mark.parametrize("life", range(4))
def test_receipts_of_every_life_lead_to_the_present_service(life: int) -> None:
    service, written, identities = lives()
    shown = ask(service, written[life])
    made = shown["receipt"]
    assert isinstance(made, dict)
    endorsements = made.get("service_endorsements", [])
    # The present service endorses each of the earlier ones itself.
    assert len(endorsements) == (life < 3)
    parts = made["leaf_components"]
    evidence = sha256(parts["commit_evidence"].encode()).digest()
    digests = bytes.fromhex(parts["write_set_digest"]), bytes.fromhex(parts["claims_digest"])
    leaf = sha256(digests[0] + evidence + digests[1]).hexdigest()
    node = x509.load_pem_x509_certificate(made["cert"].encode())
    present = x509.load_pem_x509_certificate(service.identity.encode())
    chain = [x509.load_pem_x509_certificate(pem.encode()) for pem in endorsements]
    receipts.verify(receipts.root(leaf, made["proof"]), made["signature"], node)
    receipts.check_endorsements(node, present, chain)
    proven = receipt.verify_json_receipt(made, service.identity)
    assert proven.txid is not None
    assert proven.txid.seqno == written[life]
    for other in identities[:life]:
        # An older service vouches for nothing that came after it.
        with pytest.raises(receipt.InvalidReceipt):
            receipt.verify_json_receipt({**made, "service_endorsements": []}, other)


@pytest.mark.parametrize("life", range(4))
def test_cose_receipts_of_every_life_lead_to_the_present_service(life: int) -> None:
    service, written, identities = lives()
    shown = ask(service, written[life])
    chain, raw = shown["endorsements"], shown["cose"]
    assert isinstance(chain, list)
    assert isinstance(raw, str)
    assert len(chain) == 3 - life
    key = x509.load_pem_x509_certificate(service.identity.encode()).public_key()
    seqno = written[life]
    for text in chain:
        coses.validate_cose_sign1(key, unb64(text))
        envelope = cose.parse_sign1(unb64(text))
        assert envelope.payload is not None
        key = load_der_public_key(envelope.payload)
    oldest = x509.load_pem_x509_certificate(identities[life].encode()).public_key()
    assert key == oldest
    coses.verify_receipt(unb64(raw), key, bytes(32))
    proven = receipt.verify_cose_receipt(unb64(raw), key_of(identities[life]))
    assert proven.txid is not None
    assert proven.txid.seqno == seqno


def test_endorsements_name_the_transactions_they_are_for_without_a_gap() -> None:
    service, written, identities = lives()
    found = [
        endorsement.parse(raw)
        for data in service.ledger
        for raw in parse(data).public_maps().get(endorsement.TABLE, {}).values()
        if raw is not None
    ]
    assert [one.of_itself for one in found] == [True, False, False, False]
    keys = [key_of(pem) for pem in identities]
    for number, one in enumerate(found[1:], 1):
        assert endorsement.fault(one, keys[number]) == ""
        assert one.endorsed == keys[number - 1].der
        assert one.end is not None
        assert one.begin.seqno <= written[number - 1] <= one.end.seqno
    for before, after in pairwise(found[1:]):
        assert before.end is not None
        assert after.begin == TxID(before.end.view + 2, before.end.seqno + 1)


def test_the_ledger_of_four_lives_is_accepted(tmp_path: Path) -> None:
    service, _, identities = lives()
    disk = LedgerDisk(tmp_path)
    entries = [parse(data) for data in service.ledger]
    disk.append([Entry(e.view, e.seqno, e.data, is_signature(e), e.leaf) for e in entries])
    disk.close()
    report = verify(tmp_path, service_cert_pem=service.identity)
    assert report.ok, report.error
    assert [one.cert for one in report.identities] == list(identities)
    tools = pytest.importorskip("ccf.ledger")
    validator = tools.LedgerValidator(accept_deprecated_entry_types=False)
    validator.node_certificates = {}
    validator.node_activity_status = {}
    for chunk in tools.Ledger([str(tmp_path)], committed_only=False):
        for transaction in chunk:
            validator.add_transaction(transaction)
    assert validator.last_verified_txid().seqno == report.last_valid.seqno  # type: ignore[union-attr]


def test_history_tells_the_values_of_their_time() -> None:
    service, written, _ = lives()
    values = [ask(service, seqno)["value"] for seqno in written]
    assert values == ["the first value", "of life 1", "of life 2", "of life 3"]
    tx = service.node.store.tx()
    config = json.loads(tx.map(tables.SERVICE_CONFIG).get(tables.UNIT) or b"{}")
    assert config["recovery_threshold"] == 1
