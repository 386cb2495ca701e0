"""A look at a whole network: every node is asked what it is doing, all at the same time.

The nodes whose addresses are given are asked first. The list of nodes is taken from the answer of
the one that is furthest ahead, since a node that was cut off does not know that it is behind; then
the nodes of the list that were not among them are asked. Each node speaks only for itself.

Promises not to fail as long as one node answers. A node that does not answer holds the view up for
a moment only, and stands in it with the reason; what a node refuses to tell is left empty. Changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from pyccf.cli.options import Target
from pyccf.client import ServiceError
from pyccf.client.types import Consensus, NetworkInfo, NodeInfo, NodeState
from pyccf.errors import PyccfError
from pyccf.types import NodeId, SeqNo, TxID, View

ASK_TIMEOUT_S = 2.0
"""Patience with one answer of one node."""
ASKED_MAX = 64
"""Nodes asked at the same time."""

PRIMARY, BACKUP = "primary", "backup"
_ROLES = {
    "Leader": PRIMARY,
    "Follower": BACKUP,
    "Candidate": "candidate",
    "PreVoteCandidate": "pre-vote candidate",
}
TRUSTED, RETIRED = "Trusted", "Retired"

T = TypeVar("T")


class NodeView(msgspec.Struct, frozen=True):
    """One node as the service lists it and as it speaks for itself."""

    node_id: NodeId | None
    """None if nothing is known but an address that does not answer."""
    name: str | None
    """Its name in the sandbox, if it is of one."""
    url: str
    status: str | None
    """In the list of nodes: Pending, Trusted or Retired; None if it is not listed (any more)."""
    removable: bool
    """Whether its retirement is complete, so that its process may stop."""
    problem: str | None
    """Why there is no answer; then all that follows is empty."""
    state: str | None = None
    role: str | None = None
    """primary, backup, candidate, pre-vote candidate, or none."""
    retirement_phase: str | None = None
    view: View | None = None
    last: str | None = None
    """Transaction id of its last entry."""
    committed: str | None = None
    """Transaction id up to which it knows entries to be committed."""
    behind: SeqNo | None = None
    """Entries that it lacks of those of the primary (or of the node furthest ahead)."""
    heard_ms: int | None = None
    """How long ago the primary last heard of it."""

    @property
    def seqno(self) -> SeqNo:
        """Seqno of its last entry, 0 if unknown."""
        return _seqno(self.last)

    @property
    def committed_seqno(self) -> SeqNo:
        """Seqno up to which it knows entries to be committed, 0 if unknown."""
        return _seqno(self.committed)


class NetworkView(msgspec.Struct, frozen=True):
    """A service and its nodes at one time."""

    service_status: str | None
    recovery_count: int
    view: View | None
    """The latest view any node is in."""
    primary_id: NodeId | None
    """The primary of that view, if it answers."""
    can_commit: bool
    """Whether the primary has a majority of every configuration in its view."""
    nodes: list[NodeView]

    @property
    def trusted(self) -> list[NodeView]:
        """The nodes that decide."""
        return [node for node in self.nodes if node.status == TRUSTED]

    @property
    def primary(self) -> NodeView | None:
        """The primary of the latest view."""
        found = [node for node in self.nodes if node.node_id == self.primary_id]
        return found[0] if found and self.primary_id is not None else None

    def find(self, name: str) -> NodeView | None:
        """The node of this name, id or beginning of an id; None if it is not the only one."""
        found = [
            node
            for node in self.nodes
            if node.node_id is not None
            and (node.name == name or (name and node.node_id.startswith(name.lower())))
        ]
        return found[0] if len(found) == 1 else None


class _Answer(msgspec.Struct, frozen=True):
    """What one node said."""

    url: str
    state: NodeState
    last: TxID | None
    committed: TxID | None
    consensus: Consensus | None
    network: NetworkInfo | None
    nodes: list[NodeInfo]
    removable: list[NodeId]

    @property
    def ahead(self) -> tuple[View, SeqNo, SeqNo]:
        """By which the node furthest ahead is found: view, committed entries, entries."""
        view = self.consensus.current_view if self.consensus else 0
        committed = self.committed.seqno if self.committed else 0
        return view, committed, self.last.seqno if self.last else 0


def look(target: Target, timeout_s: float = ASK_TIMEOUT_S) -> NetworkView:
    """Ask all nodes of a service. Raises the first node's error if none of them answers."""
    answers, problems = _ask_all(target, target.urls, timeout_s)
    if not answers:
        raise next(iter(problems.values()))
    best = max(answers, key=lambda answer: answer.ahead)
    known = [answer.state.node_id for answer in answers]
    addresses = {one.node_id: url for one in best.nodes if (url := address(one)) is not None}
    further = [
        url for node_id, url in addresses.items() if node_id not in known and url not in target.urls
    ]
    more, more_problems = _ask_all(target, further, timeout_s)
    answers += more
    problems |= more_problems
    return _assemble(target, best, answers, problems, addresses)


def address(node: NodeInfo) -> str | None:
    """Where a node can be asked: the first of its interfaces, by name, that speaks TLS."""
    for _, interface in sorted(node.rpc_interfaces.items()):
        endorsement = interface.get("endorsement")
        if isinstance(endorsement, dict) and endorsement.get("authority") == "Unsecured":
            continue
        published = interface.get("published_address") or interface.get("bind_address")
        if isinstance(published, str):
            return f"https://{published}"
    return None


def _ask_all(
    target: Target, urls: Sequence[str], timeout_s: float
) -> tuple[list[_Answer], dict[str, PyccfError]]:
    """Answers, and what hindered those that gave none by their addresses."""
    if not urls:
        return [], {}

    def ask(url: str) -> _Answer | PyccfError:
        try:
            return _ask(target, url, timeout_s)
        except PyccfError as error:
            return error

    with ThreadPoolExecutor(min(len(urls), ASKED_MAX)) as pool:
        said = list(zip(urls, pool.map(ask, urls), strict=True))
    answers = [answer for _, answer in said if isinstance(answer, _Answer)]
    problems = {url: error for url, error in said if isinstance(error, PyccfError)}
    return answers, problems


def _ask(target: Target, url: str, timeout_s: float) -> _Answer:
    with target.connect(url, timeout_s=timeout_s) as client:
        reply = client.get("/node/state")
        state = reply.decode(NodeState)
        # A node that waits to be trusted has neither consensus nor a service yet.
        consensus = _unless_refused(client.consensus)
        network = _unless_refused(client.network)
        return _Answer(
            url,
            state,
            reply.txid,
            _unless_refused(client.last_committed),
            consensus,
            network,
            _unless_refused(client.nodes) or [],
            [node.node_id for node in _unless_refused(client.removable_nodes) or []],
        )


def _unless_refused(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except ServiceError:
        return None


def _assemble(
    target: Target,
    best: _Answer,
    answers: Sequence[_Answer],
    problems: dict[str, PyccfError],
    addresses: dict[NodeId, str],
) -> NetworkView:
    sandbox = target.sandbox.nodes if target.sandbox else []
    names = {node.node_id: f"node{i}" for i, node in enumerate(sandbox)}
    urls = addresses | {node.node_id: node.url for node in sandbox}
    ids = {url: node_id for node_id, url in urls.items()}
    by_id = {answer.state.node_id: answer for answer in answers}
    view, primary = _primary(answers)
    front = (primary or best).last
    acks = primary.consensus.acks if primary is not None and primary.consensus else {}
    status = {node.node_id: node.status for node in best.nodes}

    def row(node_id: NodeId) -> NodeView:
        answer = by_id.get(node_id)
        url = answer.url if answer is not None else urls.get(node_id, "")
        common = (
            node_id,
            names.get(node_id),
            url,
            status.get(node_id),
            node_id in best.removable,
        )
        if answer is None:
            return NodeView(*common, _problem(url, problems))
        consensus = answer.consensus
        ack = acks.get(node_id)
        return NodeView(
            *common,
            None,
            state=answer.state.state,
            role=_role(consensus),
            retirement_phase=consensus.retirement_phase if consensus else None,
            view=consensus.current_view if consensus else None,
            last=_text(answer.last),
            committed=_text(answer.committed),
            behind=max(0, front.seqno - answer.last.seqno) if front and answer.last else None,
            heard_ms=ack.last_received_ms if ack else None,
        )

    # The order of the sandbox, then of the addresses given, then of the ids.
    given = [answer.state.node_id for answer in answers if answer.url in target.urls]
    order = [*names, *given, *sorted(status), *sorted(by_id)]
    rows = [row(one) for one in dict.fromkeys(order) if one in status or one in by_id]
    rows += [
        NodeView(None, None, url, None, False, problem.message)
        for url, problem in problems.items()
        if url not in ids
    ]
    return NetworkView(
        best.network.service_status if best.network else None,
        best.network.recovery_count if best.network else 0,
        view,
        None if primary is None else primary.state.node_id,
        _can_commit(primary, answers),
        rows,
    )


def _problem(url: str, problems: dict[str, PyccfError]) -> str:
    """Why there is no answer of a node."""
    if url in problems:
        return problems[url].message
    return f"Another node answers at {url}" if url else "It has no address to ask"


def _primary(answers: Sequence[_Answer]) -> tuple[View | None, _Answer | None]:
    """The latest view of all, and the node that leads it."""
    views = [answer.consensus.current_view for answer in answers if answer.consensus]
    if not views:
        return None, None
    for answer in answers:
        if _role(answer.consensus) == PRIMARY and answer.ahead[0] == max(views):
            return max(views), answer
    return max(views), None


def _can_commit(primary: _Answer | None, answers: Sequence[_Answer]) -> bool:
    if primary is None or primary.consensus is None:
        return False
    view = primary.consensus.current_view
    with_it = {
        answer.state.node_id
        for answer in answers
        if _role(answer.consensus) in (PRIMARY, BACKUP) and answer.ahead[0] == view
    }
    return all(
        2 * len(with_it & config.nodes.keys()) > len(config.nodes)
        for config in primary.consensus.configs
    )


def _role(consensus: Consensus | None) -> str:
    return "none" if consensus is None else _ROLES.get(consensus.leadership_state or "", "none")


def _text(txid: TxID | None) -> str | None:
    return None if txid is None else str(txid)


def _seqno(text: str | None) -> SeqNo:
    txid = None if text is None else TxID.parse(text)
    return 0 if txid is None else txid.seqno
