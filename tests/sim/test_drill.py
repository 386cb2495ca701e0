"""Disaster drills, a few; and that they would notice."""

from __future__ import annotations

import pytest

from pyccf.audit import heap
from pyccf.kv.changes import Changes
from pyccf.kv.content import MapContent
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.snapshot import Snapshot
from pyccf.node.private import PrivateRecovery
from pyccf.node.replica import Replica
from pyccf.sim import drill
from pyccf.types import SeqNo, View

SEEDS = range(20, 26)


def test_services_come_back_from_what_is_left() -> None:
    total = drill.DrillFigures()
    for seed in SEEDS:
        total.add(drill.run(seed))
    assert total.lives > len(SEEDS)
    assert total.files_lost
    assert total.files_hurt
    assert total.nothing_lost
    assert total.joined
    assert total.joined_late
    assert total.snapshots_lost
    assert total.snapshots_hurt
    assert total.from_snapshots > total.without_beginning > 0


@pytest.mark.parametrize(
    "seed",
    [
        2247,  # a recovery cut off the record of a snapshot
        2639,  # services that recovered each other, known by a snapshot in between alone
        5039,  # the same snapshot, for one that joins
        5177,  # one joined where nobody had the secrets any more
        5221,  # entries from other files ended chunks in the middle of a collected one
        5357,  # a snapshot from between the recovery and the opening
        9004,  # a snapshot of a still earlier service, for those that join meanwhile and later
    ],
)
def test_what_drills_found_before(seed: int) -> None:
    drill.run(seed)


def test_a_drill_is_a_function_of_its_seed() -> None:
    assert drill.run(21) == drill.run(21)


def violated(seeds: range) -> str:
    for seed in seeds:
        try:
            drill.run(seed)
        except drill.Lost as e:
            return str(e)
    return ""


def test_private_state_that_is_not_read_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Replica.private_part

    def partly(self: Replica, data: bytes) -> tuple[View, SeqNo, bytes, Changes]:
        view, seqno, leaf, private = whole(self, data)
        return view, seqno, leaf, {} if seqno % 7 == 0 else private

    monkeypatch.setattr(Replica, "private_part", partly)
    assert violated(SEEDS).startswith("State:")


def test_a_shorter_chain_than_the_files_hold_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    take = heap._Heap.take

    def forgetful(self: heap._Heap, path: heap.Path) -> None:
        if "host0" not in str(path):
            take(self, path)

    monkeypatch.setattr(heap._Heap, "take", forgetful)
    assert violated(SEEDS).startswith("Kept:")


def test_a_snapshot_that_nobody_looks_at_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    take = heap._Heap.take

    def blind(self: heap._Heap, path: heap.Path) -> None:
        if not path.name.startswith("snapshot_"):
            take(self, path)

    monkeypatch.setattr(heap._Heap, "take", blind)
    assert violated(SEEDS).startswith("Kept:")


def test_private_state_of_a_snapshot_that_is_not_read_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(self: Snapshot, secrets: LedgerSecrets) -> list[MapContent]:
        return []

    monkeypatch.setattr(Snapshot, "private_maps", without)
    assert violated(SEEDS)


def test_a_service_that_is_not_opened_again_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrivateRecovery, "_reopen", lambda self, now: None)
    monkeypatch.setattr(drill, "ALIVE_MAX", 5_000)
    assert violated(range(20, 22)).startswith("Alive:")
