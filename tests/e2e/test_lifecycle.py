"""The life of nodes under governance: trust, certificates, secrets, retirement, coming back."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf.audit.verify import verify
from pyccf.cli.governing import decide
from pyccf.client import ServiceError
from pyccf.client.types import Action
from pyccf.crypto import certs, chains
from support.network import CALM, PATIENCE_S, Network, NetworkNode

YEAR = 366


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with Network(tmp_path_factory.mktemp("life"), 2, settings=CALM) as network:
        yield network


def shown(node: NetworkNode) -> str:
    """The certificate a node presents to clients."""
    return ssl.get_server_certificate(node.address(), timeout=PATIENCE_S)


def self_signed(node: NetworkNode) -> str:
    return str(node.ask("/node/self_signed_certificate")["self_signed_certificate"])


def service_certificate(node: NetworkNode) -> str:
    return str(node.ask("/node/network")["service_certificate"])


def period(begin: int, days: int) -> dict[str, Any]:
    return {"valid_from": certs.time_text(begin), "validity_period_days": days}


def refused(network: Network, name: str, args: dict[str, Any]) -> str:
    """Why a proposal that all voted for could not be applied."""
    with network.client() as client, pytest.raises(ServiceError) as caught:
        decide(client, [Action(name, args)], [network.member])
    return str(caught.value)


def test_certificates_are_renewed_on_every_node(network: Network) -> None:
    one, two = network.nodes[:2]
    before = {node.number: (shown(node), self_signed(node)) for node in (one, two)}
    begin = int(time.time()) - 100
    network.govern(Action("set_node_certificate_validity", {"node_id": two.id, **period(begin, 7)}))
    network.wait(lambda: shown(two) != before[1][0], "the second node's certificate")
    assert certs.validity(shown(two)) == (begin, begin + 7 * 86400 - 1)
    assert certs.validity(self_signed(two)) == certs.validity(shown(two))
    assert (shown(one), self_signed(one)) == before[0]
    network.govern(Action("set_all_nodes_certificate_validity", period(begin, 8)))
    for node in (one, two):
        network.wait(
            lambda node=node: certs.validity(shown(node))[1] == begin + 8 * 86400 - 1,  # type: ignore[misc]
            f"the certificate of {node}",
        )
        assert chains.check_endorsed(shown(node), service_certificate(node), ignore_time=True)
    network.synced()


def test_the_service_certificate_is_renewed_on_every_node(network: Network) -> None:
    one, two = network.nodes[:2]
    old = service_certificate(one)
    network.govern(
        Action("set_service_certificate_validity", period(int(time.time()) - 100, 30)),
        lambda: service_certificate(one) != old,
    )
    network.wait(lambda: service_certificate(two) == service_certificate(one), "both to know it")
    renewed = service_certificate(one)
    assert certs.spki(renewed) == certs.spki(old)
    # Who trusts the old one can still join: the key is the same.
    third = network.join()
    network.trust(third)
    assert service_certificate(third) == renewed
    network.remove(third)
    assert third.stop() == 0


def test_what_cannot_be_is_refused_with_the_reason(network: Network) -> None:
    begin = int(time.time())
    unknown = "ab" * 32
    pending = network.join()
    named = {"node_id": pending.id}
    assert f"Validity period {YEAR} is not allowed: max allowed is 365" in refused(
        network, "transition_node_to_trusted", {**named, **period(begin, YEAR)}
    )
    assert f"No such node: {unknown}" in refused(
        network, "transition_node_to_trusted", {"node_id": unknown, **period(begin, 5)}
    )
    assert f"Node {pending.id} is not trusted" in refused(
        network, "set_node_certificate_validity", {**named, **period(begin, 5)}
    )
    assert f"Validity period {YEAR} (days) is not allowed" in refused(
        network, "set_all_nodes_certificate_validity", period(begin, YEAR)
    )
    assert f"Validity period {YEAR} (days) is not allowed" in refused(
        network, "set_service_certificate_validity", period(begin, YEAR)
    )
    assert network.status_of(pending.id) == "Pending"
    # A pending node is removed without a trace, but asks again, and waits again.
    assert pending.ask("/node/state") is None, "its interface has no certificate yet"
    pending.kill()
    network.govern(
        Action("remove_node", {"node_id": pending.id}), lambda: network.status_of(pending.id) == ""
    )


def test_a_rekey_reaches_nodes_and_those_that_join_later(network: Network) -> None:
    with network.load():
        network.govern(Action("trigger_ledger_rekey", None))
        third = network.join(network.nodes[1])
        network.trust(third)
        network.govern(Action("trigger_ledger_rekey", None))
        network.synced()
        network.remove(third)
    assert third.stop() == 0
    assert verify([third.folder / "ledger"]).ok
    network.synced()


def test_a_removed_node_says_so_and_comes_back_as_another(network: Network) -> None:
    third = network.join()
    network.trust(third)
    network.synced()
    old_id = third.id
    network.remove(third)
    network.wait(
        lambda: third.consensus().get("retirement_phase") == "RetiredCommitted",
        "it to know that it left",
    )
    assert "This node was retired" in third.out.read_text()
    assert third.ask("/node/state")["node_id"] == old_id
    status, body = third.get("/app/commit")
    assert status >= 400
    assert "This node was retired from the network" in body.decode()
    assert third.stop() == 0
    with network.client() as client:
        assert client.request("DELETE", f"/node/network/nodes/{old_id}").status == 200
    assert network.status_of(old_id) == ""
    kept = {f.name: f.read_bytes() for f in (third.folder / "ledger").iterdir()}
    assert kept
    # A new process over the ledger of the old one: what is the same is not written again.
    (third.folder / "node.pid").unlink()
    for name in ("rpc.json", "nodecert.pem"):
        (third.folder / name).unlink()
    place = network.links.place(third.number, third.folder)
    again = NetworkNode(third.folder, third.number, place)
    network.nodes.append(again)
    again.wait_for("nodecert.pem")
    assert again.id != old_id
    network.wait(lambda: network.status_of(again.id) == "Pending", "it to be pending")
    network.trust(again)
    network.synced([again])
    committed = {n: data for n, data in kept.items() if n.endswith(".committed")}
    for name, data in committed.items():
        assert (third.folder / "ledger" / name).read_bytes() == data
    network.stop()
    for node in network.nodes:
        assert node.err.read_text() == "", node
    for folder in (Path(node.folder) for node in (network.nodes[0], again)):
        assert verify([folder / "ledger"]).ok
