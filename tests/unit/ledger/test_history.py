"""Transactions become entries and leaves."""

from __future__ import annotations

import hashlib

import pytest

from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv import wire
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, Entry, parse
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.merkle.tree import Tree
from pyccf.types import TxID
from support.ledgers import small_service

KEY = bytes(range(32))


def history(version: int = 1) -> History:
    return History(LedgerSecrets([LedgerSecret(version, KEY)]))


def append(made: History, value: bytes, view: int = 2) -> Entry:
    public, private = wire.encode({"public:a": {b"k": value}, "b": {b"k": value}})
    return made.append(TxID(view, made.last + 1), public, private)


def test_the_synthetic_vector() -> None:
    # spec: ledger.md §13.2
    made = history()
    for _ in range(4):
        made.tree.append(bytes(32))
    public, private = wire.encode(
        {"public:a": {b"k1": b'"v1"', b"k0": None}, "b": {b"x": b"hello"}}
    )
    claims = hashlib.sha256(b"claim").digest()
    entry = made.append(TxID(2, 5), public, private, claims=claims)
    assert (
        hashlib.sha256(entry.data).hexdigest()
        == "8c743a8b309a6f1dfc2d55520fff89bc6910308b98aba34ee43ed0db5befcc1a"
    )
    assert entry.leaf.hex() == "a3c8293c2ebbb2b8cfd365f93272b348c81541fdb78b58df43da9a05d0087a20"
    assert (
        made.evidence(TxID(2, 5))
        == "ce:2.5:187ceea26f3f7d44a5e204750ce5782e98493a457a60d17119486e8bf7f211ea"
    )
    assert (entry.view, entry.seqno, entry.committable) == (2, 5, False)
    assert made.private_maps(parse(entry.data)) == {"b": {b"x": b"hello"}}


def test_leaves_and_roots() -> None:
    made = history()
    tree = Tree()
    for i in range(20):
        entry = append(made, b"%d" % i)
        tree.append(parse(entry.data).leaf)
        assert made.root() == tree.root()
        assert made.last == entry.seqno == i + 1


def test_flags_are_part_of_the_entry() -> None:
    made = history()
    public, private = wire.encode({"public:a": {b"k": b"v"}})
    entry = made.append(TxID(2, 1), public, private, flags=FORCE_CHUNK_AFTER, committable=True)
    assert entry.flags == FORCE_CHUNK_AFTER
    assert entry.committable
    plain = history().append(TxID(2, 1), public, private)
    assert plain.data[2:] == entry.data[2:]
    assert plain.leaf != entry.leaf


def test_gaps_are_our_own_mistake() -> None:
    made = history()
    append(made, b"1")
    with pytest.raises(AssertionError, match="without gaps"):
        made.append(TxID(2, 3), b"", b"")
    with pytest.raises(AssertionError, match="31 bits"):
        made.append(TxID(2**31, 2), b"", b"")
    with pytest.raises(AssertionError, match="32 bytes"):
        made.append(TxID(2, 2), b"", b"", claims=b"short")


def test_without_a_secret_nothing_is_ordered() -> None:
    made = history(version=5)
    with pytest.raises(LocalError, match="No ledger secret is known for seqno 1"):
        append(made, b"1")
    assert made.last == 0


def test_replay_gives_the_same_history() -> None:
    service = small_service(9)
    follower = History(service.secrets)
    for entry in service.entries:
        replayed = follower.replay(entry.data)
        assert replayed.entry == entry
        assert replayed.maps() == {
            **replayed.parsed.public_maps(),
            **service.history.private_maps(replayed.parsed),
        }
    assert follower.root() == service.history.root()


def test_replay_refuses_what_does_not_follow() -> None:
    made, follower = history(), history()
    first, second = append(made, b"1"), append(made, b"2")
    with pytest.raises(InvalidLedger, match="Expected entry 1, got 2") as caught:
        follower.replay(second.data)
    assert caught.value.seqno == 2
    wrong = History(LedgerSecrets([LedgerSecret(1, bytes(32))]))
    with pytest.raises(InvalidLedger, match="does not authenticate"):
        wrong.replay(first.data)
    assert (follower.last, wrong.last) == (0, 0)


def test_rollback_and_compaction() -> None:
    made = history()
    for i in range(10):
        append(made, b"%d" % i)
    root = made.tree.root_at(6)
    made.compact(5)
    assert made.tree.first == 5
    made.rollback(6)
    assert made.last == 6
    assert made.root() == root
    append(made, b"another", view=3)
    assert made.last == 7


def test_rollback_reaches_the_secrets() -> None:
    made = history()
    for i in range(6):
        append(made, b"%d" % i)
    made.secrets.add(LedgerSecret(6, bytes(32)))
    made.rollback(4)
    assert made.secrets.latest().version == 1


def test_a_rekey_seals_from_its_version_on() -> None:
    made = history()
    append(made, b"1")
    made.secrets.add(LedgerSecret(2, bytes(32)))
    entry = append(made, b"2")
    old = LedgerSecrets([LedgerSecret(1, KEY)])
    parsed = parse(entry.data)
    assert made.private_maps(parsed) == {"b": {b"k": b"2"}}
    with pytest.raises(InvalidLedger):
        History(old).private(parsed)
