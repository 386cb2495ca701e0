"""Entries of others: what is taken over, what is refused, and what is undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyccf.api import common
from pyccf.codec.text import dump_json
from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.kv.store import Store, ViewChanged
from pyccf.ledger import signature
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node.node import HAND_OVER_MS, Limits, Node
from pyccf.node.outputs import Append, Channel, Committed, Log, Send, Truncate
from pyccf.service import tables
from pyccf.types import NodeId, SeqNo, TxID
from support.node import STARTED, Service

PEER = "ab" * 32


class Told:
    """An engine that follows nobody and notes what it is told."""

    view = 2
    last = 0
    committed = 0
    primary = None
    can_replicate = False
    should_sign = False

    def __init__(self) -> None:
        self.configurations: list[tuple[SeqNo, dict[NodeId, str]]] = []
        self.retired: list[tuple[SeqNo, list[NodeId]]] = []

    def attach(self, executor: object) -> None: ...

    def nodes(self) -> dict[NodeId, str]:
        return self.configurations[-1][1] if self.configurations else {}

    def configure(self, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        self.configurations.append((seqno, nodes))

    def retired_committed(self, seqno: SeqNo, nodes: list[NodeId]) -> None:
        self.retired.append((seqno, nodes))

    def flush(self) -> None: ...

    def view_of(self, seqno: SeqNo) -> int:
        return self.view


class Backup:
    """A node that is shown the ledger of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.engine = Told()
        self.node = Node(
            node_id="cd" * 32,
            store=Store(view=0),
            history=History(LedgerSecrets(service.parts.secrets.all())),
            chunker=Chunker(),
            consensus=self.engine,  # type: ignore[arg-type]
            sign=lambda *_: {},
            endorse_service=lambda old: old,
            service_key=lambda: service.parts.service.key.public,
            entropy=service.entropy,
            limits=Limits(),
            interfaces={},
        )

    def apply(self, seqno: SeqNo, data: bytes | None = None) -> bool:
        raw = self.service.ledger[seqno - 1] if data is None else data
        return self.node.replica.apply(TxID(2, seqno), raw)

    def take_over(self) -> None:
        for seqno in range(self.node.store.version + 1, len(self.service.ledger) + 1):
            self.apply(seqno)

    def said(self) -> list[str]:
        """The lines it has logged since it was asked last."""
        return [output.text for output in self.node.take_outputs() if isinstance(output, Log)]

    def state(self) -> object:
        node = self.node
        return (
            node.store.version,
            {name: dict(m.data) for name, m in node.store.maps.items()},
            node.history.root(),
            node.chunker.last,
        )


@pytest.fixture
def service() -> Service:
    return Service()


def put(service: Service, table: str, key: bytes, value: bytes | None) -> SeqNo:
    tx = service.node.store.tx()
    if value is None:
        tx.map(table).delete(key)
    else:
        tx.map(table).set(key, value)
    txid = service.node.commit(tx)
    assert txid is not None
    service.pump()
    return txid.seqno


def node_row(status: str, address: str = "127.0.0.1:9", retired: bool = False) -> bytes:
    row: dict[str, object] = {
        "status": status,
        "node_to_node_interface": {"published_address": address},
    }
    if retired:
        row["retired_committed"] = True
    return dump_json(row)  # type: ignore[arg-type]


def test_takes_over_a_whole_ledger(service: Service) -> None:
    put(service, "private", b"k", b"v")
    put(service, "public:open", b"k", b"w")
    service.node.sign()
    service.pump()
    backup = Backup(service)
    backup.take_over()
    assert backup.node.history.root() == service.node.history.root()
    read = backup.node.store.tx()
    assert read.map("private").get(b"k") == b"v"
    assert read.map("public:open").get(b"k") == b"w"
    assert read.read_txid == TxID(2, len(service.ledger))
    (appended,) = [o for o in backup.node.take_outputs() if isinstance(o, Append)]
    assert [e.data for e in appended.entries] == service.ledger
    assert [e.committable for e in appended.entries] == [False, True, False, False, True]


def test_an_own_transaction_is_the_primary_s_business(service: Service) -> None:
    backup = Backup(service)
    backup.take_over()
    tx = backup.node.store.tx()
    tx.map("m").set(b"k", b"v")
    with pytest.raises(Exception, match="not the primary"):
        backup.node.commit(tx)
    assert backup.node.store.version == len(service.ledger)


@pytest.mark.parametrize("at", [0, 1, 3, 9, 25, 37, 45, 60, 90, 120, -1])
@pytest.mark.parametrize("table", ["private", "public:open"])
def test_a_changed_byte_is_refused_and_changes_nothing(
    service: Service, table: str, at: int
) -> None:
    seqno = put(service, table, b"key", b"value")
    backup = Backup(service)
    for i in range(1, seqno):
        backup.apply(i)
    before = backup.state()
    data = bytearray(service.ledger[seqno - 1])
    data[at] ^= 1
    with pytest.raises(InvalidLedger):
        backup.apply(seqno, bytes(data))
    assert backup.state() == before
    assert backup.apply(seqno) is False


@pytest.mark.parametrize("table", ["private", "public:open", tables.SIGNATURES])
def test_what_does_not_authenticate_is_refused_alike(service: Service, table: str) -> None:
    if table == tables.SIGNATURES:
        service.node.sign()
        service.pump()
        seqno = len(service.ledger)
    else:
        seqno = put(service, table, b"key", b"value")
    backup = Backup(service)
    for i in range(1, seqno):
        backup.apply(i)
    before = backup.state()
    data = bytearray(service.ledger[seqno - 1])
    data[8] ^= 1
    with pytest.raises(InvalidLedger, match=f"Entry {seqno} does not authenticate"):
        backup.apply(seqno, bytes(data))
    assert backup.node.replica.apply_plain(2, seqno, [bytes(data)], 0) == 0
    assert backup.state() == before
    backup.apply(seqno)


def test_tags_are_not_asked_where_secrets_are_not_known(service: Service) -> None:
    data = service.ledger[0]
    backup = Backup(service)
    backup.node.replica.public_only = True
    assert backup.apply(1, data[:8] + bytes(16) + data[24:]) is False


def test_an_entry_out_of_place_is_refused(service: Service) -> None:
    backup = Backup(service)
    with pytest.raises(InvalidLedger, match=r"Expected entry 2\.1, got 2\.2"):
        backup.apply(1, service.ledger[1])
    with pytest.raises(InvalidLedger, match=r"Expected entry 3\.1"):
        backup.node.replica.apply(TxID(3, 1), service.ledger[0])


def forge(service: Service, change: Callable[[dict[str, dict[bytes, bytes]]], None]) -> bytes:
    """The next signature of the service, changed before it was sealed."""
    node = service.node
    txid = TxID(2, node.store.version + 1)
    parts = service.parts
    maps = signature.build(
        txid,
        node.history.root(),
        node.history.tree.serialise(),
        parts.identity.node_id,
        parts.identity.key,
        parts.signer.certificate,
        parts.service.key,
        "",
        "",
        STARTED,
    )
    change(maps)
    public, private = wire.encode(dict(maps))
    entry = node.history.append(txid, public, private, committable=True)
    node.history.tree.retract(txid.seqno - 1)
    return entry.data


def test_an_unchanged_forgery_is_a_signature(service: Service) -> None:
    backup = Backup(service)
    backup.take_over()
    assert backup.apply(len(service.ledger) + 1, forge(service, lambda maps: None)) is True


def _field(name: str, value: object) -> Callable[[dict[str, dict[bytes, bytes]]], None]:
    def change(maps: dict[str, dict[bytes, bytes]]) -> None:
        row = tables.decode_row(tables.SIGNATURES, maps[tables.SIGNATURES][tables.UNIT])
        assert isinstance(row, dict)
        row[name] = value  # type: ignore[assignment]
        maps[tables.SIGNATURES][tables.UNIT] = dump_json(row)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_field("root", "00" * 32), "root"),
        (_field("node", PEER), "no node of this service"),
        (_field("cert", "nonsense"), "has no certificate"),
        (_field("seqno", 1), "carries the signature of"),
        (_field("sig", "AAAA"), "is not by node"),
        (lambda maps: maps.update({"public:other": {b"k": b"v"}}), "no signature transaction"),
        (lambda maps: maps.update({"private": {b"k": b"v"}}), "private map"),
        (lambda maps: maps.pop(tables.TREE), "no signature transaction"),
    ],
)
def test_a_signature_that_does_not_hold_is_refused(
    service: Service, change: Callable[[dict[str, dict[bytes, bytes]]], None], words: str
) -> None:
    backup = Backup(service)
    backup.take_over()
    before = backup.state()
    with pytest.raises(InvalidLedger, match=words):
        backup.apply(len(service.ledger) + 1, forge(service, change))
    assert backup.state() == before


def test_a_signature_of_other_entries_is_refused(service: Service) -> None:
    """A backup whose entries differ from the primary's notices at the next signature."""
    put(service, "m", b"k", b"v")
    other = Service()
    put(other, "m", b"k", b"V")
    service.node.sign()
    service.pump()
    backup = Backup(service)
    backup.apply(1)
    backup.apply(2)
    backup.apply(3, other.ledger[2])
    with pytest.raises(InvalidLedger, match="root"):
        backup.apply(4)


def test_rows_no_primary_could_have_written_are_refused(service: Service) -> None:
    backup = Backup(service)
    backup.take_over()
    before = backup.state()
    seqno = len(service.ledger) + 1
    for key, value in ((b"n", b"not json"), (b"n", b"[]"), (b"\xff", node_row("Trusted"))):
        public, private = wire.encode({tables.NODES_INFO: {key: value}})
        data = service.node.history.append(TxID(2, seqno), public, private).data
        service.node.history.tree.retract(seqno - 1)
        with pytest.raises(InvalidLedger):
            backup.apply(seqno, data)
        assert backup.state() == before


def test_roll_back_and_compaction_go_through_all_rooms(service: Service) -> None:
    put(service, "m", b"k", b"1")
    service.node.sign()
    service.pump()
    signed = len(service.ledger)
    put(service, "m", b"k", b"2")
    backup = Backup(service)
    node = backup.node
    for seqno in range(1, signed + 1):
        backup.apply(seqno)
    before = backup.state()
    node.take_outputs()
    backup.apply(signed + 1)
    node.replica.rollback(signed, 5)
    assert backup.state() == before
    assert node.store.view == 5
    # What was never handed out is not written at all.
    assert node.take_outputs() == [Truncate(signed)]
    backup.apply(signed + 1)
    assert [type(o) for o in node.take_outputs()] == [Append]
    node.replica.rollback(signed, 6)
    assert node.take_outputs() == [Truncate(signed)]
    node.replica.compact(signed)
    assert node.take_outputs() == [Committed(signed)]
    assert node.store.committed == signed
    assert node.history.tree.first == signed


def test_a_new_view_alone_cuts_nothing(service: Service) -> None:
    backup = Backup(service)
    backup.take_over()
    backup.node.take_outputs()
    backup.node.replica.rollback(len(service.ledger), 7)
    assert backup.node.store.view == 7
    assert backup.node.take_outputs() == []


@pytest.mark.parametrize(
    ("public", "private", "words"),
    [
        ({"secret": {b"k": b"v"}}, {}, "private map is in the public domain"),
        ({}, {"public:seen": {b"k": b"v"}}, "public map is in the private domain"),
        ({}, {}, "changes nothing"),
    ],
)
def test_maps_are_in_their_own_domain(
    service: Service,
    public: dict[str, dict[bytes, bytes | None]],
    private: dict[str, dict[bytes, bytes | None]],
    words: str,
) -> None:
    """What everybody must be able to read cannot be hidden, nor what is private shown."""
    backup = Backup(service)
    backup.take_over()
    before = backup.state()
    seqno = len(service.ledger) + 1
    seen, hidden = (b"".join(wire.encode(m)) if m else b"" for m in (public, private))
    data = service.node.history.append(TxID(2, seqno), seen, hidden).data
    service.node.history.tree.retract(seqno - 1)
    with pytest.raises(InvalidLedger, match=words):
        backup.apply(seqno, data)
    assert backup.state() == before


# --- membership -----------------------------------------------------------------------------------


class Note:
    """A message without entries."""

    first, last = 1, 0

    def encode(self) -> bytes:
        return b"note"

    def upto(self, seqno: SeqNo) -> Note:
        return self

    def after(self, seqno: SeqNo) -> Note:
        return self


def test_the_nodes_table_makes_the_configurations(service: Service) -> None:
    own = service.node.node_id
    added = put(service, tables.NODES_INFO, PEER.encode(), node_row("Pending", "h:1"))
    trusted = put(service, tables.NODES_INFO, PEER.encode(), node_row("Trusted", "h:1"))
    put(service, tables.NODES_INFO, PEER.encode(), node_row("Trusted", "h:1"))
    backup = Backup(service)
    backup.take_over()
    assert [c[0] for c in backup.engine.configurations] == [1, trusted]
    assert backup.engine.nodes() == {own: "127.0.0.1:1", PEER: "h:1"}
    assert added < trusted
    backup.node.send_to(PEER, Channel.CONSENSUS, Note())
    backup.node.send_to("unheard of", Channel.CONSENSUS, Note())
    assert not backup.node.send_to("unheard of", Channel.FORWARD, Note())
    sent = [o for o in backup.node.take_outputs() if isinstance(o, Send)]
    assert [(s.to, s.address) for s in sent] == [(PEER, "h:1"), ("unheard of", "")]


def test_who_may_speak(service: Service) -> None:
    """A node that is behind listens to those whom the service endorsed since."""
    node = service.node
    assert node.accepts_peer("new to us")
    for row in (node_row("Pending"), node_row("Trusted"), node_row("Retired")):
        put(service, tables.NODES_INFO, PEER.encode(), row)
        assert node.accepts_peer(PEER)
    put(service, tables.NODES_INFO, PEER.encode(), node_row("Retired", retired=True))
    assert node.accepts_peer(PEER), "a primary takes part in making it final that it left"
    node.store.compact(node.store.version)
    assert not node.accepts_peer(PEER)


def test_a_node_on_its_way_out_may_speak_until_that_is_final(service: Service) -> None:
    backup = Backup(service)
    for row in (node_row("Trusted"), node_row("Retired")):
        put(service, tables.NODES_INFO, PEER.encode(), row)
    backup.take_over()
    node = backup.node
    assert node.accepts_peer(PEER)
    flagged = put(service, tables.NODES_INFO, PEER.encode(), node_row("Retired", retired=True))
    gone = put(service, tables.NODES_INFO, PEER.encode(), None)
    backup.take_over()
    node.replica.compact(flagged)
    assert backup.engine.retired == [(flagged, [PEER])]
    assert not node.retired
    node.replica.compact(gone)
    assert not node.accepts_peer(PEER)


def test_a_node_learns_that_it_was_retired(service: Service) -> None:
    backup = Backup(service)
    own = backup.node.node_id.encode()
    put(service, tables.NODES_INFO, own, node_row("Trusted"))
    removed = put(service, tables.NODES_INFO, own, node_row("Retired"))
    flagged = put(service, tables.NODES_INFO, own, node_row("Retired", retired=True))
    backup.take_over()
    assert not backup.node.membership.leaving
    backup.node.replica.compact(removed)
    assert backup.node.membership.leaving
    assert not backup.node.retired
    assert backup.said() == [f"This node is retired: its removal committed at {removed}"]
    backup.node.replica.compact(flagged)
    assert backup.node.retired
    assert backup.said() == [f"This node was retired, and its retirement committed at {flagged}"]


def test_a_session_ends_when_what_it_was_told_is_undone_within_a_view() -> None:
    """A primary that nobody answers steps down in its own view and rolls back."""
    service = Service(install=lambda parts: [("node", common.endpoints(parts.node, lambda _: {}))])
    session = service.session()
    service.call("GET", "/node/commit", session=session)
    put(service, "m", b"k", b"v")
    service.node.replica.rollback(service.node.store.version, service.node.store.view)
    assert service.call("GET", "/node/commit", session=session).status == 200
    service.node.store.rollback(service.node.store.version - 1, service.node.store.view)
    lost = service.call("GET", "/node/commit", session=session)
    assert lost.status == 500
    assert lost.json["error"]["code"] == "SessionConsistencyLost"
    assert session.close_after


def test_a_primary_that_hands_over_orders_nothing_more_for_a_while() -> None:
    service = Service()
    node = service.node
    service.tick(10)
    put(service, tables.NODES_INFO, PEER.encode(), node_row("Trusted"))
    assert node.hand_over() == PEER
    service.pump()
    last = node.store.version
    with pytest.raises(ViewChanged):
        put(service, "m", b"k", b"v")
    assert node.store.version == last
    # A retirement is committed meanwhile: to be recorded later, by whoever is primary then.
    recorded: list[bool] = []
    node.record_retired = lambda: recorded.append(True)
    node.replica.tidy_retired()
    service.pump()
    assert recorded == []
    node.clock(node.now + HAND_OVER_MS, STARTED)
    service.pump()
    assert recorded == [True]
    put(service, "m", b"k", b"v")
