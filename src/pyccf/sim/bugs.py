"""Protocol bugs that can be switched on, one at a time, to see that the judges find them.

Each changes one small decision of a node while its context lasts; nothing of it is in the engine
itself. The first six are those that CCF's authors found when they verified their protocol. No judge
knows of any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from pyccf.apps.context import TxStatus
from pyccf.consensus.api import Leadership
from pyccf.consensus.raft import AppendEntries, AppendEntriesResponse, Phase, Raft
from pyccf.consensus.raft.messages import RequestVoteResponse
from pyccf.consensus.raft.state import Configuration, Peer
from pyccf.ledger import snapshot
from pyccf.ledger.cut import Cut
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.node import create, fetch_snapshot, status
from pyccf.node.answers import Answers
from pyccf.node.forward import Forwarder
from pyccf.node.restore import Restorable
from pyccf.node.snapshots import Snapshotter
from pyccf.service import tables
from pyccf.sim.schedule import Schedule, generate
from pyccf.types import NodeId, SeqNo, TxID, View

if TYPE_CHECKING:
    from pyccf.consensus.api import Engine
    from pyccf.kv.tx import Tx
    from pyccf.ledger.entry import Entry

Method: TypeAlias = Callable[..., Any]
Change: TypeAlias = Callable[[Method], Method]
"""Makes the wrong method out of the right one."""


class Bug(msgspec.Struct, frozen=True):
    """One wrong decision."""

    name: str
    about: str
    owner: Any
    """The class, or module, whose method is wrong."""
    method: str
    change: Change
    themes: tuple[str, ...] = ("everything",)
    """What kinds of schedule it takes to meet it."""
    steps: int = 120
    nodes: int | None = None
    first: int = 0
    """A seed from which on it does not take many to meet it."""

    def schedules(self, count: int) -> Iterator[Schedule]:
        """Schedules in which it may be met."""
        for seed in range(self.first, self.first + count):
            theme = self.themes[seed % len(self.themes)]
            yield generate(seed, self.steps, self.nodes, theme)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Every node has the bug while this lasts."""
        own = self.method in self.owner.__dict__
        original = getattr(self.owner, self.method)
        setattr(self.owner, self.method, self.change(original))
        try:
            yield
        finally:
            if own:
                setattr(self.owner, self.method, original)
            else:
                delattr(self.owner, self.method)


BUGS: dict[str, Bug] = {}


def _bug(
    name: str, owner: Any, method: str, *themes: str, nodes: int | None = None, first: int = 0
) -> Callable[[Change], Change]:
    """Register a change as a bug; what it does is its docstring."""

    def register(change: Change) -> Change:
        assert change.__doc__, "a bug says what it is"
        bug = Bug(
            name,
            change.__doc__,
            owner,
            method,
            change,
            themes or ("everything",),
            nodes=nodes,
            first=first,
        )
        BUGS[name] = bug
        return change

    return register


# --- the six of CCF's verification --------------------------------------------------------------

THE_SIX = (
    "election-quorum-tally",
    "commit-previous-term",
    "commit-on-nack",
    "truncate-on-early-append-entries",
    "inaccurate-ack",
    "premature-retirement",
)


@_bug("election-quorum-tally", Raft, "_has_won", "retirement", "growth", first=26)
def _tally(right: Method) -> Method:
    """Votes are counted over all active configurations together, not in each."""

    def has_won(self: Raft) -> bool:
        voters = {voter for voters in self.votes.values() for voter in voters}
        most = max((self._quorum(len(c.nodes)) for c in self.configs), default=1)
        return len(voters) >= most

    return has_won


@_bug("commit-previous-term", Raft, "_commit_allowed", "elections", "partitions")
def _previous_term(right: Method) -> Method:
    """A leader commits by a signature of an earlier view."""
    return lambda self, seqno: True


@_bug("commit-on-nack", Raft, "_on_nack", "elections", "partitions")
def _on_nack(right: Method) -> Method:
    """A refusal counts as a confirmation of what the follower has."""

    def on_nack(self: Raft, peer: Peer, message: AppendEntriesResponse) -> None:
        right(self, peer, message)
        if peer.match < message.last_log_idx <= self.last:
            peer.match = message.last_log_idx
            self._update_commit()

    return on_nack


@_bug("truncate-on-early-append-entries", Raft, "_on_append_entries", "reordering")
def _early(right: Method) -> Method:
    """An overtaken append-entries cuts off what came with later ones."""

    def on_append_entries(self: Raft, sender: NodeId, message: AppendEntries) -> None:
        right(self, sender, message)
        if (
            message.term == self.view
            and self.leadership is Leadership.FOLLOWER
            and message.prev_idx < message.idx
            and self.committed <= message.idx < self.last
        ):
            self._rollback(message.idx)

    return on_append_entries


@_bug("inaccurate-ack", Raft, "_confirm", "suffixes", nodes=3, first=64)
def _inaccurate(right: Method) -> Method:
    """A follower confirms all it has, not only what the message showed."""

    def confirm(self: Raft, to: NodeId, seqno: SeqNo) -> None:
        right(self, to, self.last)

    return confirm


@_bug("premature-retirement", Raft, "_commit", "retirement")
def _premature(right: Method) -> Method:
    """A node leaves once its retirement is committed, before that itself is recorded."""

    def commit(self: Raft, seqno: SeqNo) -> None:
        right(self, seqno)
        if self.phase is Phase.COMPLETED:
            self._leave(seqno)

    return commit


# --- quorums --------------------------------------------------------------------------------------


@_bug("quorum-minus-one", Raft, "_quorum", "elections", "partitions")
def _minority(right: Method) -> Method:
    """One node less than a majority decides."""
    return lambda self, n: max(1, n // 2)


@_bug("commit-by-latest-configuration", Raft, "_agreed_index", "growth", "retirement")
def _latest_commits(right: Method) -> Method:
    """Only the newest configuration has to agree to a commit: no joint quorum."""
    return lambda self: self._agreed_in(self.configs[-1]) if self.configs else 0


@_bug("commit-by-oldest-configuration", Raft, "_agreed_index", "growth", "retirement")
def _oldest_commits(right: Method) -> Method:
    """Only the oldest active configuration has to agree to a commit."""
    return lambda self: self._agreed_in(self.configs[0]) if self.configs else 0


@_bug("vote-by-latest-configuration", Raft, "_has_won", "retirement", "growth", first=4)
def _latest_elects(right: Method) -> Method:
    """Only the newest configuration elects: no joint quorum."""

    def has_won(self: Raft) -> bool:
        config = self.configs[-1]
        return len(self.votes.get(config.idx, ())) >= self._quorum(len(config.nodes))

    return has_won


@_bug("configuration-at-once", Raft, "configure", "growth", "retirement")
def _at_once(right: Method) -> Method:
    """A new configuration replaces the others as soon as it is appended."""

    def configure(self: Raft, seqno: SeqNo, nodes: dict[NodeId, str]) -> None:
        right(self, seqno, nodes)
        del self.configs[:-1]

    return configure


@_bug("configuration-dropped-early", Raft, "_drop_configurations", "growth", "retirement")
def _dropped_early(right: Method) -> Method:
    """Commit ends configurations whose successor is not committed yet."""

    def drop(self: Raft) -> bool:
        dropped = len(self.configs) > 1
        del self.configs[:-1]
        return dropped

    return drop


# --- elections ------------------------------------------------------------------------------------


@_bug("vote-twice", Raft, "_is_free", "elections", "partitions")
def _twice(right: Method) -> Method:
    """A node votes for everybody who asks in a view."""
    return lambda self, candidate: True


@_bug("vote-for-anyone", Raft, "_is_up_to_date", "elections", "partitions")
def _anyone(right: Method) -> Method:
    """A vote is given whatever the candidate's log holds."""
    return lambda self, view, seqno: True


@_bug("vote-by-length", Raft, "_is_up_to_date", "elections", "partitions")
def _by_length(right: Method) -> Method:
    """Logs are compared by length, not by view first."""
    return lambda self, view, seqno: seqno >= self.lci()


@_bug("refused-votes-count", Raft, "_on_request_vote_response", "elections", "partitions")
def _refused_count(right: Method) -> Method:
    """An answer counts as a vote even if it is a refusal."""

    def on_response(self: Raft, sender: NodeId, message: RequestVoteResponse) -> None:
        right(self, sender, msgspec.structs.replace(message, vote_granted=True))

    return on_response


@_bug("late-votes-count", Raft, "_on_request_vote_response", "votes", nodes=3)
def _late_count(right: Method) -> Method:
    """A vote given in an earlier view, or before the election, counts in this one."""

    def on_response(self: Raft, sender: NodeId, message: RequestVoteResponse) -> None:
        if message.term < self.view and message.vote_granted and sender in self.peers:
            message = msgspec.structs.replace(message, term=self.view)
        right(self, sender, message)

    return on_response


@_bug("view-not-raised", Raft, "_become_candidate", "elections", "partitions")
def _not_raised(right: Method) -> Method:
    """A candidate asks for votes in the view that already is."""

    def become_candidate(self: Raft) -> None:
        if self.view > 2:
            self.view -= 1
        right(self)

    return become_candidate


@_bug("leader-stays", Raft, "_become_aware_of_new_term", "elections", "partitions")
def _stays(right: Method) -> Method:
    """A leader that learns of a newer view goes on leading in it."""

    def become_aware(self: Raft, view: View) -> None:
        if self.leadership is Leadership.LEADER:
            self.view = view
            self._executor.rollback(self.last, view)
        else:
            right(self, view)

    return become_aware


@_bug("no-roll-back-on-new-view", Raft, "_kept_by_new_leader", "elections", "partitions")
def _no_roll_back(right: Method) -> Method:
    """A new leader keeps what is not signed."""
    return lambda self: self.last


@_bug("match-kept-on-election", Raft, "_become_leader", "elections", "partitions")
def _match_kept(right: Method) -> Method:
    """A new leader goes on with what followers confirmed to it in an earlier view."""

    def become_leader(self: Raft) -> None:
        matches = {peer.id: peer.match for peer in self.peers.values()}
        right(self)
        for peer in self.peers.values():
            peer.match = min(self.last, matches.get(peer.id, 0))

    return become_leader


# --- the log --------------------------------------------------------------------------------------


@_bug("conflict-not-seen", Raft, "_first_conflict", "elections", "partitions")
def _not_seen(right: Method) -> Method:
    """Entries of another view at the same place are taken for the leader's."""
    return lambda self, first, upto, view: None


@_bug("conflict-confirmed", Raft, "_on_conflict", "elections", "partitions")
def _conflict_confirmed(right: Method) -> Method:
    """A conflict is never resolved, and the message confirmed all the same."""

    def on_conflict(self: Raft, seqno: SeqNo) -> bool:
        assert self.leader is not None
        self._confirm(self.leader, self.last)
        return False

    return on_conflict


@_bug("prefix-not-compared", Raft, "term_of", "elections", "partitions")
def _not_compared(right: Method) -> Method:
    """The view of an entry is not known beyond what is committed: all logs seem alike."""

    def term_of(self: Raft, seqno: SeqNo) -> View:
        return self.view if self.committed < seqno <= self.last else right(self, seqno)

    return term_of


@_bug("truncate-committed", Raft, "_on_append_entries", "elections", "reordering")
def _truncate_committed(right: Method) -> Method:
    """An early append-entries cuts off what is committed."""

    def on_append_entries(self: Raft, sender: NodeId, message: AppendEntries) -> None:
        if message.term == self.view and message.prev_idx < self.committed:
            self.committed = min(self.committed, message.prev_idx)
            self._rollback(message.prev_idx)
        right(self, sender, message)

    return on_append_entries


@_bug("commit-unsigned", Raft, "_update_commit", "elections")
def _unsigned(right: Method) -> Method:
    """What a majority has is committed, signed or not."""

    def update_commit(self: Raft) -> None:
        agreed = self._agreed_index()
        if agreed > self.committed and self._commit_allowed(agreed):
            self._commit(agreed)

    return update_commit


@_bug("committables-not-rolled-back", Raft, "_forget_after", "elections", "partitions")
def _committables_kept(right: Method) -> Method:
    """A signature that was undone may still be committed."""

    def forget_after(self: Raft, seqno: SeqNo) -> None:
        kept = list(self.committable)
        right(self, seqno)
        self.committable.clear()
        self.committable.extend(kept)

    return forget_after


@_bug("configurations-not-rolled-back", Raft, "_forget_after", "retirement", "growth")
def _configurations_kept(right: Method) -> Method:
    """A configuration that was undone stays active."""

    def forget_after(self: Raft, seqno: SeqNo) -> None:
        kept: list[Configuration] = list(self.configs)
        right(self, seqno)
        self.configs[:] = kept

    return forget_after


# --- progress -------------------------------------------------------------------------------------


@_bug("commit-beyond-message", Raft, "_known_committed", "suffixes", nodes=3)
def _beyond(right: Method) -> Method:
    """A follower commits by the leader's commit index whatever the message showed to agree."""
    return lambda self, message: message.leader_commit_idx


@_bug("stale-ack-counts", Raft, "_stale_ack", "suffixes", nodes=3, first=43)
def _stale(right: Method) -> Method:
    """A confirmation given to the leader of an earlier view counts."""
    return lambda self, peer, message: False


@_bug("sent-counts-as-confirmed", Raft, "_send_range", "elections", "partitions")
def _sent_counts(right: Method) -> Method:
    """What was sent is taken to have arrived."""

    def send_range(self: Raft, peer: Peer, start: SeqNo, end: SeqNo) -> None:
        right(self, peer, start, end)
        if end > peer.match:
            peer.match = end
            self._update_commit()

    return send_range


# --- retirement -----------------------------------------------------------------------------------


@_bug("retirement-not-undone", Raft, "_undo_retirement", "retirement", "growth")
def _not_undone(right: Method) -> Method:
    """A retirement that was rolled back still counts for the node it was about."""
    return lambda self, seqno: None


@_bug("retired-peer-dropped", Raft, "_drop_configurations", "retirement")
def _peer_dropped(right: Method) -> Method:
    """A node that left all configurations is no longer spoken to."""

    def drop(self: Raft) -> bool:
        dropped = bool(right(self))
        if dropped:
            members = {n for config in self.configs for n in config.nodes}
            for node_id in [n for n in self.peers if n not in members]:
                del self.peers[node_id]
        return dropped

    return drop


@_bug("retired-leader-stays", Raft, "_leave", "retirement", nodes=3)
def _retired_leads(right: Method) -> Method:
    """A leader whose retirement is recorded goes on leading."""

    def leave(self: Raft, seqno: SeqNo) -> None:
        leads = self.leadership is Leadership.LEADER
        right(self, seqno)
        if leads:
            self.leadership = Leadership.LEADER

    return leave


# --- the node -------------------------------------------------------------------------------------


@_bug("answer-before-commit", Answers, "release", "elections", "partitions")
def _answer_early(right: Method) -> Method:
    """Answers that were to wait for commit are given as soon as the transaction is ordered."""

    def release(self: Answers) -> None:
        view, _ = self._node.last_committed()
        for held in self._room.ripe(TxID(view, self._node.consensus.last)):
            self._deliver(held, held.response)

    return release


@_bug("forwarded-twice", Forwarder, "_carry", "elections", "partitions")
def _forwarded_twice(right: Method) -> Method:
    """A request that is carried to the primary is sent twice."""

    def carry(self: Forwarder, primary: NodeId, data: bytes) -> bool:
        right(self, primary, data)
        return bool(right(self, primary, data))

    return carry


@_bug("retirement-recorded-early", create, "record_retired_committed", "retirement")
def _recorded_early(right: Method) -> Method:
    """A retirement is recorded as committed before it is."""

    def record(tx: Tx) -> list[NodeId]:
        done: list[NodeId] = []
        for node_id, row in list(tables.objects(tx, tables.NODES_INFO)):
            if row["status"] == "Retired" and not row.get("retired_committed"):
                tables.put_json(tx, tables.NODES_INFO, node_id, {**row, "retired_committed": True})
                done.append(node_id)
        return done

    return record


@_bug("secrets-not-rolled-back", LedgerSecrets, "rollback", "everything", first=10)
def _secrets_kept(right: Method) -> Method:
    """A ledger secret that was rolled back goes on being used."""
    return lambda self, seqno: None


@_bug("snapshot-before-commit", Snapshotter, "signed", "growth", "everything", first=46)
def _uncommitted_snapshot(right: Method) -> Method:
    """A snapshot is taken, and handed out, as soon as its signatures are ordered."""

    def signed(self: Snapshotter, entry: Entry) -> None:
        right(self, entry)
        node = self._node
        seqno = entry.seqno
        if seqno in self._due and node.consensus.can_replicate:
            self._due.remove(seqno)
            leaf = node.history.tree.leaf(seqno)
            starts = node.consensus.view_starts(seqno)
            key = node.history.secrets.at(seqno).key
            self._cuts.append(Cut(node.store.freeze(seqno), leaf, starts, key))
        for evidence in self._evidence:
            self._hand_out(evidence)
        self._evidence = []

    return signed


@_bug("snapshot-not-verified", fetch_snapshot, "judge", "growth")
def _not_verified(right: Method) -> Method:
    """A joiner takes any bytes that look like a snapshot."""
    return lambda data, name, service_cert: Restorable(snapshot.parse(data))


@_bug("status-by-seqno", status, "tx_status", "elections", "partitions")
def _by_seqno(right: Method) -> Method:
    """A transaction is called committed when its seqno is, whatever its view."""

    def tx_status(consensus: Engine, txid: TxID) -> TxStatus:
        if consensus.committed >= txid.seqno:
            return TxStatus.COMMITTED
        return right(consensus, txid)  # type: ignore[no-any-return]

    return tx_status
