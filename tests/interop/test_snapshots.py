"""The original's own tools read the snapshots we write: every table, and the receipt."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidSignature

from pyccf.errors import InvalidLedger, InvalidReceipt
from pyccf.ledger import snapshot
from support.node import Service
from support.snapshots import make_service, take

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return importlib.import_module("ccf.ledger")


@pytest.fixture(scope="module")
def service() -> Service:
    return make_service(30)


@pytest.fixture
def file(service: Service, tmp_path: Path) -> Path:
    name, data = take(service)
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_every_public_table_is_read(tool: ModuleType, file: Path) -> None:
    found = snapshot.parse(file.read_bytes())
    theirs = tool.Snapshot(str(file))
    assert theirs.is_committed()
    assert theirs.get_len() == len(file.read_bytes())
    domain = theirs.get_public_domain()
    assert domain.get_seqno() == found.seqno
    tables = domain.get_tables()
    ours = {m.name: {k: p.value for k, p in m.pairs.items()} for m in found.public_maps()}
    assert {name: dict(rows) for name, rows in tables.items()} == ours
    assert len(ours) > 10


@pytest.mark.parametrize("at", [-300, -20])
def test_a_damaged_receipt_is_refused_by_both(
    tool: ModuleType, service: Service, file: Path, at: int
) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises((InvalidLedger, InvalidReceipt)):
        snapshot.verify(snapshot.parse(bytes(data)), service.parts.service.cert_pem)
    # A damaged name is one that the tool looks for in vain.
    refusals = (tool.InvalidSnapshotException, InvalidSignature, ValueError, KeyError)
    with pytest.raises(refusals):
        tool.Snapshot(str(file))
