"""The past of six services of the original, from the latest ledger secret alone."""

from __future__ import annotations

from functools import cache

import pytest

from pyccf.audit import secrets
from pyccf.audit.files import ChunkReader, find_chunks
from pyccf.codec import cose
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidReceipt
from pyccf.ledger import receipt
from pyccf.ledger.certchain import key_of
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node.historical import State
from pyccf.service import tables
from support.past import Past
from support.vectors import vectors_dir

SERVICES = [
    "acme_containing_service",
    "cose_flipflop_service",
    "double_sealed_service",
    "eol_service",
    "expired_service",
    "sgx_service",
]
each_service = pytest.mark.parametrize("name", SERVICES)


@cache
def past(name: str) -> Past:
    """The history of a service whose node holds the latest secret only."""
    folder = vectors_dir() / "ccf" / "ledgers" / name
    keys = [p.read_text() for p in sorted((folder / "common").glob("member*_enc_privk.pem"))]
    latest = secrets.recover(folder / "ledger", keys).latest()
    entries = []
    for one in find_chunks(folder / "ledger").chunks:
        with ChunkReader(one) as reader:
            entries += list(reader.entries())
    made = Past(entries, LedgerSecrets([latest]))
    last = max(s for s in range(1, len(entries) + 1) if is_signature(entries[s - 1]))
    made.committed = last
    return made


def is_signature(data: bytes) -> bool:
    return tables.SIGNATURES.encode() in data


@cache
def states(name: str) -> list[State]:
    made = past(name)
    return made.states(range(1, made.committed + 1))


@each_service
def test_every_committed_transaction_is_brought_back(name: str) -> None:
    found = states(name)
    assert [s.txid.seqno for s in found] == list(range(1, past(name).committed + 1))
    assert sum(len(s.changes()) for s in found) > len(found)


@each_service
def test_receipts_hold_for_the_service_of_their_time(name: str) -> None:
    eras = past(name).historical._resolver._eras._eras
    proven = 0
    for state in states(name):
        if "cert" not in state.receipt:
            # Made by the first version of the original, which put no certificates there.
            proven += 1
            continue
        for era in eras:
            try:
                receipt.verify_json_receipt(state.receipt, era.cert)
            except InvalidReceipt:
                continue
            proven += 1
            break
    assert proven == len(states(name))


def test_the_chain_of_identities_is_walked() -> None:
    identities = dict.fromkeys(SERVICES, 0)
    for name in SERVICES:
        assert states(name)
        identities[name] = len(past(name).historical._resolver._eras._eras)
    assert identities == {
        "acme_containing_service": 1,
        "cose_flipflop_service": 1,
        "double_sealed_service": 2,
        "eol_service": 5,
        "expired_service": 2,
        "sgx_service": 4,
    }


def test_cose_receipts_of_an_earlier_service_verify_through_the_endorsements() -> None:
    found = states("double_sealed_service")
    eras = past("double_sealed_service").historical._resolver._eras._eras
    (entry,) = [s for s in found if s.txid.seqno == 100]
    assert entry.cose_receipt is not None
    key = key_of(eras[0].cert)
    for envelope in entry.cose_endorsements or ():
        parsed = cose.parse_sign1(envelope)
        assert cosesign.verify1(parsed, key)
        assert parsed.payload is not None
        key = PublicKey.from_der(parsed.payload)
    proven = receipt.verify_cose_receipt(entry.cose_receipt, key)
    assert proven
