"""Endorsements of service identities."""

from __future__ import annotations

from typing import Any

import pytest

from pyccf.codec import cbor
from pyccf.codec.text import b64, dump_json
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PrivateKey
from pyccf.errors import InvalidLedger
from pyccf.ledger import endorsement
from pyccf.types import Json, TxID
from support.ledgers import Identity

OLD = Identity("old").service_key
NEW = Identity("new").service_key
ROOT = bytes(range(32))


def row(signer: PrivateKey = NEW, endorsed: PrivateKey = OLD, **changed: Any) -> dict[str, Json]:
    begin, end = changed.get("begin", "2.1"), changed.get("end", "2.30")
    epoch = [(cbor.tstr("epoch.start.txid"), cbor.tstr(begin))]
    if end is not None:
        epoch.append((cbor.tstr("epoch.end.txid"), cbor.tstr(end)))
        epoch.append((cbor.tstr("epoch.end.merkle.root"), cbor.bstr(changed.get("root", ROOT))))
    header = cbor.mapping(
        (
            (cbor.uint(1), cbor.integer(signer.curve.cose_alg)),
            (cbor.uint(15), cbor.mapping(((cbor.uint(6), cbor.uint(1)),))),
            (cbor.tstr("ccf.v1"), changed.get("epoch", cbor.mapping(epoch))),
        )
    )
    made: dict[str, Json] = {
        "endorsement": b64(
            cosesign.sign1(signer, header, endorsed.public.der, changed.get("detached", False))
        ),
        "endorsing_key": b64(signer.public.der),
        "endorsement_epoch_begin": begin,
    }
    if end is not None:
        made["endorsement_epoch_end"] = end
        made["previous_version"] = 17
    return made


def test_of_a_previous_identity() -> None:
    found = endorsement.parse(dump_json(row()))
    assert found.endorsed == OLD.public.der
    assert found.endorsing == NEW.public.der
    assert (found.begin, found.end) == (TxID(2, 1), TxID(2, 30))
    assert (found.previous_version, found.root) == (17, ROOT)
    assert not found.of_itself
    assert endorsement.fault(found, NEW.public) == ""


def test_of_itself() -> None:
    found = endorsement.parse(dump_json(row(endorsed=NEW, end=None)))
    assert found.of_itself
    assert found.end is None
    assert endorsement.fault(found, NEW.public) == ""
    other = endorsement.parse(dump_json(row(end=None)))
    assert "endorses another key than its own" in endorsement.fault(other, NEW.public)


def test_faults() -> None:
    found = endorsement.parse(dump_json(row()))
    assert "another endorsing key" in endorsement.fault(found, OLD.public)
    forged = row(signer=OLD)
    forged["endorsing_key"] = b64(NEW.public.der)
    found = endorsement.parse(dump_json(forged))
    assert "not signed by the service key" in endorsement.fault(found, NEW.public)
    shifted = row()
    shifted["endorsement_epoch_end"] = "2.31"
    found = endorsement.parse(dump_json(shifted))
    assert "differs from the signed one" in endorsement.fault(found, NEW.public)
    found = endorsement.parse(dump_json(row(epoch=cbor.uint(1))))
    assert "no range of transactions" in endorsement.fault(found, NEW.public)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("endorsement", "?", "not base64"),
        ("endorsement", None, "endorsement is no text"),
        ("endorsement", "AAAA", "outer array"),
        ("endorsing_key", 5, "endorsing_key is no text"),
        ("endorsement_epoch_begin", "2", "range of transactions is malformed"),
        ("endorsement_epoch_end", "x", "range of transactions is malformed"),
        ("previous_version", "17", "previous_version is no integer"),
    ],
)
def test_malformed_rows(name: str, value: Json, why: str) -> None:
    made = row()
    made[name] = value
    with pytest.raises(InvalidLedger, match=why):
        endorsement.parse(dump_json(made))


def test_malformed_envelopes() -> None:
    with pytest.raises(InvalidLedger, match="no payload"):
        endorsement.parse(dump_json(row(detached=True)))
    with pytest.raises(InvalidLedger, match="no digest"):
        endorsement.parse(dump_json(row(root=b"short")))
    with pytest.raises(InvalidLedger, match="no JSON object"):
        endorsement.parse(b"[]")
    with pytest.raises(InvalidLedger, match="Malformed endorsement"):
        endorsement.parse(b"")
