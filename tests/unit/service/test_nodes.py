"""The JSON of a node entry."""

from __future__ import annotations

import msgspec
import pytest

from pyccf.errors import LocalError
from pyccf.kv.store import Store
from pyccf.service import nodes, tables
from pyccf.service.nodes import NodeNetwork, NodeStatus, RpcInterface, join_request
from pyccf.types import Json
from support.service import node_entry

HTTP1 = {"max_body_size": "1048576", "max_header_size": "16384", "max_headers_count": 256}


def test_interface_defaults() -> None:
    value = RpcInterface(bind_address="a:1", published_address="b:2").to_json()
    assert value == {
        "app_protocol": "HTTP1",
        "bind_address": "a:1",
        "endorsement": {"authority": "Service"},
        "forwarding_timeout_ms": 3000,
        "http_configuration": HTTP1,
        "max_open_sessions_hard": 1010,
        "max_open_sessions_soft": 1000,
        "protocol": "tcp",
        "published_address": "b:2",
    }


def test_http2_limits_appear_on_http2_interfaces_only() -> None:
    value = RpcInterface(bind_address="", published_address="", app_protocol="HTTP2").to_json()
    assert value["http_configuration"] == {
        **HTTP1,
        "initial_window_size": "65536",
        "max_concurrent_streams_count": 100,
        "max_frame_size": "16384",
    }


def test_optional_parts_of_an_interface() -> None:
    redirections = {"to_primary": {"kind": "NodeByRole", "target": {"role": "primary"}}}
    value = RpcInterface(
        bind_address="",
        published_address="",
        accepted_endpoints=("/node/.*",),
        redirections=dict(redirections),
    ).to_json()
    assert value["accepted_endpoints"] == ["/node/.*"]
    assert value["redirections"] == redirections


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", "80"), ("[::1]:80", "[::1]", "80"), ("h:", "h", "")],
)
def test_legacy_texts_split_at_the_last_colon(address: str, host: str, port: str) -> None:
    entry = msgspec.structs.replace(node_entry(), node_to_node_published_address=address)
    value = entry.to_json()
    assert (value["nodehost"], value["nodeport"]) == (host, port)


def test_legacy_texts_are_of_the_first_interface_by_name() -> None:
    interfaces = {
        "z": RpcInterface(bind_address="z:1", published_address="z:2"),
        "a": RpcInterface(bind_address="a:1", published_address="b:2"),
    }
    value = msgspec.structs.replace(node_entry(), rpc_interfaces=interfaces).to_json()
    assert (value["rpchost"], value["pubhost"], value["pubport"]) == ("a", "b", "2")


def test_optional_members_appear_when_set() -> None:
    plain = node_entry().to_json()
    assert "ledger_secret_seqno" not in plain
    assert "node_data" not in plain
    full = msgspec.structs.replace(node_entry(), ledger_secret_seqno=7, node_data={"a": 1})
    assert full.to_json()["ledger_secret_seqno"] == 7
    assert full.to_json()["node_data"] == {"a": 1}


# --- what a node tells of itself ----------------------------------------------------------------


def test_what_a_node_tells_is_what_others_get() -> None:
    entry = node_entry()
    told = join_request(entry, 5)
    assert told["startup_seqno"] == 5
    assert told["quote_info"] == entry.quote_info
    network = NodeNetwork.from_json(told["node_info_network"])
    row = entry.to_json()
    assert network.to_json() == {name: row[name] for name in network.to_json()}
    assert network.node_address == entry.node_to_node_published_address


def test_that_a_node_seals_its_secrets_is_told_where_it_is_true() -> None:
    entry = msgspec.structs.replace(node_entry(), seals=True)
    told = join_request(entry, 0)["node_info_network"]
    assert isinstance(told, dict)
    name = "will_locally_seal_ledger_secrets"
    assert entry.to_json()[name] is told[name] is True
    assert NodeNetwork.from_json(told).to_json()[name] is True
    assert name not in NodeNetwork.from_json(told | {name: False}).to_json()
    assert name not in node_entry().to_json()
    with pytest.raises(LocalError, match=f"{name} .* not a boolean"):
        NodeNetwork.from_json(told | {name: "yes"})


def test_members_nobody_reads_are_not_kept() -> None:
    network = NodeNetwork.from_json(
        {
            "node_to_node_interface": {"bind_address": "a:1", "junk": "x" * 100},
            "rpc_interfaces": {"r": {"bind_address": "b:1", "junk": []}},
            "junk": 5,
        }
    )
    assert network.node_address == "a:1"
    assert network.to_json() == {
        "node_to_node_interface": {"bind_address": "a:1"},
        "rpc_interfaces": {"r": {"bind_address": "b:1"}},
        "nodehost": "a",
        "nodeport": "1",
        "rpchost": "b",
        "rpcport": "1",
        "pubhost": "b",
        "pubport": "1",
    }


def test_a_node_may_have_no_interface_for_clients() -> None:
    value: Json = {"node_to_node_interface": {"bind_address": "a:1"}, "rpc_interfaces": {}}
    assert "rpchost" not in NodeNetwork.from_json(value).to_json()


@pytest.mark.parametrize(
    "interface",
    [
        None,
        {},
        {"bind_address": ""},
        {"bind_address": "a:1", "published_address": []},
        {"bind_address": "a:1", "max_open_sessions_soft": True},
        {"bind_address": "a:1", "redirections": []},
        {"bind_address": "a:1", "accepted_endpoints": "x"},
    ],
)
def test_an_interface_of_wrong_types_is_refused(interface: Json) -> None:
    value: Json = {
        "node_to_node_interface": {"bind_address": "a:1"},
        "rpc_interfaces": {"r": interface},
    }
    with pytest.raises(LocalError, match="RPC interface r"):
        NodeNetwork.from_json(value)


# --- the table ----------------------------------------------------------------------------------


def row(status: NodeStatus, address: str = "a:1", **more: Json) -> dict[str, Json]:
    return {
        "node_to_node_interface": {"bind_address": "b:9", "published_address": address},
        "rpc_interfaces": {"r": {"bind_address": "b:1", "published_address": "p:1"}, "x": 5},
        "status": status.value,
        **more,
    }


def table(**rows: dict[str, Json]) -> Store:
    store = Store(view=2)
    change(store, **rows)
    store.compact(1)
    return store


def change(store: Store, **rows: dict[str, Json]) -> None:
    tx = store.tx()
    for name, value in rows.items():
        tables.put_json(tx, tables.NODES_INFO, name, value)
    store.commit(tx)


def test_an_address_belongs_to_nodes_that_are_not_retired() -> None:
    store = table(n=row(NodeStatus.PENDING), m=row(NodeStatus.RETIRED, "c:1"))
    tx = store.tx()
    assert nodes.find_by_address(tx, "a:1", "other") == "n"
    assert nodes.find_by_address(tx, "a:1", "n") is None
    assert nodes.find_by_address(tx, "c:1", "other") is None
    assert nodes.find_by_address(tx, "b:9", "other") is None


def test_the_published_address_of_an_interface() -> None:
    tx = table(n=row(NodeStatus.TRUSTED)).tx()
    assert nodes.published_address(tx, "n", "r") == "p:1"
    assert nodes.published_address(tx, "n", "x") is None
    assert nodes.published_address(tx, "n", "y") is None
    assert nodes.published_address(tx, "m", "r") is None


def test_only_committed_retirements_are_recorded_and_once() -> None:
    store = table(gone=row(NodeStatus.RETIRED), stays=row(NodeStatus.TRUSTED))
    change(store, stays=row(NodeStatus.RETIRED))
    tx = store.tx()
    assert nodes.record_retired_committed(tx) == ["gone"]
    store.commit(tx)
    assert nodes.record_retired_committed(store.tx()) == []
    assert nodes.removable(store.tx()) == []
    store.compact(store.version)
    assert [n for n, _ in nodes.removable(store.tx())] == ["gone"]
    tx = store.tx()
    assert nodes.record_retired_committed(tx) == ["stays"]
    assert tx.writes.keys() == {tables.NODES_INFO}


def test_nothing_is_written_when_nothing_is_to_be_recorded() -> None:
    tx = table(n=row(NodeStatus.TRUSTED)).tx()
    assert nodes.record_retired_committed(tx) == []
    assert not tx.writes


def test_a_deleted_node_leaves_nothing() -> None:
    store = table(n=row(NodeStatus.RETIRED, retired_committed=True))
    tx = store.tx()
    tables.put_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, "n", "pem")
    store.commit(tx)
    tx = store.tx()
    nodes.delete(tx, "n")
    store.commit(tx)
    tx = store.tx()
    assert not nodes.is_known(tx, "n")
    assert tables.get_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, "n") is None


def test_the_first_node_is_told_a_secret_while_its_removal_is_not_committed() -> None:
    """It may be the primary, and then seals what comes next."""
    store = Store(2)
    for status in (NodeStatus.TRUSTED, NodeStatus.RETIRED):
        tx = store.tx()
        row = node_entry().to_json() | {"status": status.value}
        tables.put_json(tx, tables.NODES_INFO, "first", row)
        if status is NodeStatus.TRUSTED:
            created: dict[str, Json] = {"current_service_create_txid": "2.1"}
            tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, created)
        store.commit(tx)
        if status is NodeStatus.TRUSTED:
            store.compact(store.version)
        assert set(nodes.trusted_encryption_keys(store.tx())) == {"first"}


def test_nodes_of_the_former_service_are_told_no_secret_while_their_retirement_is_noted() -> None:
    store = Store(2)

    def write(**rows: NodeStatus) -> None:
        tx = store.tx()
        for node_id, status in rows.items():
            row = node_entry().to_json() | {"status": status.value}
            tables.put_json(tx, tables.NODES_INFO, node_id, row)
        if store.version == 1:
            created: dict[str, Json] = {"current_service_create_txid": "2.2"}
            tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, created)
        store.commit(tx)
        store.compact(store.version)

    write(former=NodeStatus.TRUSTED)
    write(former=NodeStatus.RETIRED, first=NodeStatus.TRUSTED)
    write(leaver=NodeStatus.TRUSTED)
    write(leaver=NodeStatus.RETIRED)
    tx = store.tx()
    assert nodes.record_retired_committed(tx) == ["former", "leaver"]
    store.commit(tx)
    assert set(nodes.trusted_encryption_keys(store.tx())) == {"first", "leaver"}
    store.compact(store.version)
    assert set(nodes.trusted_encryption_keys(store.tx())) == {"first"}
