from __future__ import annotations

import base64
import json
from hashlib import sha256

import msgspec
import pytest

from pyccf.api import common
from pyccf.apps.context import Context, HistoricalState
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.apps.router import Endpoint
from pyccf.errors import LocalError
from pyccf.http.message import Request
from pyccf.ledger.certchain import key_of
from pyccf.ledger.receipt import verify_cose_receipt, verify_json_receipt
from pyccf.node.later import WAIT_FOR_MAX
from pyccf.node.node import Limits
from pyccf.service import tables
from pyccf.types import SeqNo, TxID
from support.node import STARTED, Person, Service


class Entry(msgspec.Struct):
    id: int
    msg: str


def make_app() -> App:
    app = App(title="test")
    records = Table("records", key=int, value=str)

    @app.post("/log")
    def write(ctx: AppContext, body: Entry) -> bool:
        records(ctx).set(body.id, body.msg)
        return True

    @app.post("/claim")
    def claim(ctx: AppContext, body: Entry) -> bool:
        records(ctx).set(body.id, body.msg)
        ctx.set_claims(body.msg.encode())
        return True

    @app.post("/refuse")
    def refuse(ctx: AppContext, body: Entry) -> Reply:
        records(ctx).set(body.id, body.msg)
        return Reply(418, "no")

    @app.post("/refuse_but_apply")
    def refuse_but_apply(ctx: AppContext, body: Entry) -> Reply:
        records(ctx).set(body.id, body.msg)
        ctx.set_apply_writes(True)
        return Reply(418, "no")

    @app.get("/log/{id}")
    def read(ctx: AppContext, path: dict[str, int]) -> Reply:
        found = records(ctx).get(path["id"])
        return Reply(404) if found is None else Reply(200, found)

    @app.get("/old", mode="historical")
    def old(ctx: AppContext) -> Reply:
        state = ctx.historical
        rows = dict(records.of(state.tx()).items())
        return Reply(200, json.dumps({"txid": str(state.txid), "rows": rows}))

    @app.get("/proofs/{seqno}")
    def proofs(ctx: AppContext, path: dict[str, int]) -> dict[str, bool | None]:
        state = ctx.historical_state(TxID(2, SeqNo(path["seqno"])))
        return {
            "receipt": bool(state.receipt["proof"]),
            "cose": state.cose_receipt is not None,
            "proof": state.proof is not None,
            "endorsed": state.cose_endorsements is not None,
        }

    @app.get("/written")
    def written(ctx: AppContext, query: dict[str, str]) -> Reply:
        seqnos = [int(s) for s in query["seqnos"].split(",")]
        wait = "wait" in query
        states = ctx.historical_states(seqnos, handle=5, wait=wait)
        if states is None:
            return Reply(202)
        rows = [dict(records.of(state).items()) for state in states]
        return Reply(200, json.dumps(rows))

    @app.post("/txid")
    def tell(ctx: AppContext, body: Entry) -> None:
        records(ctx).set(body.id, body.msg)
        ctx.when_ordered(lambda txid: str(txid))

    @app.get("/user", auth=["user_cert"])
    def user(ctx: AppContext) -> str:
        assert ctx.caller is not None
        return str(ctx.caller.id)

    @app.get("/broken")
    def broken(ctx: AppContext) -> str:
        raise KeyError("secret detail")

    @app.get("/writes_anyway")
    def writes_anyway(ctx: AppContext) -> None:
        records(ctx).set(1, "x")

    @app.post("/large")
    def large(ctx: AppContext, query: dict[str, int]) -> None:
        ctx.kv("large").set(b"k", bytes(query["bytes"]))

    @app.post("/governed")
    def governed(ctx: AppContext) -> None:
        ctx.kv(tables.USERS_CERTS).set(b"x", b"y")

    return app


def service(**options: object) -> Service:
    made = Service(
        app=make_app(),
        install=lambda parts: [
            ("app", common.endpoints(parts.node, lambda ctx: {})),
            ("node", common.endpoints(parts.node, lambda ctx: {})),
        ],
        **options,  # type: ignore[arg-type]
    )
    made.open_app()
    return made


def test_a_new_service_is_signed_and_committed() -> None:
    s = service()
    assert s.committed == 2
    assert s.node.gov.open
    assert s.certificates.keys() == {"Node", "Service"}
    assert s.call("GET", "/node/commit").json == {"transaction_id": "2.2"}


def test_a_write_is_ordered_then_committed_by_a_signature() -> None:
    s = service()
    reply = s.call("POST", "/app/log", {"id": 1, "msg": "hello"})
    assert (reply.status, reply.json, reply.txid) == (200, True, "2.3")
    status = s.call("GET", "/node/tx?transaction_id=2.3").json
    assert status == {"status": "Pending", "transaction_id": "2.3"}
    s.tick()
    status = s.call("GET", "/node/tx?transaction_id=2.3").json
    assert status == {"status": "Committed", "transaction_id": "2.3"}
    assert s.call("GET", "/app/log/1").body == b"hello"


def test_nothing_is_committed_before_it_is_persisted() -> None:
    s = service()
    s.disk = False
    txid = s.call("POST", "/app/log", {"id": 1, "msg": "hello"}).txid
    s.tick()
    assert s.call("GET", f"/node/tx?transaction_id={txid}").json["status"] == "Pending"
    s.persist()
    assert s.call("GET", f"/node/tx?transaction_id={txid}").json["status"] == "Committed"


@pytest.mark.parametrize(
    ("txid", "status"),
    [("1.3", "Invalid"), ("3.3", "Invalid"), ("2.99", "Unknown"), ("3.99", "Unknown")],
)
def test_status_of_other_transaction_ids(txid: str, status: str) -> None:
    s = service()
    s.call("POST", "/app/log", {"id": 1, "msg": "hello"})
    s.tick()
    assert s.call("GET", f"/app/tx?transaction_id={txid}").json["status"] == status


def test_many_writes_force_a_signature() -> None:
    s = service(limits=Limits(signature_tx_count=5))
    for i in range(12):
        s.call("POST", "/app/log", {"id": i, "msg": "x"})
    assert s.committed >= 12


def test_writes_of_a_refused_request_are_not_applied() -> None:
    s = service()
    reply = s.call("POST", "/app/refuse", {"id": 1, "msg": "x"})
    assert reply.status == 418
    assert "x-ms-ccf-transaction-id" not in reply.headers
    assert s.call("GET", "/app/log/1").status == 404
    reply = s.call("POST", "/app/refuse_but_apply", {"id": 1, "msg": "x"})
    assert (reply.status, reply.txid) == (418, "2.3")
    assert s.call("GET", "/app/log/1").status == 200


def test_a_transaction_that_no_node_could_be_sent_is_refused() -> None:
    s = service()
    size = 64 * 1024 * 1024
    reply = s.call("POST", f"/app/large?bytes={size}")
    assert (reply.status, reply.json["error"]["code"]) == (500, "InternalError")
    assert reply.json["error"]["message"].startswith(f"The transaction writes {size + 62} bytes; ")
    assert "x-ms-ccf-transaction-id" not in reply.headers
    reply = s.call("POST", "/app/log", {"id": 1, "msg": "x"})
    assert (reply.status, reply.txid) == (200, "2.3")


def test_a_receipt_proves_the_claims() -> None:
    s = service()
    txid = s.call("POST", "/app/claim", {"id": 1, "msg": "hello"}).txid
    early = s.call("GET", f"/app/receipt?transaction_id={txid}")
    assert early.status == 404
    assert early.json["error"]["code"] == "TransactionPendingOrUnknown"
    assert early.headers["cache-control"] == "no-cache"
    s.tick()
    receipt = s.call("GET", f"/app/receipt?transaction_id={txid}").json
    proven = verify_json_receipt(
        receipt, s.parts.service.cert_pem, claims=sha256(b"hello").digest()
    )
    assert str(proven.txid) == txid
    signature = s.call("GET", "/app/receipt?transaction_id=2.4").json
    assert signature["proof"] == []
    verify_json_receipt(signature, s.parts.service.cert_pem)


def test_a_receipt_in_cose_proves_the_claims() -> None:
    s = service()
    txid = s.call("POST", "/app/claim", {"id": 1, "msg": "hello"}).txid
    path = f"/app/receipt/cose?transaction_id={txid}"
    assert s.call("GET", path).json["error"]["code"] == "TransactionPendingOrUnknown"
    s.tick()
    reply = s.call("GET", path)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/cose")
    key = key_of(s.parts.service.cert_pem)
    proven = verify_cose_receipt(reply.body, key, claims=sha256(b"hello").digest())
    assert str(proven.txid) == txid


def test_a_signature_has_no_receipt_in_cose() -> None:
    s = service()
    s.call("POST", "/app/claim", {"id": 1, "msg": "hello"})
    s.tick()
    reply = s.call("GET", "/app/receipt/cose?transaction_id=2.4")
    assert (reply.status, reply.json["error"]["code"]) == (404, "ResourceNotFound")
    reply = s.call("GET", "/app/receipt/cose")
    assert (reply.status, reply.json["error"]["code"]) == (404, "TransactionInvalid")


def test_damaged_history_is_never_served() -> None:
    s = service()
    txid = s.call("POST", "/app/log", {"id": 1, "msg": "hello"}).txid
    s.tick()
    data = bytearray(s.ledger[2])
    data[-1] ^= 1
    s.ledger[2] = bytes(data)
    reply = s.call("GET", f"/app/receipt?transaction_id={txid}")
    assert reply.status == 500
    assert "damaged" in reply.json["error"]["message"]
    assert any("is not what the signature" in log.text for log in s.logs)


def test_waiting_for_commit() -> None:
    s = service()
    request = Request("POST", "/app/log", {"x-pyccf-wait": "commit"}, b'{"id":1,"msg":"x"}')
    replies = s.send(request)
    assert replies == []
    s.tick()
    assert [(r.status, r.txid) for r in replies] == [(200, "2.3")]


def test_waiting_for_a_receipt() -> None:
    s = service()
    request = Request("POST", "/app/claim", {"x-pyccf-wait": "receipt"}, b'{"id":1,"msg":"x"}')
    replies = s.send(request)
    s.tick()
    (reply,) = replies
    receipt = json.loads(base64.b64decode(reply.headers["x-pyccf-receipt"]))
    proven = verify_json_receipt(receipt, s.parts.service.cert_pem)
    assert proven.claims == sha256(b"x").digest()


def test_who_waits_for_a_receipt_that_does_not_come_is_told_of_the_commit() -> None:
    s = service()
    s.reads = False
    headers = {"x-pyccf-wait": "receipt", "x-pyccf-wait-timeout-ms": "5000"}
    replies = s.send(Request("POST", "/app/claim", headers, b'{"id":1,"msg":"x"}'))
    s.tick(2000)
    assert replies == []
    s.tick(4000)
    (reply,) = replies
    assert (reply.status, reply.json["error"]["code"]) == (504, "CommitTimeout")
    assert "is committed, but its receipt" in reply.json["error"]["message"]


def test_who_waits_on_a_node_that_ends_is_told() -> None:
    s = service()
    s.disk = False
    replies = s.send(Request("POST", "/app/log", {"x-pyccf-wait": "commit"}, b'{"id":1,"msg":"x"}'))
    s.node.dismiss("before this node stopped")
    s.pump()
    (reply,) = replies
    assert (reply.status, reply.json["error"]["code"]) == (504, "CommitTimeout")
    assert "before this node stopped" in reply.json["error"]["message"]


def test_waiting_too_long_loses_nothing() -> None:
    s = service()
    s.disk = False
    headers = {"x-pyccf-wait": "commit", "x-pyccf-wait-timeout-ms": "50"}
    replies = s.send(Request("POST", "/app/log", headers, b'{"id":1,"msg":"x"}'))
    s.tick(49)
    assert replies == []
    s.tick(2)
    (reply,) = replies
    assert (reply.status, reply.json["error"]["code"]) == (504, "CommitTimeout")
    s.tick()
    s.persist()
    assert len(replies) == 1
    assert s.call("GET", f"/node/tx?transaction_id={reply.txid}").json["status"] == "Committed"


def test_a_refusal_is_not_waited_for() -> None:
    s = service()
    request = Request("POST", "/app/refuse", {"x-pyccf-wait": "commit"}, b'{"id":1,"msg":"x"}')
    assert [r.status for r in s.send(request)] == [418]


def test_historical_endpoints_see_the_past() -> None:
    s = service()
    txid = s.call("POST", "/app/log", {"id": 7, "msg": "then"}).txid
    s.call("POST", "/app/log", {"id": 7, "msg": "now"})
    s.tick()
    reply = s.call("GET", "/app/old", headers={"x-ms-ccf-transaction-id": txid})
    assert reply.json == {"txid": txid, "rows": {"7": "then"}}
    assert s.call("GET", "/app/old").json["error"]["code"] == "TransactionInvalid"


def test_a_handler_asks_for_transactions_of_the_past() -> None:
    s = service()
    for i in range(5):
        s.call("POST", "/app/log", {"id": i, "msg": f"{i}"})
    s.tick()
    assert s.call("GET", "/app/proofs/4").json == {
        "receipt": True,
        "cose": True,
        "proof": True,
        "endorsed": False,
    }
    signature = s.call("GET", "/app/proofs/2").json
    assert not any(signature.values())
    refused = s.call("GET", "/app/proofs/99")
    assert (refused.status, refused.headers["cache-control"]) == (404, "no-cache")
    # Without waiting: not yet, then there.
    assert s.call("GET", "/app/written?seqnos=3,5,7").status == 202
    assert s.call("GET", "/app/written?seqnos=3,5,7").json == [{"0": "0"}, {"2": "2"}, {"4": "4"}]
    assert s.call("GET", "/app/written?wait&seqnos=6,4").json == [{"1": "1"}, {"3": "3"}]
    # What is not committed is never waited for.
    assert s.call("GET", "/app/written?wait&seqnos=1000").status == 202


def test_who_asks_for_very_much_is_told_to_come_back() -> None:
    s = service()
    tx = s.node.store.tx()
    for i in range(WAIT_FOR_MAX + 1):
        tx = s.node.store.tx()
        tx.map("t").set(b"k", b"%d" % i)
        s.node.commit(tx)
    s.tick()
    seqnos = ",".join(str(n) for n in range(1, WAIT_FOR_MAX + 2))
    reply = s.call("GET", f"/app/written?wait&seqnos={seqnos}")
    assert (reply.status, reply.headers["retry-after"]) == (202, "3")
    assert reply.body == b"Historical query of transactions 1 to 2001 is not currently available."
    for _ in range(5):
        s.tick(10)
    assert s.call("GET", f"/app/written?wait&seqnos={seqnos}").status == 200


def test_a_mistake_after_history_was_fetched_ends_its_connection_only() -> None:
    s = service()
    s.call("POST", "/app/log", {"id": 1, "msg": "x"})
    s.tick()
    found: list[HistoricalState] = []

    def mistaken(ctx: Context) -> None:
        found.append(s.node.historical_state(ctx, TxID(2, SeqNo(3))))
        raise AssertionError("this cannot be")

    s.node.node.add(Endpoint(verb="GET", path="/mistaken", execute=mistaken))
    session = s.session()
    reply = s.call("GET", "/node/mistaken", session=session)
    assert (reply.status, reply.json["error"]["message"]) == (500, "Internal error.")
    assert session.close_after
    assert len(found) == 1
    assert s.call("GET", "/node/commit").status == 200


def test_an_answer_may_name_its_own_transaction() -> None:
    s = service()
    reply = s.call("POST", "/app/txid", {"id": 7, "msg": "x"})
    assert reply.status == 200
    assert reply.json == reply.txid == "2.3"


def test_unknown_paths_and_verbs() -> None:
    s = service()
    reply = s.call("GET", "/app/nothing")
    assert (reply.status, reply.json["error"]["message"]) == (404, "Unknown path: /nothing.")
    reply = s.call("DELETE", "/app/log")
    assert (reply.status, reply.headers["allow"]) == (405, "OPTIONS, POST")
    reply = s.call("OPTIONS", "/app/log")
    assert (reply.status, reply.body) == (204, b"")
    assert s.call("GET", "/commit").status == 200
    assert s.call("HEAD", "/app/log").body == b""


def test_a_closed_frontend_says_so() -> None:
    s = service()
    s.node.app.open = False
    assert s.call("GET", "/app/commit").json["error"]["code"] == "FrontendNotOpen"


def test_bad_bodies_are_named() -> None:
    s = service()
    for body in (b"{", b"[]", b'{"id":"x","msg":"y"}', b"", b"\xff"):
        reply = s.call("POST", "/app/log", body)
        assert (reply.status, reply.json["error"]["code"]) == (400, "InvalidInput"), body
    assert s.node.store.version == 2


def test_an_apps_own_failure_keeps_its_details_to_itself() -> None:
    s = service()
    reply = s.call("GET", "/app/broken")
    assert (reply.status, reply.json["error"]["code"]) == (500, "InternalError")
    assert b"secret" not in reply.body
    assert any("KeyError" in log.text for log in s.logs)


def test_an_app_cannot_write_governance() -> None:
    s = service()
    reply = s.call("POST", "/app/governed")
    assert reply.status == 500
    assert "governance only" in reply.json["error"]["message"]


def test_users_are_known_by_certificate() -> None:
    s = service()
    alice = Person("alice", s.entropy)
    refused = s.call("GET", "/app/user", caller=alice)
    assert refused.status == 401
    assert refused.json["error"]["details"][0] == {
        "auth_policy": "user_cert",
        "code": "InvalidAuthenticationInfo",
        "message": "Could not find matching user certificate",
    }
    assert s.call("GET", "/app/user").json["error"]["details"][0]["message"] == (
        "No caller user certificate"
    )
    tx = s.node.store.tx()
    tx.map(tables.USERS_CERTS).set(alice.id.encode(), alice.cert.encode())
    s.node.commit(tx)
    session = s.session(alice)
    assert s.call("GET", "/app/user", session=session).json == alice.id
    tx = s.node.store.tx()
    tx.map(tables.USERS_CERTS).delete(alice.id.encode())
    s.node.commit(tx)
    assert s.call("GET", "/app/user", session=session).status == 401


def test_an_expired_certificate_is_not_a_user() -> None:
    s = service()
    alice = Person("alice", s.entropy, days=1)
    s.node.clock(0, STARTED + 10 * 86400)
    details = s.call("GET", "/app/user", caller=alice).json["error"]["details"]
    assert "is after certificate's Not After validity period" in details[0]["message"]


def test_back_pressure() -> None:
    s = service(limits=Limits(uncommitted_max=3))
    s.disk = False
    for i in range(3):
        assert s.call("POST", "/app/log", {"id": i, "msg": "x"}).status == 200
    reply = s.call("POST", "/app/log", {"id": 9, "msg": "x"})
    assert (reply.status, reply.json["error"]["code"]) == (503, "TooManyPendingTransactions")
    assert s.call("GET", "/node/commit").status == 200


def test_a_session_ends_with_its_view() -> None:
    s = service()
    session = s.session()
    assert s.call("GET", "/node/commit", session=session).status == 200
    session.view = 1
    reply = s.call("POST", "/app/log", {"id": 1, "msg": "x"}, session=session)
    assert (reply.status, reply.json["error"]["code"]) == (500, "SessionConsistencyLost")
    assert session.close_after
    assert s.node.store.version == 2


def test_read_only_endpoints_cannot_write() -> None:
    s = service()
    reply = s.call("GET", "/app/writes_anyway")
    assert reply.status == 500
    assert "read-only here" in reply.json["error"]["message"]
    assert s.node.store.version == 2


def test_historical_ranges_are_bounded() -> None:
    s = service()
    assert s.node.historical_range(1, 1, 2, 60) is None
    s.pump()
    states = s.node.historical_range(1, 1, 2, 60)
    assert states is not None
    assert [str(state.txid) for state in states] == ["2.1", "2.2"]
    with pytest.raises(LocalError, match="at most"):
        s.node.historical_range(1, 1, 100_000, 60)
    with pytest.raises(LocalError, match=f"not {2**63}"):
        s.node.historical_range(1, 0, 2**63 - 1, 60)


def test_view_history() -> None:
    s = service()
    reply = s.call("GET", "/node/commit?view_history=true")
    assert reply.json == {"transaction_id": "2.2", "view_history": ["1.1", "2.1"]}
    assert s.call("GET", "/node/commit?view_history=maybe").status == 400
    assert s.call("GET", "/node/commit?view_history_since=0").status == 400
    assert s.call("GET", "/node/commit?view_history_since=3").status == 404
    assert "view_history" in s.call("GET", f"/node/commit?view_history_since={'2':0>30}").json
    for unparsable in ("abc", str(1 << 64), "9" * 5000):
        reply = s.call("GET", f"/node/commit?view_history_since={unparsable}")
        assert reply.status == 200
        assert reply.json.keys() == {"transaction_id"}
