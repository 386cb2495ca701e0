"""/node on a primary, on a backup, and on a node that is in no network."""

from __future__ import annotations

import pytest

from pyccf.crypto import certs
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json
from support.joining import (
    Joining,
    exchange,
    make_identity,
    make_primary,
    row_of,
    set_status,
    status_of,
    write,
)
from support.node import INTERFACE, Reply, Service


@pytest.fixture(scope="module")
def pair() -> tuple[Service, Joining]:
    """A primary and a backup that both know everything."""
    service = make_primary()
    backup = Joining(service.parts.service.cert_pem)
    backup.ask(service)
    exchange(service, backup)
    return service, backup


def on_backup(backup: Joining, method: str, path: str, interface: str = INTERFACE) -> Reply:
    data = backup.node.handle(Session(1, interface, None), Request(method, path, {}, b""))
    assert data is not None
    return Reply(data)


def refusal(reply: Reply) -> tuple[int, str, str]:
    error = reply.json["error"]
    return reply.status, error["code"], error["message"]


def test_both_tell_the_same_of_the_network(pair: tuple[Service, Joining]) -> None:
    service, backup = pair
    for path in ("/node/network", "/node/network/nodes", "/node/quotes", "/node/config"):
        assert service.call("GET", path).json == backup.get(path).json, path
    nodes = {n["node_id"]: n for n in backup.get("/node/network/nodes").json["nodes"]}
    assert nodes[service.node.node_id]["primary"] is True
    assert nodes[backup.id]["primary"] is False
    assert nodes[backup.id]["last_written"] > 1
    assert nodes[backup.id]["rpc_interfaces"][INTERFACE]["published_address"] == "h:12"


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 2), ("?status=Trusted", 2), ("?status=Retired", 0), ("?host=h", 1), ("?port=2", 1)],
)
def test_nodes_are_found(pair: tuple[Service, Joining], query: str, count: int) -> None:
    _, backup = pair
    assert len(backup.get(f"/node/network/nodes{query}").json["nodes"]) == count


def test_who_is_primary_and_who_is_not(pair: tuple[Service, Joining]) -> None:
    service, backup = pair
    assert service.call("GET", "/node/primary").status == 200
    assert service.call("HEAD", "/node/primary").status == 200
    assert backup.get("/node/backup").status == 200
    assert refusal(service.call("GET", "/node/backup"))[2] == "Node is not backup"
    assert refusal(backup.get("/node/primary"))[2] == "Node is not primary"
    reply = on_backup(backup, "HEAD", "/node/primary")
    assert reply.status == 308
    assert reply.headers["location"] == "https://127.0.0.1:2/node/primary"


def test_consensus_as_each_sees_it(pair: tuple[Service, Joining]) -> None:
    service, backup = pair
    here = service.call("GET", "/node/consensus").json["details"]
    there = backup.get("/node/consensus").json["details"]
    assert (here["leadership_state"], there["leadership_state"]) == ("Leader", "Follower")
    assert here["primary_id"] == there["primary_id"] == service.node.node_id
    assert here["acks"].keys() == {backup.id}
    assert backup.get("/node/ready/gov").status == 204


def test_where_the_primary_is_cannot_always_be_known() -> None:
    service = make_primary()
    backup = Joining(service.parts.service.cert_pem)
    reply = on_backup(backup, "HEAD", "/node/primary")
    assert reply.status == 500
    backup.ask(service)
    exchange(service, backup)
    backup.node.interfaces["other"] = backup.node.interfaces[INTERFACE]
    assert on_backup(backup, "HEAD", "/node/primary", "other").status == 500
    # Nobody has led for so long that it stands for election itself.
    for _ in range(60):
        backup.tick(1_000)
    assert backup.node.consensus.primary is None
    assert on_backup(backup, "HEAD", "/node/primary").status == 500
    assert refusal(backup.get("/node/network/nodes/primary")) == (
        500,
        "InternalError",
        "Primary unknown",
    )


def test_a_service_is_created_by_no_request(pair: tuple[Service, Joining]) -> None:
    service, _ = pair
    assert refusal(service.call("POST", "/node/create", {})) == (
        403,
        "InternalError",
        "Node is not in initial state.",
    )


def retire_uncommitted(service: Service, node_id: str) -> None:
    def change(tx: Tx) -> None:
        row: dict[str, Json] = {"status": "Retired", "node_to_node_interface": {}}
        row["node_to_node_interface"] = {"published_address": "x:1"}
        tables.put_json(tx, tables.NODES_INFO, node_id, row)

    write(service, change)


def post_as(service: Service, name: str | None, path: str) -> Reply:
    der = None if name is None else certs.pem_to_der(make_identity(name).self_signed_pem)
    session = Session(7, INTERFACE, der)
    (reply,) = service.send(Request("POST", path, {}, b""), session)
    return reply


def test_only_nodes_have_retirements_recorded() -> None:
    service = make_primary()
    path = "/node/network/nodes/set_retired_committed"
    backup = Joining(service.parts.service.cert_pem)
    assert post_as(service, None, path).status == 401
    assert post_as(service, "joiner", path).status == 401
    backup.ask(service)
    exchange(service, backup)
    retire_uncommitted(service, "gone")
    assert post_as(service, "joiner", path).status == 204
    assert "retired_committed" not in (row_of(service, "gone") or {})
    exchange(service, backup)
    assert post_as(service, "joiner", path).status == 204
    assert (row_of(service, "gone") or {})["retired_committed"] is True


def test_a_node_recorded_without_evidence_harms_only_who_asks_for_it() -> None:
    service = make_primary()
    row = row_of(service, service.node.node_id)
    assert row is not None

    def record(tx: Tx) -> None:
        tables.put_json(tx, tables.NODES_INFO, service.node.node_id, row)

    odd: tuple[Json, ...] = (None, "x", {}, {"format": "Insecure_Virtual"})
    for evidence in odd:
        row["quote_info"] = evidence
        write(service, record)
        for path in ("/node/quotes", "/node/attestations/self"):
            assert refusal(service.call("GET", path))[:2] == (500, "InternalError")


def test_only_what_is_committed_can_be_deleted() -> None:
    service = make_primary()
    backup = Joining(service.parts.service.cert_pem)
    backup.ask(service)
    exchange(service, backup)
    path = f"/node/network/nodes/{backup.id}"
    set_status(service, backup.id, NodeStatus.RETIRED)
    assert refusal(service.call("DELETE", path)) == (
        400,
        "NodeNotRetiredCommitted",
        "Node is not completely retired",
    )
    exchange(service, backup)
    assert service.call("DELETE", path).json is True
    assert status_of(service, backup.id) is None
