"""Networks of real processes: joining, forwarding, status, retirement, and who is not let in."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf.attest import virtual
from pyccf.attest.evidence import Format, QuoteInfo
from pyccf.client import AsyncClient, Client
from pyccf.client.types import Action
from pyccf.codec.text import b64, unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.shell.hardware import SystemEntropy
from pyccf.types import Json, TxID
from support.linear import Kind, Outcome, check
from support.linear_load import Connection, Load, Plan
from support.network import CALM, PATIENCE_S, Network, NetworkNode
from support.tls import trusting


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three nodes that nothing happens to."""
    with Network(tmp_path_factory.mktemp("network"), 3, settings=CALM) as made:
        yield made


def connect(network: Network, node: NetworkNode) -> Connection:
    return Connection(node.address(), trusting(network.service_cert), PATIENCE_S)


def write(connection: Connection, value: int, *, wait: bool = False) -> Any:
    return connection.ask("POST", "/app/registers", {"register": "x", "value": value}, wait=wait)


def test_all_nodes_say_the_same_of_the_service(network: Network) -> None:
    primary = network.primary()
    network.synced()
    ids = sorted(node.id for node in network.nodes)
    for node in network.nodes:
        described = node.ask("/node/network")
        assert described["service_status"] == "Open"
        assert described["primary_id"] == primary.id
        nodes = node.ask("/node/network/nodes")["nodes"]
        assert sorted(n["node_id"] for n in nodes) == ids
        assert {n["status"] for n in nodes} == {"Trusted"}
        assert [n["node_id"] for n in nodes if n["primary"]] == [primary.id]
        details = node.consensus()
        assert details["leadership_state"] == ("Leader" if node is primary else "Follower")
        assert sorted(details["configs"][-1]["nodes"]) == ids
    acks = primary.consensus()["acks"]
    assert sorted(acks) == sorted(node.id for node in network.backups())


def test_a_write_to_a_backup_is_executed_on_the_primary_and_seen_everywhere(
    network: Network,
) -> None:
    backup = network.backups()[0]
    connection = connect(network, backup)
    before = connection.ask("GET", "/app/registers?register=x").body["count"]
    answer = write(connection, 10**8, wait=True)
    assert answer.status == 200
    assert answer.body["count"] == before
    assert answer.txid is not None
    # The session has forwarded: its reads go to the primary, and see what it wrote.
    assert connection.ask("GET", "/app/registers?register=x").body["last"] == 10**8
    assert connection.ask("GET", f"/node/tx?transaction_id={answer.txid}").body == {
        "transaction_id": str(answer.txid),
        "status": "Committed",
    }
    connection.close()
    network.synced()
    for node in network.nodes:
        there = connect(network, node)
        assert there.ask("GET", "/app/registers?register=x").body["last"] == 10**8
        there.close()


def test_where_redirection_is_configured_nothing_is_forwarded(network: Network) -> None:
    """The other interface of a backup sends clients to that of the primary; they follow."""
    primary, backup = network.primary(), network.backups()[0]
    host, port = primary.address("redirecting")
    asked = "{}:{}".format(*backup.address("redirecting"))
    body: Json = {"register": "y", "value": 10**8 + 2}
    context = trusting(network.service_cert)
    raw = http.client.HTTPSConnection(asked, timeout=PATIENCE_S, context=context)
    raw.request("POST", "/app/registers?a=b", json.dumps(body))
    answer = raw.getresponse()
    assert (answer.status, answer.read()) == (307, b"")
    assert answer.headers["location"] == f"https://{host}:{port}/app/registers?a=b"
    raw.close()
    with Client(asked, network.service_cert) as client:
        written = client.post("/app/registers", json=body, wait="commit").check()
        assert written.txid is not None
        # Reads are answered where they are asked.
        client.wait_for_commit(written.txid)
        assert client.get("/app/registers?register=y").json() == {"count": 1, "last": 10**8 + 2}


def test_receipts_come_from_any_node(network: Network) -> None:
    backup = network.backups()[-1]
    with network.client(backup) as client:
        reply = client.post(
            "/app/registers", json={"register": "x", "value": 10**8 + 1}, wait="receipt"
        ).check()
        assert reply.txid is not None
        assert reply.receipt is not None
        evidence = reply.receipt["leaf_components"]
        assert isinstance(evidence, dict)
        assert str(evidence["commit_evidence"]).startswith(f"ce:{reply.txid}:")


def test_a_client_of_an_event_loop(network: Network) -> None:
    """Past a node that is not there, redirected, many at a time, and with proof."""
    host, port = network.backups()[0].address("redirecting")
    body: Json = {"register": "z", "value": 10**8 + 3}

    async def run() -> None:
        nodes = ["https://127.0.0.1:1", f"https://{host}:{port}"]
        async with AsyncClient(nodes, network.service_cert) as client, asyncio.timeout(PATIENCE_S):
            states = await asyncio.gather(*(client.node_state() for _ in range(50)))
            assert {state.state for state in states} == {"PartOfNetwork"}
            written = (await client.post("/app/registers", json=body)).check()
            assert written.txid is not None
            await client.wait_for_commit(written.txid)
            proven = client.verify_receipt(await client.receipt(written.txid))
            assert proven.txid == written.txid
            read = await client.get("/app/registers?register=z")
            assert read.json() == {"count": 1, "last": 10**8 + 3}

    asyncio.run(run())


def test_clients_of_all_nodes_see_one_linearizable_service(network: Network) -> None:

    def enough(load: Load) -> bool:
        ops = load.operations()
        done = Counter(op.kind for op in ops)
        return all(done[kind] > 100 for kind in Kind) and {op.node for op in ops} == {0, 1, 2}

    with network.load(Plan(clients=8, timeout_s=PATIENCE_S, seed=3)) as load:
        network.wait(lambda: enough(load), "clients to have done enough")
    history = load.history()
    assert check(history) == []
    assert {op.outcome for op in history.operations} == {Outcome.ANSWERED}
    assert {op.error for op in history.operations} == {""}
    assert len(history.statuses) > 100


def test_the_status_of_what_does_not_exist(network: Network) -> None:
    committed = network.synced()
    past = TxID(committed.view + 1, committed.seqno - 1)
    future = TxID(committed.view, committed.seqno + 10**6)
    for node in network.nodes:
        assert node.ask(f"/node/tx?transaction_id={past}")["status"] == "Invalid"
        assert node.ask(f"/node/tx?transaction_id={future}")["status"] == "Unknown"


# -- who is not let in ---------------------------------------------------------------------------


class Stranger:
    """Speaks /node/join by itself, with whatever it likes to say."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        entropy = SystemEntropy()
        self.key = PrivateKey.generate(Curve.P384, entropy)
        self.other = PrivateKey.generate(Curve.P384, entropy)
        cert = certs.self_signed(
            self.key, "CN=stranger", not_before=int(time.time()) - 60, days=1, entropy=entropy
        )
        self.identity = folder / "stranger.pem"
        self.identity.write_text(cert + self.key.pem())
        self.host_data = virtual.verify(_evidence(network.nodes[0])).host_data

    def body(self) -> dict[str, Any]:
        """What an honest joiner would send."""
        interface = {"bind_address": "127.0.0.1:1", "published_address": "127.0.0.1:1"}
        return {
            "node_info_network": {
                "node_to_node_interface": interface,
                "rpc_interfaces": {"main": interface},
            },
            "quote_info": virtual.make(self.host_data, self.key.public.der).to_json(),
            "public_encryption_key": RsaPrivateKey.generate().public.pem(),
            "startup_seqno": 0,
            "certificate_signing_request": certs.csr(self.key, "CN=stranger"),
        }

    def join(
        self, body: dict[str, Any] | bytes, *, identity: Path | None = None
    ) -> tuple[int, Any]:
        context = trusting(self.network.service_cert)
        context.load_cert_chain(identity or self.identity)
        primary = self.network.primary()
        connection = http.client.HTTPSConnection(
            *primary.address(), timeout=PATIENCE_S, context=context
        )
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", "/node/join", raw, {"content-type": "application/json"})
        response = connection.getresponse()
        read = response.read()
        connection.close()
        return response.status, json.loads(read)


def _evidence(node: NetworkNode) -> QuoteInfo:
    quote = node.ask("/node/quotes/self")
    return QuoteInfo(Format.VIRTUAL, unb64(quote["raw"]))


def test_joiners_without_good_evidence_are_refused_and_change_nothing(
    network: Network, tmp_path: Path
) -> None:
    stranger = Stranger(network, tmp_path)
    good = stranger.body()

    def quoting(**changes: object) -> dict[str, Any]:
        claims = {
            "host_data": stranger.host_data,
            "measurement": virtual.MEASUREMENT,
            "report_data": json.loads(
                virtual.make(stranger.host_data, stranger.key.public.der).quote
            )["report_data"],
            **changes,
        }
        quote = {**good["quote_info"], "quote": b64(json.dumps(claims).encode())}
        return {**good, "quote_info": quote}

    other_key = virtual.make(stranger.host_data, stranger.other.public.der).to_json()
    foreign = _evidence(network.nodes[1]).to_json()
    cases: list[tuple[dict[str, Any] | bytes, int, str, str]] = [
        (b"{", 400, "InvalidInput", ""),
        (quoting(measurement="other code"), 401, "InvalidQuote", "known enclave measurement"),
        (quoting(host_data="00" * 32), 401, "InvalidQuote", "host data is not authorised"),
        ({**good, "quote_info": other_key}, 401, "InvalidQuote", "node's public key hash"),
        ({**good, "quote_info": foreign}, 401, "InvalidQuote", "node's public key hash"),
        ({**good, "quote_info": {**good["quote_info"], "quote": "AAAA"}}, 401, "InvalidQuote", ""),
        (
            {**good, "certificate_signing_request": certs.csr(stranger.other, "CN=stranger")},
            400,
            "CSRPublicKeyInvalid",
            "does not match",
        ),
        (
            {**good, "node_info_network": _network_of(network.nodes[1])},
            400,
            "NodeAlreadyExists",
            network.nodes[1].id,
        ),
    ]
    before = network.primary().ask("/node/network/nodes")["nodes"]
    for body, status, code, words in cases:
        got, answer = stranger.join(body)
        assert (got, answer["error"]["code"]) == (status, code), answer
        assert words in answer["error"]["message"]
    assert network.primary().ask("/node/network/nodes")["nodes"] == before


def _network_of(node: NetworkNode) -> dict[str, Any]:
    """The network section under which a node is known, its node-to-node address above all."""
    told = json.loads((node.folder / "n2n.json").read_text())["node_to_node_interface"]
    host, port = node.address()
    rpc = {"bind_address": f"{host}:{port}", "published_address": f"{host}:{port}"}
    return {
        "node_to_node_interface": {"bind_address": told, "published_address": told},
        "rpc_interfaces": {"main": rpc},
    }


def test_a_node_with_other_code_is_refused_and_ends(network: Network) -> None:
    node = network.knock(package=b"code that nobody knows")
    assert node.process.wait(PATIENCE_S) != 0
    said = node.err.read_text()
    assert "Quote host data is not authorised" in said
    assert "Quote host data is not authorised" in node.out.read_text()
    assert "Traceback" not in said
    assert network.status_of(node.id) == ""


def test_a_node_whose_measurement_is_no_longer_allowed_is_refused(network: Network) -> None:
    measurement = {"measurement": virtual.MEASUREMENT}
    network.govern(Action("remove_virtual_measurement", measurement))
    try:
        node = network.knock()
        assert node.process.wait(PATIENCE_S) != 0
        assert "Quote does not contain known enclave measurement" in node.out.read_text()
    finally:
        network.govern(Action("add_virtual_measurement", measurement))


def test_a_joiner_of_another_service_is_not_talked_to(network: Network, tmp_path: Path) -> None:
    """It holds the certificate of a service that none of our nodes belongs to."""
    entropy = SystemEntropy()
    key = PrivateKey.generate(Curve.P384, entropy)
    cert = certs.self_signed(
        key, "CN=CCF Service", not_before=int(time.time()) - 60, days=1, entropy=entropy
    )
    real = network.service_cert
    network.service_cert = tmp_path / "other_service.pem"
    network.service_cert.write_text(cert)
    try:
        node = network.knock(network.nodes[0])
    finally:
        network.service_cert = real
    assert node.process.wait(PATIENCE_S) != 0
    assert "Early error when joining existing network" in node.out.read_text()
    assert network.status_of(node.id) == ""


# -- coming and going ----------------------------------------------------------------------------


def wait_for_answers(network: Network, load: Load, node: NetworkNode) -> None:
    """Until clients were answered by a node."""
    network.wait(
        lambda: any(
            op.node == node.number and op.outcome is Outcome.ANSWERED for op in load.operations()
        ),
        f"{node} to answer clients",
    )


def test_every_node_is_replaced_under_load(tmp_path: Path) -> None:
    with Network(tmp_path, 3) as network:
        with network.load(Plan(clients=4, pause_s=0.01, seed=5)) as load:
            for old in list(network.nodes):
                new = network.replace(old)
                assert network.status_of(new.id) == "Trusted"
                wait_for_answers(network, load, new)
        history = load.history()
        assert check(history) == []
        # The view changed at least once: the first primary is gone.
        assert len(history.views) > 1
        primary = network.primary()
        trusted = {
            n["node_id"]
            for n in primary.ask("/node/network/nodes")["nodes"]
            if n["status"] == "Trusted"
        }
        assert trusted == {node.id for node in network.serving.values()}
        network.stop()
        for node in network.nodes:
            assert node.err.read_text() == ""


def test_a_retired_node_serves_no_more_and_says_why(tmp_path: Path) -> None:
    with Network(tmp_path, 3) as network:
        node = network.backups()[0]
        node_id = node.id
        network.remove(node)

        def told() -> bool:
            details = node.consensus()
            return details.get("retirement_phase") in ("Completed", "RetiredCommitted")

        network.wait(told, "the retired node to know")
        connection = connect(network, node)
        answer = write(connection, 1)
        assert answer.status == 503
        assert "retired" in answer.text.lower()
        connection.close()
        assert node.process.poll() is None
        assert "retire" in node.out.read_text().lower()
        with network.client(network.primary()) as client:
            assert client.request("DELETE", f"/node/network/nodes/{node_id}").status == 200
        network.wait(lambda: network.status_of(node_id) == "", "the entry to be deleted")
        assert node.stop() == 0
