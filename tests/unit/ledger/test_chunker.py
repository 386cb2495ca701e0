"""Where a chunk ends."""

from __future__ import annotations

import pytest

from pyccf.ledger.chunker import CHUNK_SIZE_MAX, Chunker
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE


def test_the_worked_example() -> None:
    # spec: ledger.md §13.3
    chunker = Chunker(100)
    chunker.append(1, 60)
    assert not chunker.end_requested(2)
    chunker.append(2, 50)
    chunker.append(3, 10)
    assert chunker.end_requested(4)
    chunker.append(4, 50)
    chunker.append(5, 30)
    assert not chunker.end_requested(6)
    chunker.append(6, 50)


def test_a_forced_end_happens_once() -> None:
    chunker = Chunker(CHUNK_SIZE_MAX)
    for seqno in (1, 2, 3):
        chunker.append(seqno, 10)
    chunker.force(3)
    assert chunker.end_requested(4)
    chunker.append(4, 50)
    chunker.append(5, 30)
    assert not chunker.end_requested(6)


@pytest.mark.parametrize("reason", ["snapshot", "forced"])
def test_other_reasons_end_it_too(reason: str) -> None:
    chunker = Chunker()
    chunker.append(1, 10)
    assert chunker.end_requested(2, **{reason: True})
    chunker.append(2, 10)
    assert not chunker.end_requested(3)


def test_a_request_after_the_signature_waits() -> None:
    chunker = Chunker()
    chunker.append(1, 10)
    chunker.force(2)
    assert not chunker.end_requested(1)
    assert chunker.end_requested(2)


def test_compaction_changes_no_answer() -> None:
    plain, compacted = Chunker(100), Chunker(100)
    for seqno in range(1, 200):
        if seqno % 5 == 0:
            assert plain.end_requested(seqno) is compacted.end_requested(seqno)
        plain.append(seqno, 17)
        compacted.append(seqno, 17)
        if seqno % 5 == 0:
            compacted.compact(seqno)
    assert len(compacted._totals) < 20


def test_rollback_forgets() -> None:
    chunker = Chunker(100)
    chunker.append(1, 100)
    assert chunker.end_requested(2)
    chunker.append(2, 10)
    chunker.force(3)
    chunker.append(3, 10)
    chunker.rollback(1)
    assert chunker.last == 1
    assert chunker.end_requested(2)
    chunker.append(2, 10)
    assert not chunker.end_requested(3)


def test_a_backup_follows_the_flags() -> None:
    backup = Chunker(100)
    backup.follow(1, 60, 0)
    backup.follow(2, 60, FORCE_CHUNK_AFTER)
    backup.follow(3, 60, 0)
    assert not backup.end_requested(4)
    backup.follow(4, 60, FORCE_CHUNK_BEFORE)
    assert not backup.end_requested(5)
    backup.follow(5, 60, 0)
    assert backup.end_requested(6)


def test_going_on_from_an_existing_ledger() -> None:
    chunker = Chunker(100, last=41)
    assert chunker.last == 41
    chunker.append(42, 99)
    assert not chunker.end_requested(43)
    chunker.append(43, 1)
    assert chunker.end_requested(44)


def test_our_own_mistakes() -> None:
    with pytest.raises(AssertionError, match="out of range"):
        Chunker(0)
    with pytest.raises(AssertionError, match="out of range"):
        Chunker(CHUNK_SIZE_MAX + 1)
    with pytest.raises(AssertionError, match="without gaps"):
        Chunker().append(2, 10)
