"""pyccf.cli.network_view: what is seen of networks in all conditions."""

from __future__ import annotations

import msgspec
import pytest

from pyccf.cli.network_view import NodeView, address, look
from pyccf.cli.options import SandboxInfo, SandboxNode, Target
from pyccf.client import Unreachable
from pyccf.client.types import NodeInfo
from support.fake_network import IDS, FakeNetwork
from support.fake_service import URLS, FakeService

ADDRESSES = [url.removeprefix("https://") for url in URLS]


@pytest.fixture
def network(service: FakeService) -> FakeNetwork:
    return FakeNetwork(service)


@pytest.fixture
def target(sandbox: SandboxInfo) -> Target:
    """Knows one node only."""
    return Target(URLS[:1], sandbox.service_cert)


def roles(nodes: list[NodeView]) -> list[str | None]:
    return [node.role for node in nodes]


def test_all_is_well(network: FakeNetwork, target: Target) -> None:
    network.nodes[2].last = "2.33"
    network.publish()
    view = look(target)
    assert (view.service_status, view.recovery_count, view.view) == ("Open", 1, 2)
    assert view.primary_id == IDS[0]
    assert view.can_commit
    assert [node.node_id for node in view.nodes] == list(IDS)
    assert [node.url for node in view.nodes] == list(URLS)
    assert roles(view.nodes) == ["primary", "backup", "backup"]
    assert [node.behind for node in view.nodes] == [0, 0, 7]
    assert [node.heard_ms for node in view.nodes] == [None, 12, 1234]
    assert view.nodes[2].last == "2.33"
    assert (view.nodes[2].seqno, view.nodes[2].committed_seqno) == (33, 38)
    assert view.primary == view.nodes[0]
    assert view.trusted == view.nodes
    assert not any(node.problem for node in view.nodes)


def test_a_node_that_is_down(network: FakeNetwork, target: Target) -> None:
    network.service.down = {ADDRESSES[1]}
    view = look(target)
    down = view.nodes[1]
    assert "Connection refused" in (down.problem or "")
    assert (down.node_id, down.status, down.role, down.seqno) == (IDS[1], "Trusted", None, 0)
    assert view.can_commit
    network.service.down = set(ADDRESSES[1:])
    assert not look(target).can_commit


def test_no_node_answers(network: FakeNetwork, target: Target) -> None:
    network.service.down = set(ADDRESSES)
    with pytest.raises(Unreachable):
        look(target)


def test_a_primary_that_was_cut_off_is_not_believed(
    network: FakeNetwork, sandbox: SandboxInfo
) -> None:
    new = network.nodes[1]
    new.leadership, new.view, new.last = "Leader", 4, "4.39"
    network.nodes[2].view = 4
    network.status[0] = "Retired"
    network.publish()
    network.service.on("GET", f"{URLS[0]}/node/network/nodes", {"nodes": []})
    view = look(Target(URLS, sandbox.service_cert))
    assert (view.view, view.primary_id) == (4, IDS[1])
    assert roles(view.nodes) == ["primary", "primary", "backup"]
    assert view.nodes[0].status == "Retired"
    assert view.can_commit
    network.nodes[2].view = 3
    network.publish()
    assert not look(Target(URLS, sandbox.service_cert)).can_commit


def test_an_election(network: FakeNetwork, target: Target) -> None:
    for node, role in zip(
        network.nodes, ("Follower", "Candidate", "PreVoteCandidate"), strict=True
    ):
        node.leadership = role
    network.nodes[1].view = 3
    network.publish()
    view = look(target)
    assert (view.primary_id, view.primary, view.view) == (None, None, 3)
    assert roles(view.nodes) == ["backup", "candidate", "pre-vote candidate"]
    assert not view.can_commit


def test_retirement(network: FakeNetwork, target: Target) -> None:
    gone = network.nodes[2]
    gone.leadership, gone.membership, gone.phase = None, "Retired", "RetiredCommitted"
    network.status[2] = "Retired"
    network.removable = {2}
    network.publish()
    view = look(target)
    assert [node.removable for node in view.nodes] == [False, False, True]
    assert (view.nodes[2].role, view.nodes[2].retirement_phase) == ("none", "RetiredCommitted")
    assert view.trusted == view.nodes[:2]


def test_the_node_that_has_committed_most_is_asked_for_the_list(
    network: FakeNetwork, sandbox: SandboxInfo
) -> None:
    network.nodes[0].committed = "2.12"
    network.publish()
    key = ("GET", f"{URLS[0]}/node/network/removable_nodes")
    network.service.answers.pop(key)
    network.service.on(*key, {"nodes": [{"node_id": IDS[1], "status": "x", "primary": False}]})
    assert not any(node.removable for node in look(Target(URLS, sandbox.service_cert)).nodes)


def test_a_node_that_waits_to_be_trusted(network: FakeNetwork, sandbox: SandboxInfo) -> None:
    new = network.nodes[2]
    new.state, new.has_consensus, new.last, new.lists = "Pending", False, "0.0", []
    network.status[2] = "Pending"
    network.publish()
    del network.service.answers[("GET", f"{URLS[2]}/node/commit")]
    view = look(Target((URLS[2], *URLS[:2]), sandbox.service_cert))
    assert [node.node_id for node in view.nodes] == [IDS[2], IDS[0], IDS[1]]
    waiting = view.nodes[0]
    assert (waiting.status, waiting.state, waiting.role) == ("Pending", "Pending", "none")
    assert (waiting.view, waiting.committed) == (None, None)
    alone = look(Target((URLS[2],), sandbox.service_cert))
    assert (alone.service_status, alone.view, alone.primary) == (None, None, None)
    assert [node.status for node in alone.nodes] == [None]


def test_a_node_that_is_forgotten(network: FakeNetwork, sandbox: SandboxInfo) -> None:
    for node in network.nodes:
        node.lists = [0, 1]
    network.publish()
    nodes = [SandboxNode(url, node_id, 1) for url, node_id in zip(URLS, IDS, strict=True)]
    known = msgspec.structs.replace(sandbox, nodes=nodes)
    target = Target(URLS, sandbox.service_cert, sandbox=known)
    view = look(target)
    assert [node.name for node in view.nodes] == ["node0", "node1", "node2"]
    assert [node.status for node in view.nodes] == ["Trusted", "Trusted", None]
    network.service.down = {ADDRESSES[2]}
    assert [node.name for node in look(target).nodes] == ["node0", "node1"]
    without = look(Target(URLS, sandbox.service_cert))
    assert (without.nodes[2].node_id, without.nodes[2].url) == (None, URLS[2])


def test_another_node_at_the_address(network: FakeNetwork, target: Target) -> None:
    network.service.on("GET", f"{URLS[1]}/node/state", {"node_id": "dd" * 32, "state": "x"})
    network.service.answers[("GET", f"{URLS[1]}/node/state")].pop(0)
    view = look(target)
    assert [node.node_id for node in view.nodes] == [*IDS, "dd" * 32]
    assert view.nodes[1].problem == f"Another node answers at {URLS[1]}"
    assert (view.nodes[3].url, view.nodes[3].status) == (URLS[1], None)


def test_nodes_are_found_by_name_and_by_the_beginning_of_the_id(
    network: FakeNetwork, sandbox: SandboxInfo
) -> None:
    nodes = [SandboxNode(URLS[1], IDS[1], 1)]
    known = msgspec.structs.replace(sandbox, nodes=nodes)
    view = look(Target(URLS, sandbox.service_cert, sandbox=known))
    assert [node.node_id for node in view.nodes] == [IDS[1], IDS[0], IDS[2]]
    assert view.find("node0") == view.nodes[0]
    assert view.find(IDS[2]) == view.find("CC") == view.nodes[2]
    assert view.find("") is view.find("dd") is view.find("node1") is None
    twins = msgspec.structs.replace(view, nodes=[view.nodes[0], view.nodes[0]])
    assert twins.find("bb") is None


def test_addresses_of_nodes() -> None:
    def one(**interfaces: dict[str, object]) -> str | None:
        return address(NodeInfo(node_id="n", status="", primary=False, rpc_interfaces=interfaces))

    assert one(b={"bind_address": "h:2"}, a={"published_address": "h:1"}) == "https://h:1"
    plain: dict[str, object] = {"bind_address": "h:1", "endorsement": {"authority": "Unsecured"}}
    assert one(a=plain) is None
    assert one(a=plain, b={"bind_address": "h:2"}) == "https://h:2"
    assert one() is None
