"""Requests that any node takes and only the primary executes."""

from __future__ import annotations

import gc
import json
from typing import Any

import msgspec
import pytest

from pyccf.api import common
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.apps.router import Endpoint
from pyccf.errors import RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.node import forward, waiting
from pyccf.node.forward import Answered, Carried
from pyccf.node.frontend import InterfaceRules
from pyccf.node.node import Limits, Node
from pyccf.node.outputs import Append, Channel, Send
from pyccf.service import tables
from pyccf.shell import frames
from support.node import INTERFACE, Person, Service
from support.node import Reply as Got
from support.told import Network, ToldEngine

STRANGER = "ee" * 32


def make_app() -> App:
    app = App(title="test")
    records = Table("records", key=int, value=str)

    @app.put("/log/{id}")
    def write(ctx: AppContext, path: dict[str, int], body: bytes) -> Reply:
        records(ctx).set(path["id"], body.decode())
        return Reply(201, "written", headers={"x-mine": "1"})

    @app.get("/log/{id}")
    def read(ctx: AppContext, path: dict[str, int]) -> Reply:
        found = records(ctx).get(path["id"])
        return Reply(404) if found is None else Reply(200, found)

    @app.put("/local/{id}", forwarding="never")
    def local(ctx: AppContext, path: dict[str, int], body: bytes) -> Reply:
        records(ctx).set(path["id"], body.decode())
        return Reply(201)

    @app.get("/me", forwarding="always", auth=["user_cert"])
    def me(ctx: AppContext) -> str:
        assert ctx.caller is not None
        return str(ctx.caller.id)

    @app.get("/echo", forwarding="always")
    def echo(ctx: AppContext) -> Reply:
        told = {"headers": ctx.request.headers, "query": ctx.request.query}
        return Reply(200, json.dumps(told))

    @app.get("/old", mode="historical", forwarding="always")
    def old(ctx: AppContext) -> Reply:
        return Reply(200, str(ctx.historical.txid))

    @app.post("/refuse")
    def refuse(ctx: AppContext) -> Reply:
        raise RpcError(418, "Teapot", "no")

    @app.post("/large")
    def large(ctx: AppContext) -> Reply:
        records(ctx).set(1, "large")
        return Reply(200, "x" * 2000)

    return app


def install(node: Node) -> list[tuple[str, list[Endpoint]]]:
    endpoints = common.endpoints(node, lambda ctx: {})
    return [("app", endpoints), ("node", endpoints)]


@pytest.fixture
def network() -> Network:
    return Network(app=make_app(), install=install)


def ask(
    network: Network,
    at: Service,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    session: Session | None = None,
    **headers: str,
) -> list[Got]:
    """Replies to a request, as far as they were given."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    replies = at.send(Request(method, target, named, body), session)
    network.settle()
    return replies


def answer(
    network: Network, at: Service, method: str, target: str, body: bytes = b"", **more: Any
) -> Got:
    (reply,) = ask(network, at, method, target, body, **more)
    return reply


def code(reply: Got) -> str:
    return str(reply.json["error"]["code"])


def complaints(member: Service) -> list[str]:
    return [log.text for log in member.logs if log.level == "fail"]


def state(member: Service) -> object:
    node = member.node
    return node.store.version, {n: dict(m.data) for n, m in node.store.maps.items()}


# --- what is carried ----------------------------------------------------------------------------


def test_a_write_on_a_backup_is_executed_by_the_primary(network: Network) -> None:
    backup = network.backups[0]
    before = network.leader.last
    reply = answer(network, backup, "PUT", "/app/log/1", b"hello")
    assert (reply.status, reply.body) == (201, b"written")
    assert reply.txid == f"2.{before + 1}"
    assert answer(network, network.primary, "GET", "/app/log/1").body == b"hello"
    assert answer(network, backup, "GET", "/app/log/1").status == 404
    network.replicate()
    assert answer(network, backup, "GET", "/app/log/1").body == b"hello"


def test_the_answer_is_the_same_bytes(network: Network) -> None:
    mine: list[bytes] = []
    session = network.backups[0].session()
    session.deferrer = lambda: mine.append
    request = Request("PUT", "/app/log/1", {}, b"hello")
    assert network.backups[0].node.handle(session, request) is None
    network.settle()
    theirs = network.primary.node.handle(network.primary.session(), request)
    assert theirs is not None
    assert mine == [theirs.replace(network_txid(theirs), network_txid(mine[0]))]


def network_txid(response: bytes) -> bytes:
    return response.partition(b"transaction-id: ")[2].partition(b"\r\n")[0]


def test_reads_stay_until_the_session_has_written(network: Network) -> None:
    backup = network.backups[0]
    session = backup.session()
    assert answer(network, backup, "GET", "/app/log/1", session=session).status == 404
    before = session.is_forwarding
    answer(network, backup, "PUT", "/app/log/1", b"own", session=session)
    assert (before, session.is_forwarding) == (False, True)
    assert answer(network, backup, "GET", "/app/log/1", session=session).body == b"own"
    assert answer(network, backup, "GET", "/app/log/1").status == 404, "another session"


def test_commands_follow_a_session_that_has_written(network: Network) -> None:
    backup = network.backups[0]
    session = backup.session()
    network.primary.node.sign()
    network.settle()
    here = answer(network, backup, "GET", "/node/commit", session=session).json
    answer(network, backup, "PUT", "/app/log/1", b"x", session=session)
    there = answer(network, backup, "GET", "/node/commit", session=session).json
    assert here != there


def test_what_is_never_forwarded_is_not(network: Network) -> None:
    backup = network.backups[0]
    session = backup.session()
    answer(network, backup, "PUT", "/app/log/1", b"x", session=session)
    before = state(backup)
    reply = answer(network, backup, "PUT", "/app/local/1", b"y", session=session)
    assert (reply.status, code(reply)) == (503, "TransactionReplicationFailed")
    assert "x-ms-ccf-transaction-id" not in reply.headers
    assert state(backup) == before
    assert answer(network, network.primary, "PUT", "/app/local/1", b"y").status == 201


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("PUT", "/app/nope", 404), ("PATCH", "/app/log/1", 405), ("OPTIONS", "/app/log/1", 204)],
)
def test_what_is_nowhere_is_said_here(
    network: Network, method: str, target: str, status: int
) -> None:
    backup = network.backups[0]
    network.cut.add((backup.node.node_id, network.primary.node.node_id))
    assert answer(network, backup, method, target).status == status


def test_a_closed_frontend_and_a_filter_come_first(network: Network) -> None:
    backup = network.backups[0]
    backup.node.interfaces[INTERFACE] = InterfaceRules.of(["/node/.*"])
    reply = answer(network, backup, "PUT", "/app/log/1", b"x")
    assert (reply.status, reply.body) == (503, b"")
    backup.node.app.open = False
    assert code(answer(network, backup, "PUT", "/app/log/1", b"x")) == "FrontendNotOpen"


def test_the_filter_of_the_primary_does_not_apply(network: Network) -> None:
    network.primary.node.interfaces[INTERFACE] = InterfaceRules.of([])
    assert answer(network, network.backups[0], "PUT", "/app/log/1", b"x").status == 201


def test_headers_query_and_refusals_travel(network: Network) -> None:
    backup = network.backups[0]
    reply = answer(network, backup, "GET", "/app/echo?a=%20b", x_one="1", accept="ünd")
    assert reply.json == {"headers": {"x-one": "1", "accept": "ünd"}, "query": "a= b"}
    refused = answer(network, backup, "POST", "/app/refuse")
    assert (refused.status, code(refused)) == (418, "Teapot")


def test_the_caller_s_certificate_travels(network: Network) -> None:
    backup, primary = network.backups[0], network.primary
    user = Person("user", primary.entropy)
    for _ in range(2):
        nobody = answer(network, backup, "GET", "/app/me")
        assert (nobody.status, code(nobody)) == (401, "InvalidAuthenticationInfo")
        session = backup.session(user)
        assert answer(network, backup, "GET", "/app/me", session=session).status == 401
    tx = primary.node.store.tx()
    tables.put_raw(tx, tables.USERS_CERTS, user.id, user.cert)
    primary.node.commit(tx)
    for _ in range(2):
        reply = answer(network, backup, "GET", "/app/me", session=session)
        assert reply.body.decode().strip('"') == user.id


def test_a_session_with_another_certificate_is_another_caller(network: Network) -> None:
    primary, sender = network.primary, network.backups[0].node.node_id
    user, other = (Person(name, primary.entropy) for name in ("user", "other"))
    tx = primary.node.store.tx()
    tables.put_raw(tx, tables.USERS_CERTS, user.id, user.cert)
    primary.node.commit(tx)
    for person, status in ((user, b"200"), (other, b"401"), (user, b"200")):
        response = carried(primary, sender, target="/app/me", method="GET", caller=person.der)
        assert response.response[9:12] == status


def test_history_is_read_by_the_primary(network: Network) -> None:
    network.sign()
    reply = answer(network, network.backups[0], "GET", "/app/old", x_ms_ccf_transaction_id="2.3")
    assert (reply.status, reply.body) == (200, b"2.3")


def test_answers_keep_to_their_requests(network: Network) -> None:
    backup = network.backups[0]
    session = backup.session()
    slots: list[list[bytes]] = []

    def defer() -> Any:
        slots.append([])
        return slots[-1].append

    session.deferrer = defer
    for i in range(5):
        request = Request("PUT", f"/app/log/{i}", {}, str(i).encode())
        assert backup.node.handle(session, request) is None
    network.settle()
    assert [len(slot) for slot in slots] == [1] * 5
    txids = [int(Got(slot[0]).txid.partition(".")[2]) for slot in slots]
    assert txids == sorted(txids)


def test_what_answers_acknowledge_is_written_before_and_together(network: Network) -> None:
    primary, sender = network.primary.node, network.backups[0].node.node_id
    for command in range(3):
        request = Carried(command, 2, 1, None, "PUT", "/app/log/1", {}, b"x")
        primary.receive(sender, Channel.FORWARD, msgspec.msgpack.encode(request))
    written, *sent = primary.take_outputs()
    assert isinstance(written, Append)
    assert len(written.entries) == 3
    assert [type(output) for output in sent] == [Send] * 3
    assert not primary.has_outputs


def test_back_pressure_is_the_primary_s() -> None:
    network = Network(app=make_app(), install=install, limits=Limits(uncommitted_max=4))
    network.leader.commits = False
    backup = network.backups[0]
    limits = msgspec.structs.replace(backup.node.limits, uncommitted_max=1)
    backup.node.limits = limits
    replies = [answer(network, backup, "PUT", "/app/log/1", b"x") for _ in range(4)]
    network.replicate()
    assert code(replies[-1]) == "TooManyPendingTransactions"
    assert backup.engine.last - backup.engine.committed > 1
    assert answer(network, backup, "GET", "/app/log/1").status == 200


# --- what cannot be carried ---------------------------------------------------------------------


def test_without_a_known_primary(network: Network) -> None:
    backup = network.backups[0]
    backup.engine.primary = None
    reply = answer(network, backup, "PUT", "/app/log/1", b"x")
    assert (reply.status, code(reply)) == (503, "InternalError")
    assert reply.json["error"]["message"] == ("RPC could not be forwarded to unknown primary.")


def test_without_a_way_to_the_primary(network: Network) -> None:
    backup = network.backups[0]
    backup.engine.primary = STRANGER
    reply = answer(network, backup, "PUT", "/app/log/1", b"x")
    assert (reply.status, code(reply)) == (503, "InternalError")
    assert reply.json["error"]["message"] == ("Unable to establish channel to forward to primary.")


def test_not_over_http2(network: Network) -> None:
    backup = network.backups[0]
    backup.node.interfaces[INTERFACE] = InterfaceRules(http2=True)
    reply = answer(network, backup, "PUT", "/app/log/1", b"x")
    assert (reply.status, code(reply)) == (501, "NotImplemented")
    assert reply.json["error"]["message"] == (
        "Request cannot be forwarded to primary on HTTP/2 interface."
    )


def test_no_answer_in_time(network: Network) -> None:
    backup, primary = network.backups[0], network.primary.node.node_id
    backup.node.interfaces[INTERFACE] = InterfaceRules(forwarding_timeout_ms=1500)
    network.cut.add((primary, backup.node.node_id))
    replies = ask(network, backup, "PUT", "/app/log/1", b"x")
    late = list(network.primary.sent)
    network.tick(1499)
    assert replies == []
    network.tick(1)
    (reply,) = replies
    assert (reply.status, reply.headers["content-type"]) == (504, "text/plain")
    assert reply.body.decode() == (
        f"Request was forwarded to node n[{primary}], but no response was received after 1500ms"
    )
    assert late == []
    backup.node.receive(primary, Channel.FORWARD, msgspec.msgpack.encode(done(1)))
    backup.pump()
    assert len(replies) == 1
    assert "came too late" in complaints(backup)[-1]
    assert len(backup.node.forwarder) == 0


def test_too_many_wait(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PENDING_MAX", 1)
    backup = network.backups[0]
    network.cut.add((backup.node.node_id, network.primary.node.node_id))
    assert ask(network, backup, "PUT", "/app/log/1", b"x") == []
    assert answer(network, backup, "PUT", "/app/log/1", b"x").status == 503
    network.tick(3000)
    assert ask(network, backup, "PUT", "/app/log/1", b"x") == []


def test_what_is_carried_is_not_kept_as_well(network: Network) -> None:
    backup = network.backups[0]
    network.cut.add((network.primary.node.node_id, backup.node.node_id))
    body = bytes(100_000)
    assert ask(network, backup, "PUT", "/app/log/1", body) == []
    assert len(backup.node.forwarder) == 1
    assert not any(isinstance(one, Request) for one in gc.get_referrers(body))


def test_too_large_either_way(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "MESSAGE_MAX", 1000)
    backup = network.backups[0]
    reply = answer(network, backup, "PUT", "/app/log/1", b"x" * 1000)
    assert (reply.status, code(reply)) == (413, "RequestBodyTooLarge")
    reply = answer(network, backup, "POST", "/app/large")
    assert (reply.status, code(reply)) == (500, "InternalError")
    assert reply.txid == f"2.{network.leader.last}"


def test_every_message_fits_a_frame() -> None:
    assert frames.fits(forward.MESSAGE_MAX)


def test_a_retired_node_says_so(network: Network) -> None:
    backup = network.backups[0]
    backup.node.membership.retired = True
    for method, target in (("PUT", "/app/log/1"), ("GET", "/app/log/1"), ("GET", "/app/commit")):
        reply = answer(network, backup, method, target)
        assert (reply.status, code(reply)) == (503, "NodeRetired")
    assert answer(network, backup, "GET", "/node/commit").status == 200


def test_a_node_that_leaves_carries_nothing_whose_answer_may_not_come(network: Network) -> None:
    backup = network.backups[0]
    backup.node.membership.leaving = True
    reply = answer(network, backup, "PUT", "/app/log/1")
    assert (reply.status, code(reply)) == (503, "NodeRetired")
    assert len(backup.node.forwarder) == 0
    assert answer(network, backup, "GET", "/app/commit").status == 200


# --- views --------------------------------------------------------------------------------------


def test_a_session_ends_with_its_view(network: Network) -> None:
    backup, other = network.backups
    sessions = {name: backup.session() for name in ("read", "write", "command")}
    answer(network, backup, "GET", "/app/log/1", session=sessions["read"])
    answer(network, backup, "PUT", "/app/log/1", b"x", session=sessions["write"])
    answer(network, backup, "GET", "/node/commit", session=sessions["command"])
    network.replicate()
    network.elect(2, 3)
    last = other.engine.last
    for name, method, target in (
        ("read", "PUT", "/app/log/2"),
        ("write", "GET", "/app/log/1"),
        ("command", "GET", "/node/commit"),
    ):
        session = sessions[name]
        lost = answer(network, backup, method, target, session=session)
        assert (lost.status, code(lost)) == (500, "SessionConsistencyLost")
        assert lost.json["error"]["message"] == (
            f"Potential loss of session consistency on session {session.id}. Started in view 2,"
            " now in view 3. Closing session."
        )
        assert session.close_after
    assert other.engine.last == last, "nothing was written"
    assert answer(network, backup, "PUT", "/app/log/2", b"y").txid == f"3.{last + 1}"


def test_a_session_of_the_former_primary_ends(network: Network) -> None:
    session = network.primary.session()
    answer(network, network.primary, "PUT", "/app/log/1", b"x", session=session)
    network.replicate()
    network.elect(1, 3)
    lost = answer(network, network.primary, "GET", "/app/log/1", session=session)
    assert code(lost) == "SessionConsistencyLost"
    assert session.close_after


def test_a_forwarded_session_ends_when_the_primary_steps_down_within_its_view(
    network: Network,
) -> None:
    """What it was told may be undone there; its own node has not heard of that yet."""
    backup = network.backups[0]
    session = backup.session()
    keep = network.leader.last
    assert answer(network, backup, "PUT", "/app/log/1", b"x", session=session).status == 201
    assert answer(network, backup, "GET", "/app/log/1", session=session).body == b"x"
    network.leader.elect(network.leader.view, None, keep)
    lost = answer(network, backup, "GET", "/app/log/1", session=session)
    assert code(lost) == "SessionConsistencyLost"
    assert session.close_after


def test_the_primary_may_know_of_a_later_view_than_the_backup(network: Network) -> None:
    backup = network.backups[0]
    session = backup.session()
    network.leader.view = 3
    network.primary.node.store.rollback(network.leader.last, 3)
    before = state(network.primary)
    lost = answer(network, backup, "PUT", "/app/log/1", b"x", session=session)
    assert (lost.status, code(lost)) == (500, "SessionConsistencyLost")
    assert "Started in view 2, now in view 3" in lost.json["error"]["message"]
    assert f"session {session.id}." in lost.json["error"]["message"]
    assert session.close_after
    assert state(network.primary) == before


def test_the_node_asked_may_not_be_primary_any_more(network: Network) -> None:
    backup = network.backups[0]
    network.leader.primary = None
    reply = answer(network, backup, "PUT", "/app/log/1", b"x")
    assert (reply.status, code(reply)) == (503, "RequestAlreadyForwarded")
    assert reply.json["error"]["message"] == "RPC was already forwarded."


def test_requests_do_not_go_in_circles(network: Network) -> None:
    one, two = network.backups
    one.engine.primary = two.node.node_id
    two.engine.primary = one.node.node_id
    reply = answer(network, one, "PUT", "/app/log/1", b"x")
    assert (reply.status, code(reply)) == (503, "RequestAlreadyForwarded")
    one.engine.primary, one.engine.node_id = one.node.node_id, STRANGER
    assert answer(network, one, "PUT", "/app/log/1", b"x").status == 503, "not to itself"


def test_a_primary_that_steps_down_while_history_is_read(network: Network) -> None:
    network.sign()
    first = network.primary
    replies: list[Got] = []
    session = first.session()
    session.deferrer = lambda: lambda data: replies.append(Got(data))
    headers = {"x-ms-ccf-transaction-id": "2.3"}
    assert first.node.handle(session, Request("GET", "/app/old", headers)) is None
    network.leader.primary = network.backups[0].node.node_id
    network.backups[0].engine.primary = network.backups[0].node.node_id
    network.settle()
    assert [(r.status, r.body) for r in replies] == [(200, b"2.3")]
    assert session.is_forwarding


# --- waiting for commit -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["commit", "receipt"])
def test_a_backup_waits_for_its_own_commit(network: Network, kind: str) -> None:
    backup = network.backups[0]
    replies = ask(network, backup, "PUT", "/app/log/1", b"x", x_pyccf_wait=kind)
    assert replies == []
    network.primary.node.sign()
    network.settle()
    assert replies == [], "committed on the primary, and the backup does not know"
    network.replicate()
    (reply,) = replies
    assert (reply.status, reply.body, reply.headers["x-mine"]) == (201, b"written", "1")
    assert ("x-pyccf-receipt" in reply.headers) is (kind == "receipt")
    assert answer(network, backup, "GET", f"/node/tx?transaction_id={reply.txid}").json == {
        "status": "Committed",
        "transaction_id": reply.txid,
    }


def test_the_primary_does_not_wait_for_a_backup_s_client(network: Network) -> None:
    backup = network.backups[0]
    replies = ask(
        network,
        backup,
        "GET",
        "/app/echo",
        x_pyccf_wait="commit",
        x_pyccf_wait_timeout_ms="1000",
        x_other="1",
    )
    network.sign()
    assert replies[0].json["headers"] == {"x-other": "1"}


def test_a_refusal_is_not_waited_for(network: Network) -> None:
    reply = answer(network, network.backups[0], "POST", "/app/refuse", x_pyccf_wait="commit")
    assert reply.status == 418


def test_answers_beyond_what_a_backup_holds_are_not_waited_for(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WAITING_BYTES_MAX", 3000)
    backup = network.backups[0]
    network.leader.commits = False
    sent = [
        backup.send(Request("POST", "/app/large", {"x-pyccf-wait": "commit"})) for _ in range(4)
    ]
    network.settle()
    assert [len(replies) for replies in sent] == [0, 0, 1, 1]
    (late,) = sent[3]
    assert (late.status, code(late)) == (504, "CommitTimeout")
    assert late.txid in late.body.decode()
    refused = answer(network, backup, "POST", "/app/large", x_pyccf_wait="commit")
    assert (refused.status, code(refused)) == (503, "TooManyPendingTransactions")
    network.leader.commits = True
    network.sign()
    assert [replies[0].status for replies in sent[:2]] == [200, 200]
    answer(network, backup, "POST", "/app/refuse", x_pyccf_wait="commit")


def test_waiting_has_an_end(network: Network) -> None:
    backup = network.backups[0]
    network.leader.commits = False
    replies = ask(
        network,
        backup,
        "PUT",
        "/app/log/1",
        b"x",
        x_pyccf_wait="commit",
        x_pyccf_wait_timeout_ms="2000",
    )
    network.tick(1999)
    assert replies == []
    network.tick(1)
    (reply,) = replies
    assert (reply.status, code(reply)) == (504, "CommitTimeout")
    assert reply.txid


def test_what_an_election_undid_is_said_once_that_is_certain(network: Network) -> None:
    former, backup, third = network.primary, *network.backups
    session = backup.session()
    replies = ask(
        network, backup, "PUT", "/app/log/1", b"x", session=session, x_pyccf_wait="commit"
    )
    at_former = ask(network, former, "PUT", "/app/log/2", b"y", x_pyccf_wait="receipt")
    network.elect(2, 3)
    assert replies == at_former == [], "rolled back here is not yet rolled back everywhere"
    write = answer(network, third, "PUT", "/app/log/3", b"z")
    third.node.sign()
    network.settle()
    for member in (former, backup):
        engine = member.node.consensus
        assert isinstance(engine, ToldEngine)
        for data in third.ledger[engine.last :]:
            engine.follow(data)
        engine.commit(third.engine.committed)
    network.settle()
    for reply, seqno in ((replies[0], 0), (at_former[0], 1)):
        assert (reply.status, code(reply)) == (503, "TransactionReplicationFailed")
        assert reply.txid == f"2.{third.engine.last - 1 + seqno}"
    assert (
        answer(network, backup, "GET", f"/app/tx?transaction_id={replies[0].txid}").json["status"]
        == "Invalid"
    )
    assert (
        answer(network, backup, "GET", f"/app/tx?transaction_id={write.txid}").json["status"]
        == "Committed"
    )


def test_what_another_node_kept_commits_after_all(network: Network) -> None:
    backup, third = network.backups
    replies = ask(network, backup, "PUT", "/app/log/1", b"x", x_pyccf_wait="commit")
    network.leader.commits = False
    network.primary.node.sign()
    network.replicate(third)
    network.elect(2, 3)
    assert replies == []
    third.node.sign()
    network.settle()
    for data in third.ledger[backup.engine.last :]:
        backup.engine.follow(data)
    backup.engine.commit(third.engine.committed)
    network.settle()
    assert [reply.status for reply in replies] == [201]


def test_status_of_a_transaction_in_every_state(network: Network) -> None:
    backup, third = network.backups
    write = answer(network, backup, "PUT", "/app/log/1", b"x").txid

    def told(at: Service) -> str:
        return str(answer(network, at, "GET", f"/node/tx?transaction_id={write}").json["status"])

    assert (told(network.primary), told(backup)) == ("Pending", "Unknown")
    network.replicate(backup)
    assert told(backup) == "Pending"
    network.elect(2, 3)
    assert (told(network.primary), told(backup), told(third)) == ("Unknown",) * 3
    answer(network, third, "PUT", "/app/log/1", b"x")
    assert told(third) == "Unknown"
    third.node.sign()
    network.settle()
    assert (told(third), told(backup)) == ("Invalid", "Unknown")


# --- what nobody should send --------------------------------------------------------------------


def done(command: int, response: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Answered:
    return Answered(command, False, response)


def carried(at: Service, sender: str, **parts: Any) -> Answered:
    """The answer of a node to a forwarded request."""
    given: dict[str, Any] = {
        "command": 7,
        "view": 2,
        "session": 1,
        "caller": None,
        "method": "PUT",
        "target": "/app/log/1",
        "headers": {},
        "body": b"x",
    }
    at.node.receive(sender, Channel.FORWARD, msgspec.msgpack.encode(Carried(**{**given, **parts})))
    at.pump()
    (sent,) = at.sent
    at.sent.clear()
    assert (sent.to, sent.channel) == (sender, Channel.FORWARD)
    return msgspec.msgpack.decode(sent.message.encode(), type=Answered)


def test_only_trusted_nodes_forward(network: Network) -> None:
    network.trust("77" * 32, 7, "Pending")
    network.trust("88" * 32, 8, "Retired", retired_committed=True)
    before = state(network.primary)
    for sender in ("77" * 32, "88" * 32):
        told = carried(network.primary, sender)
        assert told.response.startswith(b"HTTP/1.1 503 ")
        assert f"node {sender} is not a trusted node".encode() in told.response
        assert "is not trusted" in complaints(network.primary)[-1]
    request = msgspec.msgpack.encode(Carried(1, 2, 3, None, "PUT", "/app/log/1", {}, b""))
    network.primary.node.receive(STRANGER, Channel.FORWARD, request)
    network.primary.pump()
    assert network.primary.sent == [], "there is no way to it"
    assert state(network.primary) == before
    network.trust("77" * 32, 7)
    assert carried(network.primary, "77" * 32).response.startswith(b"HTTP/1.1 201 ")
    network.trust("77" * 32, 7, "Retired")
    assert carried(network.primary, "77" * 32).response.startswith(b"HTTP/1.1 503 ")


def test_an_answer_counts_once_and_only_from_the_node_asked(network: Network) -> None:
    backup = network.backups[0]
    primary = network.primary.node.node_id
    network.cut.add((backup.node.node_id, primary))
    replies = ask(network, backup, "PUT", "/app/log/1", b"x")
    forged = msgspec.msgpack.encode(done(1, b"HTTP/1.1 200 OK\r\n\r\nforged"))
    other = network.backups[1].node.node_id
    backup.node.receive(other, Channel.FORWARD, forged)
    backup.pump()
    assert replies == []
    assert "dropped" in complaints(backup)[-1]
    for number in (1, 1, 2, 0):
        backup.node.receive(primary, Channel.FORWARD, msgspec.msgpack.encode(done(number)))
    backup.pump()
    assert len(replies) == 1
    assert replies[0].body == b""
    assert len([c for c in complaints(backup) if "too late, or nobody" in c]) == 3


GARBAGE = [
    b"",
    b"\x00",
    b"\xc1",
    b"\x93\x02\x01",
    b"\x91" * 100_000,
    msgspec.msgpack.encode([3, 1, False, b""]),
    msgspec.msgpack.encode([2, -1, False, b"HTTP/1.1 200 OK\r\n\r\n"]),
    msgspec.msgpack.encode([2, 1, 1, b"HTTP/1.1 200 OK\r\n\r\n"]),
    msgspec.msgpack.encode([2, 1, False, b"HTTP/1.1 200 OK\r\n\r\n", 0]),
    msgspec.msgpack.encode([2, 1, False, b"nothing that goes to a client"]),
    msgspec.msgpack.encode([1, 1, 2, 3, None, "GET", "/", {}]),
    msgspec.msgpack.encode([1, 1, 2, 3, None, "GET", "/", {"a": 1}, b""]),
    msgspec.msgpack.encode([1, -1, 2, 3, None, "GET", "/", {}, b""]),
    msgspec.msgpack.encode([1, 1, 2, 3, None, b"\xff", "/", {}, b""]),
    b"\x99\x01\x01\x02\x03\xc0\xa1\xff\xa1/\x80\xc4\x00",
    msgspec.msgpack.encode(Carried(1, 2, 3, None, "GET", "/", {}, b"")) + b"\x00",
]


@pytest.mark.parametrize("data", GARBAGE)
def test_garbage_is_refused(network: Network, data: bytes) -> None:
    primary, backup = network.primary, network.backups[0]
    network.cut.add((backup.node.node_id, primary.node.node_id))
    replies = ask(network, backup, "PUT", "/app/log/1", b"x")
    for member, sender in ((primary, backup), (backup, primary)):
        before = state(member)
        member.node.receive(sender.node.node_id, Channel.FORWARD, data)
        member.pump()
        assert state(member) == before
        assert member.sent == []
        assert "forwarded message that is none" in complaints(member)[-1]
    assert replies == []


def test_oversized_messages_are_refused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "MESSAGE_MAX", 1000)
    sender = network.backups[0].node.node_id
    data = msgspec.msgpack.encode(Carried(1, 2, 3, None, "PUT", "/app/log/1", {}, b"x" * 1000))
    network.primary.node.receive(sender, Channel.FORWARD, data)
    network.primary.pump()
    assert network.primary.sent == []
    assert "forwarded message that is none" in complaints(network.primary)[-1]


def test_what_is_remembered_of_callers_is_bounded(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "CALLERS_MAX", 3)
    sender = network.backups[0].node.node_id
    for session in range(10):
        carried(network.primary, sender, session=session, caller=b"no certificate")
    assert len(network.primary.node.forwarder._callers) == 3


def test_a_certificate_that_is_none_is_nobody_s(network: Network) -> None:
    sender = network.backups[0].node.node_id
    told = carried(
        network.primary, sender, method="GET", target="/app/me", caller=b"no certificate"
    )
    assert told.response[9:12] in (b"401", b"500")
