"""Change feeds over HTTP/2, from two nodes as processes: several on one connection, resumed."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pyccf.client.types import Action
from pyccf.types import Json
from support.network import CALM, Network, NetworkNode

PATIENCE_S = 60.0

MODULE = """
export function write(request) {
  const { key, value } = request.body.json();
  ccf.kv["public:records"].set(ccf.jsonCompatibleToBuf(key), ccf.jsonCompatibleToBuf(value));
  return { body: true };
}
export function listen() {
  return { body: "listen" };
}
"""


def endpoint(function: str, mode: str, forwarding: str, **more: Json) -> Json:
    return {
        "js_module": "feed.js",
        "js_function": function,
        "mode": mode,
        "forwarding_required": forwarding,
        "authn_policies": ["no_auth"],
        **more,
    }


BUNDLE: Json = {
    "metadata": {
        "endpoints": {
            "/records": {"post": endpoint("write", "readwrite", "always")},
            "/feed": {
                "get": endpoint(
                    "listen", "readonly", "never", feed={"map": "public:records", "format": "json"}
                )
            },
        }
    },
    "modules": [{"name": "feed.js", "module": MODULE}],
}


class Http2Network(Network):
    """Nodes with an interface for HTTP/2 besides."""

    def tune(self, config: dict[str, Any], number: int) -> None:
        interfaces = config["network"]["rpc_interfaces"]
        interfaces["h2"] = {"bind_address": "127.0.0.1:0", "app_protocol": "HTTP2"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Http2Network(tmp_path_factory.mktemp("network"), 2, settings=CALM) as network:
        network.govern(Action("set_js_app", {"bundle": BUNDLE, "disable_bytecode_cache": False}))
        yield network


@contextlib.contextmanager
def http2(network: Network, node: NetworkNode) -> Iterator[httpx2.Client]:
    context = ssl.create_default_context(cadata=Path(network.service_cert).read_text())
    host, port = node.address("h2")
    with httpx2.Client(
        http2=True,
        http1=False,
        verify=context,
        timeout=PATIENCE_S,
        trust_env=False,
        base_url=f"https://{host}:{port}",
    ) as client:
        yield client


def write(network: Network, key: str, value: Json) -> str:
    with network.client() as client:
        reply = client.post("/app/records", json={"key": key, "value": value}, wait="commit")
        assert reply.check().json() is True
        return str(reply.txid)


def told(response: httpx2.Response) -> Iterator[tuple[str, Json]]:
    """Ids and writes as they arrive."""
    assert (response.status_code, response.http_version) == (200, "HTTP/2")
    assert response.headers["content-type"] == "text/event-stream"
    ident = ""
    for line in response.iter_lines():
        if line.startswith("id: "):
            ident = line[4:]
        elif line.startswith("data: "):
            yield ident, json.loads(line[6:])["writes"]


def test_feeds_of_one_connection_and_requests_between(network: Network) -> None:
    with (
        http2(network, network.nodes[0]) as client,
        client.stream("GET", "/app/feed") as one,
        client.stream("GET", "/app/feed") as two,
    ):
        first, second = told(one), told(two)
        for number in range(3):
            txid = write(network, "a", number)
            for feed in (first, second):
                assert next(feed) == (txid, [{"key": "a", "value": number}])
            assert client.get("/app/commit").status_code == 200


def test_a_feed_that_was_cut_off_goes_on_at_another_node(network: Network) -> None:
    with http2(network, network.nodes[0]) as client, client.stream("GET", "/app/feed") as feed:
        events = told(feed)
        txids = [write(network, "b", number) for number in range(2)]
        assert [next(events)[0] for _ in txids] == txids
    missed = [write(network, "b", f"missed {number}") for number in range(3)]
    with (
        http2(network, network.nodes[1]) as client,
        client.stream("GET", "/app/feed", headers={"last-event-id": txids[0]}) as feed,
    ):
        events = told(feed)
        assert [next(events)[0] for _ in range(4)] == [txids[1], *missed]
        latest = write(network, "b", "latest")
        assert next(events) == (latest, [{"key": "b", "value": "latest"}])


def test_the_past_is_told_at_the_pace_of_the_reader(network: Network) -> None:
    """More than the windows of the client let through at once."""
    large = "x" * 30_000
    txids = [write(network, "c", f"{number} {large}") for number in range(12)]
    with (
        http2(network, network.nodes[1]) as client,
        client.stream("GET", "/app/feed", params={"since": "start"}) as feed,
    ):
        events = told(feed)
        for txid in txids:
            while (event := next(events))[0] != txid:
                pass
            assert len(json.dumps(event[1])) > 30_000


def test_a_node_that_stops_ends_its_feeds(network: Network) -> None:
    node = network.backups()[0]
    with http2(network, node) as client, client.stream("GET", "/app/feed") as feed:
        events = told(feed)
        txid = write(network, "d", 1)
        assert next(events)[0] == txid
        node.process.terminate()
        assert list(events) == [], "the body ends, it is not cut off"
        assert node.process.wait(PATIENCE_S) == 0
