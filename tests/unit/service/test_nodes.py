"""The JSON of a node entry."""

from __future__ import annotations

import msgspec
import pytest

from pyccf.service.nodes import RpcInterface
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
