"""Indexes of a node: they follow what is committed, in order, and never hold it up."""

from __future__ import annotations

import json

import msgspec
import pytest

from pyccf.api import common
from pyccf.api import node as node_api
from pyccf.apps.handlers import TookTooLong
from pyccf.apps.index import SeqnosByKey, SeqnosByKeyBucketed, VisitEachEntryInMap
from pyccf.apps.index.buckets import BUCKETS_MAX
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.errors import LocalError, StorageError
from pyccf.node.index.driver import AGAIN_MS, BATCH_MAX, INDEXES_MAX
from pyccf.node.node import Limits
from pyccf.service import tables
from pyccf.types import Json, TxID
from support.node import Service
from support.told import Network

records = Table("public:records", key=int, value=str)


class Entry(msgspec.Struct):
    id: int
    msg: str


class Speechless(Exception):
    """An error that cannot be put into words."""

    def __str__(self) -> str:
        raise ValueError


class Last(VisitEachEntryInMap):
    """The last committed value of each key."""

    prefix = "Last"

    def __init__(self) -> None:
        super().__init__("public:records")
        self.values: dict[bytes, bytes] = {}

    def visit(self, txid: TxID, key: bytes, value: bytes) -> None:
        if value == b'"bad"':
            raise RuntimeError("cannot take this")
        if value == b'"endless"':
            raise TookTooLong("longer than it may")
        if value == b'"exit"':
            raise SystemExit(3)
        if value == b'"speechless"':
            raise Speechless
        self.values[key] = value


def make_app() -> App:
    app = App()
    by_id = app.index(records)
    last = app.own_index("Last public:records", Last)

    @app.post("/log")
    def record(ctx: AppContext, body: Entry) -> None:
        records(ctx).set(body.id, body.msg)

    @app.get("/writes/{id}")
    def writes(ctx: AppContext, path: dict[str, int]) -> Reply:
        found = by_id(ctx).writes(path["id"], 1, ctx.services.last_committed().seqno)
        return Reply(202) if found is None else Reply(200, json.dumps(found))

    @app.get("/last/{id}")
    def committed(ctx: AppContext, path: dict[str, str]) -> Reply:
        return Reply(200, last(ctx).values.get(path["id"].encode(), b"nothing"))

    return app


def service(app: App | None = None) -> Service:
    app = app or make_app()

    made = Service(app=app, install=lambda parts: [("node", common.endpoints(parts.node, dict))])
    for make in app.indexes:
        made.node.indexes.install(make())
    made.open_app()
    return made


def write(s: Service, key: int, msg: str) -> int:
    reply = s.call("POST", "/app/log", {"id": key, "msg": msg})
    return int(reply.txid.split(".")[1])


def index(s: Service, ticks: int = 4) -> None:
    for _ in range(ticks):
        s.tick(10)


def test_an_index_follows_what_is_committed() -> None:
    s = service()
    seqnos = [write(s, 7, f"{i}") for i in range(3)]
    other = write(s, 8, "x")
    assert s.call("GET", "/app/writes/7").status == 202
    s.tick()
    index(s)
    assert s.call("GET", "/app/writes/7").json == seqnos
    assert s.call("GET", "/app/writes/8").json == [other]
    assert s.call("GET", "/app/writes/9").json == []
    assert s.call("GET", "/app/last/7").body == b'"2"'


def test_what_is_not_committed_is_not_indexed() -> None:
    s = service()
    write(s, 7, "committed")
    s.tick()
    index(s)
    s.disk = False
    write(s, 7, "not yet")
    s.tick()
    index(s)
    assert s.call("GET", "/app/last/7").body == b'"committed"'
    s.persist()
    index(s)
    assert s.call("GET", "/app/last/7").body == b'"not yet"'


def test_many_transactions_are_taken_in_batches() -> None:
    s = service()
    for i in range(2 * BATCH_MAX):
        write(s, i % 3, "x")
    s.tick(1000)
    index(s, 1)
    (described, _) = [d for d in s.node.indexes.describe() if isinstance(d, dict)]
    following = described["next_requested_seqno"]
    assert isinstance(following, int)
    assert following <= BATCH_MAX + 1
    index(s, 5)
    assert len(s.call("GET", "/app/writes/0").json) == 2 * BATCH_MAX // 3
    # One that comes later does not make the others see anything twice.
    late = SeqnosByKey("public:records ")
    assert s.node.indexes.install(late)
    index(s, 8)
    assert late.watermark.seqno == s.committed
    assert len(s.call("GET", "/app/writes/0").json) == 2 * BATCH_MAX // 3


def test_the_strategies_are_shown() -> None:
    s = service()
    write(s, 1, "x")
    s.tick()
    index(s)
    assert s.node.indexes.describe() == [
        {
            "name": name,
            "next_requested_seqno": s.committed + 1,
            "target_map": "public:records",
            "indexed_watermark": f"2.{s.committed}",
        }
        for name in ("Last public:records", "SeqnosByKey public:records")
    ]
    assert node_api.IndexFacts


def test_an_index_that_fails_is_set_aside_and_the_others_go_on() -> None:
    s = service()
    write(s, 1, "good")
    bad = write(s, 1, "bad")
    write(s, 1, "after")
    s.tick()
    index(s)
    assert len(s.call("GET", "/app/writes/1").json) == 3
    (described, _) = [d for d in s.node.indexes.describe() if isinstance(d, dict)]
    assert described["failed"] == "RuntimeError"
    assert described["next_requested_seqno"] == bad
    (told,) = [log.text for log in s.logs if log.tag == "index"]
    words = "Index Last public:records is set aside: RuntimeError: cannot take this ("
    assert told.startswith(words + __file__)


@pytest.mark.parametrize(
    ("what", "kind"),
    [("endless", "TookTooLong"), ("exit", "SystemExit"), ("speechless", "Speechless")],
)
def test_an_index_that_ends_badly_is_set_aside(what: str, kind: str) -> None:
    s = service()
    write(s, 1, what)
    s.tick()
    index(s)
    (described, _) = [d for d in s.node.indexes.describe() if isinstance(d, dict)]
    assert described["failed"] == kind
    assert len(s.call("GET", "/app/writes/1").json) == 1


def test_a_damaged_ledger_holds_up_indexes_but_not_the_node() -> None:
    s = service()
    seqno = write(s, 1, "x")
    s.tick()
    data = bytearray(s.ledger[seqno - 1])
    data[-1] ^= 1
    s.ledger[seqno - 1], kept = bytes(data), s.ledger[seqno - 1]
    index(s, 10)
    assert any("Indexing waits" in log.text for log in s.logs)
    write(s, 1, "y")
    s.ledger[seqno - 1] = kept
    s.tick(AGAIN_MS + 1000)
    index(s)
    assert s.call("GET", "/app/writes/1").status == 200


def test_a_ledger_that_is_not_there_is_asked_for_now_and_then() -> None:
    s = service()
    write(s, 1, "x")
    asked: list[tuple[int, int]] = []
    deliver = s.node.historical.fetched

    def fetched(first: int, last: int, entries: list[bytes], damage: None = None) -> None:
        asked.append((first, last))
        deliver(first, last, [] if first < 3 else entries, damage)

    s.node.historical.fetched = fetched  # type: ignore[method-assign]
    s.tick()
    index(s, 50)
    assert len(asked) <= 3
    assert [log.text for log in s.logs if log.tag == "index"] == [
        "Indexing waits at transaction 1: Entry 1 is not in the ledger directories of this node."
    ]
    s.node.historical.fetched = deliver  # type: ignore[method-assign]
    s.tick(AGAIN_MS + 1000)
    index(s)
    assert s.call("GET", "/app/writes/1").status == 200


def test_buckets_go_through_the_disk_sealed() -> None:
    s = service()
    spilled = SeqnosByKeyBucketed("public:other", per_bucket=4)
    s.node.indexes.install(spilled)
    for _ in range(12):
        tx = s.node.store.tx()
        tx.map("public:other").set(b"key", b"v")
        s.node.commit(tx)
    s.tick()
    index(s)
    assert s.spilled
    assert not any(b"key" in data for data in s.spilled.values())
    assert spilled.get_write_txs_in_range(b"key", 1, 14) is None
    s.pump()
    assert spilled.get_write_txs_in_range(b"key", 1, 14) == list(range(3, 15))
    name = next(iter(s.spilled))
    s.spilled[name] = bytes(len(s.spilled[name]))
    spilled._read.clear()
    assert spilled.get_write_txs_in_range(b"key", 1, 14) is None
    s.pump()
    assert spilled.watermark.seqno == 0
    assert BUCKETS_MAX > 1


def test_indexes_come_and_go_while_the_node_runs() -> None:
    s = service(App())
    assert s.node.indexes.install(SeqnosByKey("m"))
    assert not s.node.indexes.install(SeqnosByKey("m"))
    assert s.node.indexes.uninstall("SeqnosByKey m")
    assert not s.node.indexes.uninstall("SeqnosByKey m")
    for i in range(INDEXES_MAX):
        s.node.indexes.install(SeqnosByKey(f"m{i}"))
    with pytest.raises(LocalError, match="at most"):
        s.node.indexes.install(SeqnosByKey("one more"))


def declare(s: Service, **endpoints: Json) -> None:
    tx = s.node.store.tx()
    for name, indexes in endpoints.items():
        tables.put_json(tx, tables.ENDPOINTS, f"GET /{name}", {"indexes": indexes})
    s.node.commit(tx)
    s.tick()


def test_indexes_named_by_a_javascript_application() -> None:
    s = service(App())
    declare(
        s,
        a={"by_id": {"map": "records"}, "x": {"map": "public:p", "kind": "seqnos_for_value"}},
        b={"mine": {"map": "records", "kind": "seqnos_by_key"}},
        broken={"y": {"map": "z", "kind": "?"}},
    )
    index(s)
    names = [d["name"] for d in s.node.indexes.describe() if isinstance(d, dict)]
    assert names == ["SeqnosByKey records", "SeqnosForValue public:p"]
    declare(s, a=None)
    index(s)
    names = [d["name"] for d in s.node.indexes.describe() if isinstance(d, dict)]
    assert names == ["SeqnosByKey records"]


# --- on a backup ----------------------------------------------------------------------------------


def test_a_backup_indexes_and_tells_what_it_followed() -> None:
    network = Network(backups=1)
    backup = network.backups[0]
    index = SeqnosByKey("public:records")
    backup.node.indexes.install(index)
    for i in range(5):
        tx = network.primary.node.store.tx()
        tx.map("public:records").set(b"%d" % (i % 2), b"x")
        network.primary.node.commit(tx)
    network.replicate(commit=False)
    for _ in range(4):
        network.tick(10)
    assert index.watermark.seqno < network.primary.node.store.version - 4
    network.sign()
    for _ in range(4):
        network.tick(10)
    assert index.watermark.seqno == network.primary.node.store.version
    assert len(index.get_all_write_txs(b"0")) == 3


def test_an_application_that_names_too_many_indexes_does_not_stop_the_node() -> None:
    s = service(App())
    many: dict[str, Json] = {
        f"e{i:02}": {f"x{j}": {"map": f"m{i}.{j}"} for j in range(30)} for i in range(3)
    }
    declare(s, **many)
    index(s)
    assert len(s.node.indexes.describe()) == INDEXES_MAX
    assert len([log for log in s.logs if log.tag == "index" and "at most" in log.text]) == 1
    declare(s, e00={}, e01={}, e02={"y": {"map": "last"}})
    index(s)
    names = [d["name"] for d in s.node.indexes.describe() if isinstance(d, dict)]
    assert names == ["SeqnosByKey last"]


def test_entries_too_large_for_the_cache_are_indexed_in_smaller_batches() -> None:
    s = Service(app=App(), limits=Limits(historical_bytes_max=200_000), install=lambda parts: [])
    s.open_app()
    by_key = SeqnosByKey("public:records")
    s.node.indexes.install(by_key)
    for _ in range(20):
        tx = s.node.store.tx()
        tx.map("public:records").set(b"key", bytes(10_000))
        s.node.commit(tx)
    tx = s.node.store.tx()
    tx.map("public:records").set(b"key", bytes(100_000))
    s.node.commit(tx)
    s.tick()
    index(s, 100)
    assert by_key.watermark.seqno == s.committed
    assert len(by_key.get_all_write_txs(b"key")) == 21


def test_a_file_that_cannot_be_read_holds_up_indexes_but_not_the_node() -> None:
    s = service()
    write(s, 1, "x")
    deliver = s.node.historical.fetched

    def fetched(first: int, last: int, entries: list[bytes], damage: None = None) -> None:
        deliver(first, last, [], StorageError("Ledger file /secret/ledger_1: read failed: EIO."))

    s.node.historical.fetched = fetched  # type: ignore[method-assign]
    s.tick()
    index(s, 20)
    receipt = s.call("GET", "/node/receipt?transaction_id=2.1")
    assert receipt.status == 500
    assert b"/secret" not in receipt.body
    assert any("/secret/ledger_1: read failed" in log.text for log in s.logs)
    s.node.historical.fetched = deliver  # type: ignore[method-assign]
    s.tick(AGAIN_MS + 1000)
    index(s)
    assert s.call("GET", "/app/writes/1").status == 200
