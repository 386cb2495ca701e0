"""pyccf.appdev.past: states rebuilt from a ledger, and secrets that are given."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.appdev.past import COMPACT_EVERY, moment, parse_secrets, past_rows
from pyccf.errors import LocalError
from pyccf.types import TxID
from support.ledgers import Service, small_service


def ledger(service: Service, folder: Path, first: int = 1) -> Path:
    data = b"".join(entry.data for entry in service.entries[first - 1 :])
    (folder / f"ledger_{first}").write_bytes(bytes(8) + data)
    return folder


def test_the_state_before_a_transaction(tmp_path: Path) -> None:
    service = small_service(6)
    sealed = service.record(b"secret", private=True)
    then = moment(ledger(service, tmp_path), sealed.seqno, service.secrets)
    assert then.txid == TxID(service.view, sealed.seqno)
    assert then.writes["records"] == {b"key": b"secret"}
    assert then.store.version == sealed.seqno - 1
    assert then.store.tx().map("records").get(b"key") != b"secret"
    assert then.private_bytes > 0
    assert "records" not in moment(tmp_path, sealed.seqno, None).writes
    after = service.record(b"x")
    ledger(service, tmp_path)
    state = moment(tmp_path, after.seqno, service.secrets).store.tx()
    assert state.map("records").get(b"key") == b"secret"


def test_the_root_is_that_of_the_service(tmp_path: Path) -> None:
    service = small_service(5)
    root = service.history.root()
    last = service.record(b"x")
    assert moment(ledger(service, tmp_path), last.seqno, None).root == root


def test_long_ledgers_are_forgotten_as_they_are_read(tmp_path: Path) -> None:
    service = Service()
    for i in range(COMPACT_EVERY + 5):
        service.record(b"%d" % i)
    then = moment(ledger(service, tmp_path), COMPACT_EVERY + 5, None)
    assert then.store.committed == COMPACT_EVERY
    assert then.store.tx().map("public:records").get(b"key") == b"%d" % (COMPACT_EVERY + 3)


def test_ledgers_that_do_not_reach(tmp_path: Path) -> None:
    service = small_service(6)
    with pytest.raises(LocalError, match="Entry 999 is not in the ledger"):
        moment(ledger(service, tmp_path), 999, None)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(LocalError, match="begins at 3"):
        moment(ledger(service, other, 3), 5, None)


def test_what_transactions_wrote(tmp_path: Path) -> None:
    service = Service()
    entries = [service.record(b"%d" % i) for i in range(4)]
    found = past_rows(ledger(service, tmp_path), 2, 3, None)
    assert list(found) == [2, 3]
    txid, rows = found[3]
    assert txid == TxID(service.view, entries[2].seqno)
    assert rows == {"public:records": {b"key": b"2"}}


@pytest.mark.parametrize(
    "raw", [b"", b"xyz", b"00" * 31, b"{nope", b'{"0": "' + b"00" * 32 + b'"}']
)
def test_secrets_that_are_none_are_not_repeated(raw: bytes) -> None:
    with pytest.raises(LocalError, match="neither 32 bytes") as caught:
        parse_secrets(raw)
    assert raw == b"" or raw.decode() not in caught.value.explain()
