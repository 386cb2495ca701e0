"""Change feeds: each committed write once, in order, to who may know; at the pace of the reader."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pyccf.api import common
from pyccf.apps.context import Caller, Jwt
from pyccf.apps.feed import FeedSpec, Format, event, parse
from pyccf.apps.js.registry import JsApp
from pyccf.apps.python import App, AppContext, Table
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session, Source
from pyccf.node import feeds
from pyccf.node.node import Limits
from pyccf.service import tables
from pyccf.types import Json, TxID
from support.node import Person, Reply, Service

records = Table("public:records", key=int, value=str)


class Client:
    """The other end of a feed."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.data = b""
        self.room = 1 << 30
        self.over = ""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    def push(self, piece: bytes) -> bool:
        assert not self.over
        self.data += piece
        self.room -= len(piece)
        return self.room > 0

    def end(self) -> None:
        self.over = "ended"

    def fail(self) -> None:
        self.over = "failed"

    def leave(self) -> None:
        self.over = "left"
        self.source.gone()

    def read(self, room: int) -> None:
        """Take what there is, and have room for so much more."""
        self.room = room
        self.source.room()

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Ids and data; comments are left out, as are ids without data."""
        found = []
        for block in self.data.decode().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.split("\n") if line[:1] not in ":")
            if "data" in fields:
                found.append((fields["id"], json.loads(fields["data"])))
        return found


allowed_now: set[int] = set()
"""Keys that the application shows on /one/50."""


def refuse(key: int) -> bool:
    raise AssertionError(f"{key} is not what the application expected")


def make_app() -> App:
    app = App()

    @app.feed("/feed", records)
    def everything(ctx: AppContext) -> None:
        """Tell all records"""

    @app.feed("/one/{id}", records, auth=["user_cert"])
    def one(ctx: AppContext, path: dict[str, int]) -> Any:
        if path["id"] == 13:
            raise RpcError(403, "AuthorizationFailed", "Nobody may know")
        if path["id"] == 99:
            return lambda key: 1 / 0
        if path["id"] == 98:
            return refuse
        if path["id"] == 50:
            allowed = set(allowed_now)
            return lambda key: key in allowed
        return lambda key: key == path["id"]

    @app.feed("/raw", "private", format="text")
    def raw(ctx: AppContext) -> None: ...

    return app


def service(app: Any = None, limits: Limits | None = None) -> Service:
    made = Service(
        limits=limits,
        app=app or make_app(),
        install=lambda parts: [("app", common.endpoints(parts.node, lambda ctx: {}))],
    )
    made.open_app()
    return made


def write(s: Service, rows: dict[int, str | None], map: str = "public:records") -> str:
    tx = s.node.store.tx()
    handle = tx.map(map)
    for key, value in rows.items():
        if value is None:
            handle.delete(b"%d" % key)
        else:
            handle.set(b"%d" % key, json.dumps(value).encode())
    return str(s.node.commit(tx))


def listen(s: Service, target: str, caller: Person | None = None, **headers: str) -> Client | Reply:
    """A client that listens, or the reply that sends it away."""
    session = s.session(caller)
    clients: list[Client] = []

    def streamer(source: Source) -> Client:
        clients.append(Client(source))
        return clients[0]

    session.streamer = streamer
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    data = s.node.handle(session, Request("GET", f"/app{target}", names))
    return clients[0] if clients else Reply(data or b"")


def listening(s: Service, target: str, caller: Person | None = None, **headers: str) -> Client:
    client = listen(s, target, caller, **headers)
    assert isinstance(client, Client)
    return client


def pass_time(s: Service, ticks: int = 5) -> None:
    for _ in range(ticks):
        s.tick(10)


def test_writes_are_told_as_they_are_committed() -> None:
    s = service()
    write(s, {1: "before"})
    s.tick()
    client = listening(s, "/feed")
    assert (client.status, client.headers["content-type"]) == (200, "text/event-stream")
    first = write(s, {1: "a", 2: "b"})
    write(s, {1: "other"}, "public:other")
    second = write(s, {1: None})
    pass_time(s)
    assert client.events == []
    s.tick()
    pass_time(s)
    assert client.events == [
        (
            first,
            {
                "transaction_id": first,
                "writes": [{"key": 1, "value": "a"}, {"key": 2, "value": "b"}],
            },
        ),
        (second, {"transaction_id": second, "writes": [{"key": 1, "removed": True}]}),
    ]


def test_what_is_not_committed_is_not_told() -> None:
    s = service()
    client = listening(s, "/feed")
    s.disk = False
    write(s, {1: "a"})
    s.tick()
    pass_time(s)
    assert client.events == []
    s.persist()
    pass_time(s)
    assert len(client.events) == 1


def test_who_comes_back_misses_nothing() -> None:
    s = service()
    txids = [write(s, {i: "x"}) for i in range(3 * feeds.BATCH_MAX)]
    s.tick()
    for how in ({}, {"last_event_id": txids[10]}):
        target = "/feed" if how else f"/feed?since={txids[10]}"
        client = listening(s, target, **how)
        pass_time(s, 20)
        assert [txid for txid, _ in client.events] == txids[11:]
    whole = listening(s, "/feed?since=start")
    pass_time(s, 20)
    assert [txid for txid, _ in whole.events] == txids
    fresh = listening(s, "/feed")
    pass_time(s)
    assert fresh.events == []


@pytest.mark.parametrize(
    ("headers", "query", "status", "code"),
    [
        ({"last_event_id": "x"}, "", 400, "InvalidHeaderValue"),
        ({"last_event_id": "1.1"}, "", 404, "TransactionInvalid"),
        ({}, "?since=2.999", 404, "TransactionPendingOrUnknown"),
        ({}, "?since=-1", 400, "InvalidQueryParameterValue"),
    ],
)
def test_ids_from_which_one_cannot_go_on(
    headers: dict[str, str], query: str, status: int, code: str
) -> None:
    s = service()
    refused = listen(s, f"/feed{query}", **headers)
    assert isinstance(refused, Reply)
    assert (refused.status, refused.json["error"]["code"]) == (status, code)
    assert len(s.node.feeds) == 0


def test_a_slow_reader_is_waited_for() -> None:
    s = service()
    client = listening(s, "/feed")
    client.room = 10
    big = "x" * (2 * feeds.PIECE)
    txids = [write(s, {i: big}) for i in range(20)]
    s.tick()
    pass_time(s, 20)
    held = len(client.data)
    assert held <= 2 * feeds.PIECE + 200
    for _ in range(100):
        client.read(1000)
        pass_time(s, 1)
    assert [txid for txid, _ in client.events] == txids


def test_a_client_that_left_is_forgotten() -> None:
    s = service()
    client = listening(s, "/feed")
    assert len(s.node.feeds) == 1
    client.leave()
    assert len(s.node.feeds) == 0
    write(s, {1: "x"})
    s.tick()
    pass_time(s)
    assert client.events == []


def test_silence_is_broken_now_and_then_with_the_way_on() -> None:
    s = service()
    client = listening(s, "/feed")
    write(s, {1: "x"}, "public:other")
    s.tick()
    pass_time(s)
    before = len(client.data)
    s.tick(feeds.HEARTBEAT_MS)
    assert client.data[before:].decode() == f": alive\nid: 2.{s.committed}\n\n"
    resumed = listening(s, "/feed", last_event_id=f"2.{s.committed}")
    assert resumed.status == 200


def user(s: Service) -> Person:
    person = Person("user", s.entropy)
    tx = s.node.store.tx()
    tables.put_raw(tx, tables.USERS_CERTS, person.id, person.cert)
    s.node.commit(tx)
    return person


def test_policies_and_the_handler_decide_who_listens() -> None:
    s = service()
    person = user(s)
    stranger = listen(s, "/one/1")
    assert isinstance(stranger, Reply)
    assert stranger.status == 401
    refused = listen(s, "/one/13", person)
    assert isinstance(refused, Reply)
    assert (refused.status, refused.json["error"]["message"]) == (403, "Nobody may know")
    client = listening(s, "/one/1", person)
    write(s, {1: "mine", 2: "other"})
    write(s, {2: "other"})
    s.tick()
    pass_time(s)
    assert [data["writes"] for _, data in client.events] == [[{"key": 1, "value": "mine"}]]


def test_who_may_no_longer_listen_is_told_nothing_more() -> None:
    s = service()
    person = user(s)
    client = listening(s, "/one/1", person)
    s.tick(feeds.RECHECK_MS)
    assert not client.over
    tx = s.node.store.tx()
    tx.map(tables.USERS_CERTS).delete(person.id.encode())
    s.node.commit(tx)
    s.tick(feeds.RECHECK_MS)
    assert client.over == "ended"
    assert len(s.node.feeds) == 0


def test_what_a_listener_may_see_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    s = service()
    monkeypatch.setitem(globals(), "allowed_now", {1, 2})
    client = listening(s, "/one/50", user(s))
    first = write(s, {1: "x"})
    s.tick()
    pass_time(s)
    allowed_now.discard(1)
    s.tick(feeds.RECHECK_MS)
    write(s, {1: "secret"})
    last = write(s, {2: "y"})
    s.tick()
    pass_time(s)
    assert [txid for txid, _ in client.events] == [first, last]


@pytest.mark.parametrize(("ident", "why"), [(99, "ZeroDivisionError"), (98, "AssertionError")])
def test_an_application_that_fails_ends_its_own_feed(ident: int, why: str) -> None:
    s = service()
    client = listening(s, f"/one/{ident}", user(s))
    other = listening(s, "/feed")
    write(s, {1: "x"})
    s.tick()
    pass_time(s)
    assert client.over == "failed"
    assert any(why in log.text for log in s.logs)
    assert len(other.events) == 1


def test_damage_is_never_told() -> None:
    s = service()
    client = listening(s, "/feed")
    write(s, {1: "x"})
    s.tick()
    data = bytearray(s.ledger[2])
    data[-1] ^= 1
    s.ledger[2] = bytes(data)
    pass_time(s)
    assert client.over == "failed"
    assert client.events == []


def test_private_tables_are_told_to_who_may_know() -> None:
    s = service()
    client = listening(s, "/raw")
    tx = s.node.store.tx()
    tx.map("private").set(b"key", "grüße\n".encode())
    tx.map("private").set(b"\xff", b"x")
    s.node.commit(tx)
    s.tick()
    pass_time(s)
    (_, data) = client.events[0]
    assert data["writes"] == [
        {"key": "key", "value": "grüße\n"},
        {"key": {"base64": "/w=="}, "value": "x"},
    ]


def test_feeds_end_with_the_node() -> None:
    s = service()
    client = listening(s, "/feed")
    s.node.dismiss("before this node stopped")
    assert client.over == "ended"
    assert len(s.node.feeds) == 0


def test_there_are_so_many_listeners_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "FEEDS_MAX", 2)
    s = service()
    listening(s, "/feed")
    listening(s, "/feed")
    refused = listen(s, "/feed")
    assert isinstance(refused, Reply)
    assert refused.status == 503


def test_a_connection_that_cannot_stream_is_told() -> None:
    s = service()
    data = s.node.handle(s.session(), Request("GET", "/app/feed"))
    assert data is not None
    assert Reply(data).status == 501
    assert isinstance(s.session(), Session)


# --- what is told ---------------------------------------------------------------------------------


def test_values_of_any_depth_are_told() -> None:
    """Whoever may write to the table must not be able to end the feed for everybody."""
    for depth in range(900, 1000):
        value = b"[" * depth + b"]" * depth
        told = event(FeedSpec("m", Format.JSON), TxID(2, 5), {b"1": value})
        assert value in told or b"base64" in told


def test_formats() -> None:
    rows: dict[bytes, bytes | None] = {b"1": b'{"a":[1.5,null]}', b"2": b"NaN", b"3": b"1e999"}
    told = event(FeedSpec("m", Format.JSON), TxID(2, 5), rows)
    head, data, end = told.decode().split("\n", 2)
    assert (head, end) == ("id: 2.5", "\n")
    assert json.loads(data.removeprefix("data: "))["writes"] == [
        {"key": 1, "value": {"a": [1.5, None]}},
        {"key": 2, "value": {"base64": "TmFO"}},
        {"key": 3, "value": {"base64": "MWU5OTk="}},
    ]
    assert event(FeedSpec("m"), TxID(2, 5), {}) == b""
    assert event(FeedSpec("m", keys=lambda key: key == b"x"), TxID(2, 5), rows) == b""


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {},
        {"map": 1},
        {"map": "m", "format": "xml"},
        {"map": "m", "more": 1},
        {"map": "ccf.gov.secret"},
        {"map": "public:ccf.mine"},
    ],
)
def test_feeds_that_cannot_be(wrong: Json) -> None:
    with pytest.raises(ValueError, match=r"feed|table|Map name"):
        parse(wrong)


def test_a_table_that_an_application_cannot_read_is_no_feed() -> None:
    with pytest.raises(LocalError):
        App().feed("/x", "ccf.internal.secret")


# --- in JavaScript --------------------------------------------------------------------------------

APP = """
export function listen(request) {
  return request.query === "no" ? {statusCode: 403} : {body: "this needs a node with feeds"};
}
"""


def test_a_feed_of_a_javascript_application() -> None:
    s = service(JsApp())
    common_row = {
        "js_module": "/app.js",
        "js_function": "listen",
        "authn_policies": [],
        "mode": "readonly",
        "forwarding_required": "never",
        "feed": {"map": "public:records", "format": "json"},
    }
    tx = s.node.store.tx()
    tables.put_raw(tx, tables.MODULES, "/app.js", APP)
    tables.put_json(tx, tables.ENDPOINTS, "GET /feed", common_row)  # type: ignore[arg-type]
    writing = {**common_row, "mode": "readwrite"}
    tables.put_json(tx, tables.ENDPOINTS, "GET /wrong", writing)  # type: ignore[arg-type]
    s.node.commit(tx)
    refused = listen(s, "/feed?no")
    assert isinstance(refused, Reply)
    assert refused.status == 403
    client = listening(s, "/feed")
    txid = write(s, {1: "x"})
    s.tick()
    pass_time(s)
    assert [t for t, _ in client.events] == [txid]
    wrong = listen(s, "/wrong")
    assert isinstance(wrong, Reply)
    assert "A feed needs" in wrong.json["error"]["message"]


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("mode", ["readwrite", "readonly"])
def test_a_feed_whose_endpoint_became_another_one_ends(
    mode: str, leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = service()
    client = listening(s, "/feed")
    replaced = App()
    ran: list[str] = []

    @replaced.get("/feed", mode=mode, forwarding="always")
    def other(ctx: AppContext) -> None:
        ran.append(mode)
        if mode == "readwrite":
            records(ctx).set(1, "x")

    s.node.app.app = replaced
    if not leads:
        monkeypatch.setattr(s.node.consensus, "can_replicate", False)
    before = s.node.store.version
    s.tick(feeds.RECHECK_MS)
    assert client.over == "ended"
    assert mode == "readonly" or ran == []
    assert s.node.store.version <= before + 1


def test_a_feed_of_more_than_the_cache_holds_goes_on() -> None:
    s = service(limits=Limits(historical_bytes_max=100_000))
    txids = [write(s, {i: "x" * 9_000}) for i in range(20)]
    s.tick()
    clients = [listening(s, "/feed?since=start") for _ in range(3)]
    pass_time(s, 120)
    for client in clients:
        assert [txid for txid, _ in client.events] == txids


def test_one_caller_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "FEEDS_PER_CALLER_MAX", 2)
    s = service()
    greedy = user(s)
    first = listening(s, "/one/1", greedy)
    listening(s, "/one/2", greedy)
    refused = listen(s, "/one/3", greedy)
    assert isinstance(refused, Reply)
    assert (refused.status, refused.json["error"]["code"]) == (503, "SessionCapExhausted")
    listening(s, "/feed", greedy)  # on which nobody asks who calls: it counts by connections
    first.leave()
    listening(s, "/one/3", greedy)


def test_callers_without_an_identity_do_not_take_all_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "FEEDS_OF_UNNAMED_MAX", 2)
    s = service()
    first = listening(s, "/feed")
    listening(s, "/feed")
    refused = listen(s, "/feed")
    assert isinstance(refused, Reply)
    assert (refused.status, refused.json["error"]["code"]) == (503, "SessionCapExhausted")
    listening(s, "/one/1", user(s))
    first.leave()
    listening(s, "/feed")


def test_where_nobody_asks_who_calls_a_connection_has_its_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "FEEDS_PER_CALLER_MAX", 2)
    s = service()

    def stream(connection: int) -> Client | None:
        session = s.session()
        session.connection = connection
        made: list[Client] = []

        def streamer(source: Source) -> Client:
            made.append(Client(source))
            return made[0]

        session.streamer = streamer
        s.node.handle(session, Request("GET", "/app/feed", {}))
        return made[0] if made else None

    assert stream(1)
    assert stream(1)
    assert stream(1) is None
    assert stream(2)


def test_tokens_are_known_by_issuer_and_subject() -> None:
    session = Session(7, "rpc")

    def token(issuer: str, **payload: Json) -> Caller:
        return Caller("jwt", jwt=Jwt(issuer, {}, payload))

    assert feeds._who(session, token("a", sub="x")) == ("jwt", "a", "x")
    assert feeds._who(session, token("b", sub="x")) == ("jwt", "b", "x")
    assert feeds._who(session, token("a", sub=7)) == 7
    assert feeds._who(session, Caller("any_cert", cert_pem="...")) == 7
    both = Caller("all_of", all_of=(token("a"), Caller("user_cert", "u")))
    assert feeds._who(session, both) == ("user_cert", "u")


def test_those_who_came_together_are_not_asked_about_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = service()
    for _ in range(60):
        listening(s, "/feed")
    asked = 0
    ask = feeds.Listener._may_listen

    def counted(listener: feeds.Listener) -> bool:
        nonlocal asked
        asked += 1
        return ask(listener)

    monkeypatch.setattr(feeds.Listener, "_may_listen", counted)
    step = feeds.RECHECK_MS // 10
    counts = []
    for _ in range(20):
        asked = 0
        s.tick(step)
        counts.append(asked)
    assert sum(counts) == 2 * 60, "each once in this time"
    assert max(counts) <= 2 * 60 // 10
