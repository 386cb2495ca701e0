from __future__ import annotations

import pytest

from pyccf.codec.text import dump_json
from pyccf.crypto.entropy import SeededEntropy
from pyccf.errors import InvalidLedger, InvalidReceipt, LocalError
from pyccf.ledger import snapshot
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.ledger.snapshot import SnapshotName, parse, parse_name, verify
from pyccf.service.identity import make_service as make_identity
from support.node import STARTED, Service
from support.snapshots import OPEN, SECRET, claim, make_service, take

OTHER = make_identity(entropy=SeededEntropy("other"), not_before=STARTED, days=9)


@pytest.fixture(scope="module")
def service() -> Service:
    return make_service()


@pytest.fixture(scope="module")
def data(service: Service) -> bytes:
    return take(service)[1]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("snapshot_27_30.committed", SnapshotName(27, 30, True)),
        ("snapshot_27_30", SnapshotName(27, 30, False)),
        ("snapshot_27_30.committed.ignored", None),
        ("snapshot_27.committed", None),
        ("snapshot_x_30.committed", None),
        ("../snapshot_1_2.committed", None),
        ("ledger_1-2.committed", None),
    ],
)
def test_names(name: str, found: SnapshotName | None) -> None:
    assert parse_name(name) == found


def test_what_is_in_it(service: Service, data: bytes) -> None:
    found = parse(data)
    proven = verify(found, service.parts.service.cert_pem)
    assert proven.txid is not None
    assert proven.txid.seqno > found.seqno
    assert found.view == 2
    public = found.public_maps()
    signed, tree = snapshot.history_of(found, public)
    assert signed.seqno == found.seqno
    assert tree.size == found.seqno + 1
    assert tree.leaf(found.seqno) == found.leaf
    names = [m.name for m in public]
    assert OPEN in names
    assert SECRET not in names
    (private,) = found.private_maps(service.parts.secrets)
    assert private.name == SECRET
    assert private.pairs[b"key 3"].value.endswith(b"3")
    assert b"key 3" in data[: found.size]
    assert data[: found.size].count(b"vvvvvvvv3") == 1


def test_another_service_does_not_vouch(data: bytes) -> None:
    with pytest.raises(InvalidReceipt, match="not endorsed by the service"):
        verify(parse(data), OTHER.cert_pem)


def test_another_secret_does_not_open_it(data: bytes) -> None:
    with pytest.raises(InvalidLedger, match="does not authenticate under its ledger secret"):
        parse(data).private_maps(LedgerSecrets([LedgerSecret(1, bytes(32))]))
    with pytest.raises(LocalError, match="No ledger secret"):
        parse(data).private_maps(LedgerSecrets())


def flawed(data: bytes, service: Service) -> None:
    """All that is asked of a snapshot before it is used."""
    found = parse(data)
    verify(found, service.parts.service.cert_pem)
    snapshot.history_of(found, found.public_maps())


def test_every_flipped_byte_is_noticed(service: Service, data: bytes) -> None:
    size = parse(data).size
    places = [*range(60), *range(60, size, 997), *range(size, len(data), 7)]
    for at in places:
        bad = bytearray(data)
        bad[at] ^= 1
        with pytest.raises((InvalidLedger, InvalidReceipt)):
            flawed(bytes(bad), service)


@pytest.mark.parametrize("keep", [0, 7, 43, 44, 60, 61, 100, 200, -2000, -1000, -1])
def test_every_cut_is_noticed(service: Service, data: bytes, keep: int) -> None:
    with pytest.raises((InvalidLedger, InvalidReceipt)):
        flawed(data[:keep], service)


def test_without_a_receipt_it_is_nothing(data: bytes) -> None:
    with pytest.raises(InvalidLedger, match="no receipt: its writer was interrupted"):
        parse(data[: parse(data).size])


def test_a_receipt_that_can_just_be_read_is_refused(data: bytes) -> None:
    block = data[: parse(data).size]
    for levels in range(850, 1001):
        deep = b'{"x":' + b"[" * levels + b"1e300" + b"]" * levels + b"}"
        with pytest.raises(InvalidLedger, match="receipt is"):
            parse(block + deep)


def test_an_entry_is_no_snapshot(service: Service) -> None:
    with pytest.raises(InvalidLedger, match="entry of a ledger"):
        parse(service.ledger[3] + b"{}")


def test_claims_of_an_application_are_no_evidence(service: Service, data: bytes) -> None:
    """A user who may claim any digest gets a receipt for a snapshot made up by himself."""
    forged = claim(service, data, b"vvvvvvvv3", b"wwwwwwww3")[1]
    found = parse(forged)
    proven = verify(found, service.parts.service.cert_pem)
    with pytest.raises(InvalidLedger, match="which its receipt is of, did not record it"):
        snapshot.check_evidence(found, proven, service.parts.secrets)


def test_real_evidence_holds(service: Service, data: bytes) -> None:
    found = parse(data)
    proven = verify(found, service.parts.service.cert_pem)
    snapshot.check_evidence(found, proven, service.parts.secrets)
    with pytest.raises(InvalidLedger, match="did not record it"):
        snapshot.check_evidence(found, proven, LedgerSecrets([LedgerSecret(1, bytes(32))]))


def test_evidence_that_a_recovery_cut_off_is_of_the_service_before(
    service: Service, data: bytes
) -> None:
    """At its seqno the ledger has another service's entry by now, under another secret."""
    found = parse(data)
    proven = verify(found, service.parts.service.cert_pem)
    after = LedgerSecret(found.seqno + 1, bytes(32))
    known = service.parts.secrets.all()
    snapshot.check_evidence(found, proven, LedgerSecrets([*known, after]))
    with pytest.raises(InvalidLedger, match="did not record it"):
        snapshot.check_evidence(found, proven, LedgerSecrets([after]))


def test_evidence_must_come_after_the_snapshot(service: Service, data: bytes) -> None:
    receipt = parse(data).receipt
    components = receipt["leaf_components"]
    assert isinstance(components, dict)
    early = dict(receipt)
    early["leaf_components"] = {**components, "commit_evidence": f"ce:2.1:{'0' * 64}"}
    with pytest.raises(InvalidReceipt):
        verify(
            parse(data[: parse(data).size] + dump_json(early)),
            service.parts.service.cert_pem,
        )
