"""Scenario files: CCF's own tests of its Raft, run line by line against ours.

A file has one command per line, comma-separated; `#` starts a comment and `====` ends the file. At
the end the network must come together: a leader signs, everybody active is reconnected and must
agree (spec: consensus-cft.md §15). The rules of `invariants` are checked after everything that
happens to a node, and so is that what is committed is on a majority of each configuration.

Beside CCF's commands there are three of our own, for what CCF's engine has not:

    setting,KEY,N           a number of RaftSettings, for nodes created afterwards
    congested,A,B,true|false  the way from A to B is full, or free again
    hand_over,A             A, a primary, is about to stop

What happens is printed to standard output as a Mermaid sequence diagram, in lines that start with
`<RaftDriver>`. Whatever fails is said on standard error with file and line, nothing else is.
Unknown commands and wrong numbers of arguments are failures.
"""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

import msgspec

from pyccf.consensus.api import Leadership, PeerMessage
from pyccf.consensus.raft import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    ProposeRequestVote,
    RaftSettings,
    RequestVote,
    RequestVoteResponse,
)
from pyccf.crypto.entropy import SeededEntropy
from pyccf.sim.invariants import check_state, phase_in
from pyccf.sim.replicas import COMPLETED, Replica
from pyccf.sim.steps import check_step
from pyccf.sim.stub import RECONFIGURATION, RETIRED_COMMITTED, StubNode
from pyccf.types import NodeId, SeqNo

SETTINGS = RaftSettings(
    message_timeout=10,
    election_timeout=100,
    election_ticks=1,
    pre_vote=False,
    batch_bytes=20_000,
    batch_entries=20,
)
"""Those of CCF's driver (§15.2)."""

DISPATCH_ROUNDS_MAX = 5
SYNC_ROUNDS_MAX = 20

READ_ONLY = frozenset(
    (
        "state_one",
        "state_all",
        "summarise_log",
        "summarise_logs_all",
        "assert_state_sync",
        "assert_commit_idx",
        "assert_detail",
        "assert_!detail",
    )
)
"""Commands after which nothing can have changed (§15.3)."""


class ScenarioFailed(Exception):
    """A command cannot be carried out, or what it asserts or a rule demands does not hold."""


class Driver:
    """The nodes of one scenario, and its commands as methods named `do_<command>`."""

    def __init__(self, out: TextIO, seed: str = "") -> None:
        self._out = out
        self._seed = seed
        self._rng = random.Random(f"scenario {seed}")
        self._settings = SETTINGS
        self._nodes: dict[NodeId, StubNode] = {}
        """Ascending by id."""
        self._connections: set[tuple[NodeId, NodeId]] = set()
        self._seen: dict[NodeId, Replica] = {}
        self._waived: set[str] = set()
        """Rules that the script itself broke, with commands that force a state."""
        self._judged = True
        """Whether any rule applies: not once nodes join that cannot know who decided before."""

    # --- lines ----------------------------------------------------------------------------------

    def run_line(self, words: list[str]) -> None:
        """Carry out one command. Raises ScenarioFailed."""
        name, *args = words
        method = getattr(self, "do_" + name.replace("!", "not_"), None)
        if method is None:
            raise ScenarioFailed(f"unknown command {name}")
        self._check_arguments(method, name, args)
        method(*args)
        if name not in READ_ONLY:
            for node_id in self._nodes:
                self.do_assert_commit_safety(node_id)

    def _check_arguments(self, method: Callable[..., None], name: str, args: list[str]) -> None:
        try:
            inspect.signature(method).bind(*args)
        except TypeError:
            raise ScenarioFailed(f"{name} does not take {len(args)} arguments") from None

    def finish(self) -> None:
        """What is implied at the end of every file."""
        self.do_loop_until_sync()

    # --- printing -------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._out.write(f"<RaftDriver>  {text}\n")

    def _note(self, node_id: NodeId, text: str) -> None:
        self._say(f"Note right of {node_id}: {text}")

    def _say_reports(self, node: StubNode) -> None:
        for level, text in node.reports:
            self._note(node.id, f"[{level}] {text}")
        node.reports.clear()

    # --- rules ----------------------------------------------------------------------------------

    def _happened(self, node: StubNode) -> None:
        """Something happened to a node: every rule must still hold."""
        self._say_reports(node)
        before = self._seen
        after = {**before, node.id: node.observe()}
        sent = [(node.id, term) for _, m in node.outbox if (term := _term(m)) is not None]
        found = [
            *check_step(before, after),
            *check_state(after, sent, changed=(node.id,)),
        ]
        self._seen = after
        for violation in found:
            if self._judged and violation.rule not in self._waived:
                raise ScenarioFailed(str(violation))

    # --- finding --------------------------------------------------------------------------------

    def _node(self, node_id: NodeId) -> StubNode:
        node = self._nodes.get(node_id)
        if node is None:
            raise ScenarioFailed(f"there is no node {node_id}")
        return node

    def _leaders(self) -> list[StubNode]:
        """Ascending by view and id."""
        found = [n for n in self._nodes.values() if n.raft.leadership is Leadership.LEADER]
        return sorted(found, key=lambda n: (n.raft.view, n.id))

    def _leader_of(self, term: str) -> StubNode | None:
        """The primary of a view; of `latest`, None when there is no leader at all."""
        leaders = self._leaders()
        if term == "latest":
            return leaders[-1] if leaders else None
        view = _number(term)
        for node in leaders:
            if node.raft.view == view:
                return node
        raise ScenarioFailed(f"no node leads view {view}")

    # --- making nodes ---------------------------------------------------------------------------

    def _create(self, node_id: NodeId) -> StubNode:
        if node_id in self._nodes:
            return self._nodes[node_id]
        node = StubNode(node_id, self._settings, SeededEntropy(f"{self._seed} {node_id}"))
        node.raft.ticking = True
        self._nodes[node_id] = node
        self._nodes = dict(sorted(self._nodes.items()))
        self._seen[node_id] = node.observe()
        self._say(f"Note over {node_id}: Node {node_id} created")
        return node

    def _create_connected(self, node_id: NodeId) -> None:
        self._create(node_id)
        self.do_reconnect_node(node_id)

    def _replicate(self, term: str, **entry: object) -> None:
        leader = self._leader_of(term)
        if leader is None:
            return
        txid = leader.order(**entry)  # type: ignore[arg-type]
        self._note(leader.id, f"replicated {txid} {entry.get('data', '')}".rstrip())
        self._happened(leader)

    def _reconfigure(self, term: str, nodes: Iterable[NodeId]) -> None:
        if any(node.given for node in self._nodes.values()):
            self._judged = False
        self._replicate(term, data="", kind=RECONFIGURATION, nodes=tuple(nodes))

    def do_pre_vote_enabled(self, value: str) -> None:
        self._settings = msgspec.structs.replace(self._settings, pre_vote=_boolean(value))

    def do_setting(self, key: str, value: str) -> None:
        if key not in RaftSettings.__struct_fields__ or key == "pre_vote":
            raise ScenarioFailed(f"there is no setting {key}")
        self._settings = msgspec.structs.replace(self._settings, **{key: _number(value)})

    def do_start_node(self, node_id: str) -> None:
        if self._nodes:
            raise ScenarioFailed("start_node must make the first node")
        node = self._create(node_id)
        del self._seen[node_id]
        node.raft.start()
        self._reconfigure("2", [node_id])

    def do_trust_node(self, term: str, node_id: str) -> None:
        self.do_trust_nodes(term, node_id)

    def do_trust_nodes(self, term: str, first: str, *others: str) -> None:
        for node_id in (first, *others):
            self._create_connected(node_id)
        self._reconfigure(term, self._nodes)

    def do_swap_node(self, term: str, out: str, new: str) -> None:
        self.do_swap_nodes(term, "out", out, "in", new)

    def do_swap_nodes(self, term: str, *words: str) -> None:
        lists: dict[str, list[str]] = {"in": [], "out": []}
        current: list[str] | None = None
        for word in words:
            if word in lists:
                current = lists[word]
            elif current is None:
                raise ScenarioFailed(f"swap_nodes: {word} is neither in nor out")
            else:
                current.append(word)
        for node_id in lists["in"]:
            self._create_connected(node_id)
        for node_id in lists["out"]:
            self._node(node_id)
        self._reconfigure(term, [n for n in self._nodes if n not in lists["out"]])

    def do_cleanup_nodes(self, term: str, first: str, *others: str) -> None:
        nodes = (first, *others)
        for node_id in nodes:
            self._node(node_id)
        leader = self._leader_of(term)
        if leader is not None:
            log = leader.observe()
            if any(phase_in(log, n) != COMPLETED for n in nodes):
                self._waived.add("RetiredCommittedInv")
        self._replicate(term, data="", kind=RETIRED_COMMITTED, nodes=nodes)

    # --- deprecated -----------------------------------------------------------------------------

    def do_nodes(self, first: str, *others: str) -> None:
        # These nodes find themselves in a configuration that nobody gave them, in view 0, and keep
        # what nobody signed until something is committed.
        self._waived |= {
            "MonoLogInv",
            "NoLeaderBeforeInitialTerm",
            "StateTransitionsProp",
            "PendingBecomesFollowerProp",
        }
        made = [self._create(n) for n in (first, *others)]
        for node in made:
            node.give({n.id: "" for n in made})
            self._happened(node)

    def do_create_new_node(self, node_id: str) -> None:
        self._create(node_id)

    def do_replicate_new_configuration(self, term: str, first: str, *others: str) -> None:
        for node_id in (first, *others):
            self._create(node_id)
        self._reconfigure(term, (first, *others))

    # --- connections ----------------------------------------------------------------------------

    def do_connect(self, a: str, b: str) -> None:
        self._node(a), self._node(b)
        self._connections |= {(a, b), (b, a)}

    def do_reconnect(self, a: str, b: str) -> None:
        self.do_connect(a, b)

    def do_disconnect(self, a: str, b: str) -> None:
        self._node(a), self._node(b)
        self._connections -= {(a, b), (b, a)}

    def do_disconnect_node(self, node_id: str) -> None:
        for other in self._nodes:
            if other != node_id:
                self.do_disconnect(node_id, other)

    def do_reconnect_node(self, node_id: str) -> None:
        for other in self._nodes:
            if other != node_id:
                self.do_connect(node_id, other)

    # --- time -----------------------------------------------------------------------------------

    def do_periodic_one(self, node_id: str, ms: str) -> None:
        node = self._node(node_id)
        node.raft.tick(_number(ms))
        self._happened(node)

    def do_periodic_all(self, ms: str) -> None:
        for node_id in self._nodes:
            self.do_periodic_one(node_id, ms)

    # --- messages -------------------------------------------------------------------------------

    def _deliver(self, source: StubNode, target_id: NodeId, message: PeerMessage) -> bool:
        """Hand over one message; False when it is lost on the way."""
        arrow = (
            "-->>" if isinstance(message, AppendEntriesResponse | RequestVoteResponse) else "->>"
        )
        lost = arrow.replace(">>", "X")
        text = _describe(message)
        full = source.with_entries(message)
        target = self._nodes.get(target_id)
        if target is None or full is None or (source.id, target_id) not in self._connections:
            self._say(f"{source.id}{lost}{target_id}: {text}")
            return False
        self._say(f"{source.id}{arrow}{target_id}: {text}")
        assert isinstance(full, Message)
        target.raft.handle(source.id, full)
        self._happened(target)
        return True

    def _dispatch(self, node: StubNode, at_most: int | None = None) -> None:
        count = 0
        while node.outbox and (at_most is None or count < at_most):
            target, message = node.outbox.popleft()
            count += self._deliver(node, target, message)

    def do_dispatch_one(self, node_id: str) -> None:
        self._dispatch(self._node(node_id))

    def do_dispatch_all_once(self) -> None:
        due = {node.id: len(node.outbox) for node in self._nodes.values()}
        for node_id, count in due.items():
            self._dispatch(self._nodes[node_id], count)

    def do_dispatch_all(self) -> None:
        for _ in range(DISPATCH_ROUNDS_MAX):
            if not any(node.outbox for node in self._nodes.values()):
                return
            self.do_dispatch_all_once()

    def do_dispatch_single(self, source_id: str, target_id: str) -> None:
        source = self._node(source_id)
        self._node(target_id)
        for at, (target, message) in enumerate(source.outbox):
            if target == target_id:
                del source.outbox[at]
                self._deliver(source, target, message)
                return

    def do_drop_pending(self, node_id: str) -> None:
        self._node(node_id).outbox.clear()

    def do_drop_pending_to(self, source_id: str, target_id: str) -> None:
        source = self._node(source_id)
        self._node(target_id)
        kept = [pair for pair in source.outbox if pair[0] != target_id]
        source.outbox.clear()
        source.outbox.extend(kept)

    def do_shuffle_one(self, node_id: str) -> None:
        outbox = self._node(node_id).outbox
        shuffled = list(outbox)
        self._rng.shuffle(shuffled)
        outbox.clear()
        outbox.extend(shuffled)

    def do_shuffle_all(self) -> None:
        for node_id in self._nodes:
            self.do_shuffle_one(node_id)

    def do_congested(self, node_id: str, peer: str, value: str) -> None:
        self._node(peer)
        node = self._node(node_id)
        node.raft.congested(peer, _boolean(value))
        self._happened(node)

    def do_hand_over(self, node_id: str) -> None:
        node = self._node(node_id)
        if node.raft.hand_over() is None:
            raise ScenarioFailed(f"{node_id} has nobody to hand over to")
        self._happened(node)

    # --- ordering -------------------------------------------------------------------------------

    def do_replicate(self, term: str, data: str) -> None:
        self._replicate(term, data=data)

    def do_emit_signature(self, term: str) -> None:
        self._replicate(term, data="signature", committable=True)

    # --- looking --------------------------------------------------------------------------------

    def do_state_one(self, node_id: str) -> None:
        raft = self._node(node_id).raft
        self._note(
            node_id,
            f"{raft.leadership.value} @{raft.view}, last {raft.term_of(raft.last)}.{raft.last},"
            f" committed {raft.committed}",
        )

    def do_state_all(self) -> None:
        for node_id in self._nodes:
            self.do_state_one(node_id)

    def do_summarise_log(self, node_id: str) -> None:
        text = ", ".join(
            f"[{e.view}.{e.seqno}]" if e.committable else f"{e.view}.{e.seqno}"
            for e in self._node(node_id).ledger
        )
        self._note(node_id, f"log {text}")

    def do_summarise_logs_all(self) -> None:
        for node_id in self._nodes:
            self.do_summarise_log(node_id)

    def do_summarise_messages(self, source_id: str, target_id: str) -> None:
        self._node(target_id)
        for target, message in self._node(source_id).outbox:
            if target == target_id:
                self._note(source_id, f"to {target}: {_describe(message)}")

    # --- assertions -----------------------------------------------------------------------------

    def _out_of_sync(self, nodes: Iterable[StubNode]) -> str | None:
        """How these nodes differ; None when they are in one state."""
        first: StubNode | None = None
        for node in nodes:
            if first is None:
                first = node
                continue
            a, b = first.raft, node.raft
            for what, x, y in (
                ("view", a.view, b.view),
                ("last seqno", a.last, b.last),
                ("committed seqno", a.committed, b.committed),
            ):
                if x != y:
                    return f"{what} of {first.id} is {x}, of {node.id} {y}"
            if first.ledger != node.ledger:
                return f"the ledgers of {first.id} and {node.id} differ"
        return None

    def do_assert_state_sync(self) -> None:
        difference = self._out_of_sync(self._nodes.values())
        if difference:
            raise ScenarioFailed(difference)

    def do_assert_commit_safety(self, node_id: str) -> None:
        node = self._node(node_id)
        committed = node.raft.committed
        prefix = node.ledger[:committed]
        for config in node.raft.configs:
            if config.idx > committed:
                continue
            holders = [
                n
                for n in config.nodes
                if n in self._nodes and self._nodes[n].ledger[:committed] == prefix
            ]
            if 2 * len(holders) <= len(config.nodes):
                raise ScenarioFailed(
                    f"what {node_id} has committed up to {committed} is on {len(holders)}"
                    f" of {len(config.nodes)} nodes of the configuration at {config.idx}"
                )

    def do_assert_commit_idx(self, node_id: str, seqno: str) -> None:
        committed = self._node(node_id).raft.committed
        if committed != _number(seqno):
            raise ScenarioFailed(f"{node_id} has committed {committed}, not {seqno}")

    def _detail(self, node_id: NodeId, key: str) -> str:
        details = self._node(node_id).raft.details()
        value = details.get(key)
        if value is None:
            raise ScenarioFailed(f"{node_id} has no {key}")
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    def do_assert_detail(self, node_id: str, key: str, value: str) -> None:
        found = self._detail(node_id, key)
        if found != value:
            raise ScenarioFailed(f"{key} of {node_id} is {found}, not {value}")

    def do_assert_not_detail(self, node_id: str, key: str, value: str) -> None:
        if self._detail(node_id, key) == value:
            raise ScenarioFailed(f"{key} of {node_id} is {value}")

    def _config_at(self, node_id: NodeId, seqno: SeqNo) -> set[NodeId] | None:
        for config in self._node(node_id).raft.configs:
            if config.idx == seqno:
                return set(config.nodes)
        return None

    def do_assert_config(self, node_id: str, seqno: str, *ids: str) -> None:
        found = self._config_at(node_id, _number(seqno))
        if found != set(ids):
            drawn = "none" if found is None else ",".join(sorted(found))
            raise ScenarioFailed(f"the configuration of {node_id} at {seqno} is {drawn}")

    def do_assert_absent_config(self, node_id: str, seqno: str) -> None:
        if self._config_at(node_id, _number(seqno)) is not None:
            raise ScenarioFailed(f"{node_id} has a configuration at {seqno}")

    def do_loop_until_sync(self) -> None:
        leaders = self._leaders()
        if not leaders:
            raise ScenarioFailed("there is no leader, so the nodes cannot come together")
        leader = leaders[-1]
        active = [n for n in self._nodes.values() if n.raft.phase is None]
        self.do_emit_signature(str(leader.raft.view))
        for node in active:
            self.do_reconnect_node(node.id)
        difference: str | None = None
        for _ in range(SYNC_ROUNDS_MAX):
            self.do_periodic_one(leader.id, "10")
            self.do_dispatch_all()
            difference = self._out_of_sync(active)
            if difference is None:
                return
        raise ScenarioFailed(f"not in sync after {SYNC_ROUNDS_MAX} rounds: {difference}")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ScenarioFailed(f"{text} is not a number")
    return int(text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ScenarioFailed(f"{text} is neither true nor false")
    return text == "true"


def _term(message: PeerMessage) -> int | None:
    return message.term if isinstance(message, Message) else None


def _describe(message: PeerMessage) -> str:
    match message:
        case AppendEntries(term=t, prev_idx=pi, prev_term=pt, idx=i, term_of_idx=ti):
            commit = message.leader_commit_idx
            return f"append_entries ({pt}.{pi}, {ti}.{i}] (term {t}, commit {commit})"
        case AppendEntriesResponse(term=t, last_log_idx=i, success=ok):
            return f"append_entries_response {'ACK' if ok else 'NACK'} for {t}.{i}"
        case RequestVote(term=t, last_committable_idx=i, term_of_last_committable_idx=ti):
            return f"request_vote for term {t}, at tx {ti}.{i}"
        case RequestVoteResponse(term=t, vote_granted=yes):
            return f"request_vote_response for term {t} = {'Y' if yes else 'N'}"
        case ProposeRequestVote(term=t):
            return f"propose_request_vote for term {t}"
        case _:
            return type(message).__name__


def run_file(path: Path, out: TextIO, seed: str = "") -> str | None:
    """Run one scenario; what failed, with file and line, or None."""
    driver = Driver(out, seed)
    number, line = 0, ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):  # noqa: B007 - named when something fails
            words = line.partition("#")[0].strip().split(",")
            if words[0].startswith("===="):
                break
            if words == [""]:
                continue
            driver.run_line(words)
        line = "(end of file)"
        driver.finish()
    except (ScenarioFailed, AssertionError) as e:
        return f"{path}:{number}: {line.strip()}: {e}"
    except (OSError, UnicodeDecodeError) as e:
        return f"{path}: {e}"
    return None


def main(files: list[str]) -> int:
    """Run scenario files; 0 if nothing failed, 1 if something did, 2 if there was none to run."""
    if not files:
        print("Name at least one scenario file.", file=sys.stderr)
        return 2
    failures = [f for name in files if (f := run_file(Path(name), sys.stdout))]
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0
