"""`pyccf recover inspect`: what is said of a heap, and what is written for a recovery of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf.crypto.entropy import SeededEntropy
from pyccf.ledger import chunk
from pyccf.service.identity import make_service as make_identity
from support.cli import Run
from support.snapshots import make_service, take


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """One host's ledger, and a snapshot under its own name and under another one."""
    service = make_service()
    name, data = take(service)
    folder = tmp_path / "heap"
    folder.mkdir()
    entries = b"".join(service.ledger)
    (folder / chunk.open_name(1)).write_bytes(chunk.encode_header(0) + entries)
    (folder / name).write_bytes(data)
    (folder / "other").mkdir()
    (folder / "other" / "snapshot_9999_10000.committed").write_bytes(data)
    return folder


def test_a_configuration_that_recovers_it(run: Run, heap: Path, tmp_path: Path) -> None:
    made = tmp_path / "new" / "config.json"
    ran = run("recover", "inspect", heap, "--write", made, "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert Path(report["snapshot"]).parent == heap
    assert json.loads(made.read_bytes())["command"]["type"] == "Recover"
    (kept,) = (made.parent / "snapshots").iterdir()
    assert kept.name == Path(report["snapshot"]).name
    (renamed,) = [f for f in report["files"] if "snapshot_9999" in f["path"]]
    assert renamed["verdict"] == "damaged"
    assert "with evidence at" in renamed["reason"]


@pytest.mark.parametrize("there", ["config.json", "previous_service_identity.pem", "snapshots"])
def test_nothing_is_written_over(run: Run, heap: Path, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / there).write_text("mine")
    ran = run("recover", "inspect", heap, "--write", folder / "config.json")
    assert ran.code != 0
    assert "exists already" in ran.err
    assert [f.name for f in folder.iterdir()] == [there]
    assert (folder / there).read_text() == "mine"


def test_of_another_service_than_the_one_looked_for(run: Run, heap: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(make_identity(entropy=SeededEntropy("x"), not_before=1, days=9).cert_pem)
    made = tmp_path / "new" / "config.json"
    ran = run("recover", "inspect", heap, "--service-cert", other, "--write", made)
    assert ran.code == 1
    assert "is of another service than" in ran.err
    assert "recoverable:" in ran.out
    assert not made.parent.exists()
