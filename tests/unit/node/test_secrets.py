"""Ledger secrets of a node, handed out and told by the ledger."""

from __future__ import annotations

from pyccf.ledger.secrets import LedgerSecret
from pyccf.node.secrets import NodeSecrets

KEY_A, KEY_B, KEY_C = (bytes([n]) * 32 for n in (1, 2, 3))


def test_going_back_to_a_rekey_keeps_what_it_told() -> None:
    secrets = NodeSecrets([LedgerSecret(1, KEY_A)])
    secrets.add(LedgerSecret(11, KEY_B, 10))
    secrets.rollback(10)
    assert secrets.at(11).key == KEY_B
    secrets.rollback(9)
    assert secrets.at(11).key == KEY_A


def test_rolling_back_forgets_only_what_the_ledger_told() -> None:
    secrets = NodeSecrets()
    secrets.receive((LedgerSecret(1, KEY_A), LedgerSecret(50, KEY_B)))
    secrets.add(LedgerSecret(80, KEY_C))
    secrets.rollback(10)
    assert [s.version for s in secrets.all()] == [1, 50]


def test_what_was_handed_out_last_counts() -> None:
    secrets = NodeSecrets()
    secrets.receive((LedgerSecret(1, KEY_A), LedgerSecret(50, KEY_B)))
    secrets.add(LedgerSecret(80, KEY_C))
    secrets.receive((LedgerSecret(1, KEY_A), LedgerSecret(50, KEY_C)))
    assert [(s.version, s.key) for s in secrets.all()] == [(1, KEY_A), (50, KEY_C), (80, KEY_C)]


def test_what_was_handed_out_before_is_forgotten() -> None:
    secrets = NodeSecrets()
    secrets.receive((LedgerSecret(1, KEY_A), LedgerSecret(50, KEY_B)))
    secrets.receive((LedgerSecret(1, KEY_A),))
    assert [s.version for s in secrets.all()] == [1]


def test_of_two_secrets_for_one_seqno_the_ledgers_counts() -> None:
    secrets = NodeSecrets()
    secrets.receive((LedgerSecret(1, KEY_A), LedgerSecret(50, KEY_B)))
    secrets.add(LedgerSecret(50, KEY_C))
    assert secrets.at(60).key == KEY_C
    assert secrets.at(49).key == KEY_A
