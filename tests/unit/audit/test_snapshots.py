"""Snapshots judged by the ledger beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyccf.audit.auditor import Auditor
from pyccf.audit.snapshots import SnapshotAudit, SnapshotFinding
from pyccf.errors import LocalError
from pyccf.ledger.entry import parse
from support.snapshots import make_service, take


@pytest.fixture(scope="module")
def made() -> tuple[list[bytes], str, bytes]:
    """A ledger, and the name and bytes of a snapshot of it."""
    service = make_service(4)
    name, data = take(service)
    service.tick()
    return list(service.ledger), name, data


def judged(ledger: list[bytes], folder: Path) -> list[SnapshotFinding]:
    audit, auditor = SnapshotAudit([folder]), Auditor()
    for data in ledger:
        entry = parse(data)
        auditor.feed(entry)
        audit.feed(entry)
    return audit.judge(auditor.identities)


def test_a_good_one(made: tuple[list[bytes], str, bytes], tmp_path: Path) -> None:
    ledger, name, data = made
    (tmp_path / name).write_bytes(data)
    (tmp_path / "other file").write_text("x")
    (found,) = judged(ledger, tmp_path)
    assert found.ok, found
    assert found.seqno == int(name.split("_")[1])


def test_damage_is_named(made: tuple[list[bytes], str, bytes], tmp_path: Path) -> None:
    ledger, name, data = made
    for offset in range(0, len(data), 97):
        changed = bytearray(data)
        changed[offset] ^= 1 << offset % 8
        (tmp_path / name).write_bytes(changed)
        (found,) = judged(ledger, tmp_path)
        assert not found.ok, offset


def test_what_the_ledger_does_not_record(
    made: tuple[list[bytes], str, bytes], tmp_path: Path
) -> None:
    """A receipt for the digest is not enough: users may claim what they like."""
    ledger, name, data = made
    (tmp_path / name).write_bytes(data)
    evidence = int(name.removesuffix(".committed").split("_")[2])
    (found,) = judged(ledger[: evidence - 1], tmp_path)
    assert found.reason == f"transaction {evidence} of the ledger does not record it"


def test_names_count(made: tuple[list[bytes], str, bytes], tmp_path: Path) -> None:
    ledger, name, data = made
    _, seqno, evidence = name.removesuffix(".committed").split("_")
    (tmp_path / f"snapshot_{seqno}_{int(evidence) + 1}.committed").write_bytes(data)
    (tmp_path / f"snapshot_{seqno}_{evidence}").write_bytes(data)
    first, second = judged(ledger, tmp_path)
    assert first.reason == "it was not completed, or was set aside"
    assert "unlike its name" in second.reason


def test_another_services_snapshot(made: tuple[list[bytes], str, bytes], tmp_path: Path) -> None:
    from support.ledgers import small_service

    _, name, data = made
    (tmp_path / name).write_bytes(data)
    other = [entry.data for entry in small_service(3).entries]
    (found,) = judged(other, tmp_path)
    assert not found.ok


def test_folders_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot be listed"):
        SnapshotAudit([os.path.join(tmp_path, "none")])
