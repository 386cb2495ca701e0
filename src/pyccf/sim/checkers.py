"""Judges of a run: they look at every node after every step and at every answer a client gets.

What they know is independent of the nodes: the bytes that each node wrote to its ledger, what it
handed to its clients, and the ledger on which the network agreed, which is the union of all that
any node ever called committed. The rules of consensus are those of `invariants`; here are those
that need whole nodes:

  TxIdNamesOneEntry        one transaction id, one entry, on all nodes, for ever
  OneLength                engine, store, history and disk of a node end at the same entry
  LeaderCompleteness       who becomes leader has all that was committed in earlier views
  AgreedLedger             what a node calls committed is what every other did: equal bytes
  AcknowledgedNeverLost    a write that was said to be committed is in the agreed ledger
  KvMatchesLedger          a node's committed store holds what the agreed ledger wrote
  MerkleRoot, SignatureHolds   each committed signature signs the root recomputed here, with a
                           certificate of this service, by a node that was in the ledger
  TxStatusTruthful, TxStatusTransition   Committed and Invalid are true, final, and never both
  CommittedChain, AtMostOnceObserved, OnlyObserveSentRequests   each committed write follows the
                           one before it and was asked for, and is executed once
  SameObservations, UniqueTxIds   an answer tells what the agreed ledger tells, ids are not shared
  CommittedRwLinearizable  what was answered before another was asked is ordered before it
  SessionNeverGoesBack     answers on one connection never lead back in time

(spec: consensus-cft.md §14). The first rule that does not hold raises `Violated`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.context import TxStatus
from pyccf.consensus.api import Leadership
from pyccf.crypto import certs, chains
from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger import entry as entries
from pyccf.ledger import signature
from pyccf.service import tables
from pyccf.sim import app, invariants, replicas
from pyccf.sim.peek import engine, glance
from pyccf.sim.replicas import Item, Nodes, Replica, Violation
from pyccf.sim.steps import check_step
from pyccf.types import NodeId, SeqNo, TxID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyccf.http.session import Session
    from pyccf.ledger.entry import Entry
    from pyccf.sim.client import Written
    from pyccf.sim.cluster import Cluster
    from pyccf.sim.shell import Shell

Maps = dict[str, dict[bytes, bytes | None]]

PUBLIC_AT = 44
CLAIMS = slice(PUBLIC_AT + 9, PUBLIC_AT + 41)
EVIDENCE = slice(PUBLIC_AT + 41, PUBLIC_AT + 73)
FINAL = (TxStatus.COMMITTED, TxStatus.INVALID)
OF_LEADERS = (invariants.election_safety, invariants.leader_completeness)
"""Rules about two replicas that say nothing unless the first leads."""
SAME_BOTH_WAYS = tuple(rule for rule in invariants.OF_TWO if rule not in OF_LEADERS)
TRUSTED, RETIRED = "Trusted", "Retired"


class Violated(Exception):
    """A rule does not hold."""

    def __init__(self, found: Violation) -> None:
        super().__init__(str(found))
        self.found = found


def fail(rule: str, shells: Iterable[Shell], text: str) -> Violated:
    """A rule that does not hold, of these nodes."""
    return Violated(Violation(rule, tuple(shell.name for shell in shells), text))


class Known(msgspec.Struct):
    """One entry that some node wrote, taken apart once for all."""

    item: Item
    data: bytes
    statuses: dict[NodeId, str]
    """New standing of nodes that it tells of."""
    recorded: frozenset[NodeId]
    """Nodes whose retirement it records as committed."""


class Shadow:
    """What one node has written to its ledger, as the rules need it."""

    __slots__ = ("glance", "known", "log", "open", "reconfigurations", "recorded", "seen", "was")

    def __init__(self) -> None:
        self.log: list[Item] = []
        self.known: list[Known] = []
        self.reconfigurations: list[Nodes] = []
        self.recorded: list[Nodes] = []
        self.open: dict[TxID, TxStatus] = {}
        """Transactions whose fate the node has not told for good."""
        self.seen: tuple[int, ...] = ()
        self.was: Replica | None = None
        self.glance: tuple[object, ...] = ()
        """What the engine looked like then."""


class Agreed(msgspec.Struct):
    """The ledger on which the network agreed."""

    chains: list[bytes] = msgspec.field(default_factory=list)
    entries: list[Known] = msgspec.field(default_factory=list)
    maps: list[Maps] = msgspec.field(default_factory=list)
    committed_in: list[int] = msgspec.field(default_factory=list)
    """For each entry, the view of the signature with which it was first committed."""
    links: list[app.Link] = msgspec.field(default_factory=list)
    """Committed writes, in order."""

    @property
    def last(self) -> SeqNo:
        return len(self.entries)

    @property
    def last_view(self) -> int:
        return self.entries[-1].item.view if self.entries else 0

    def truth(self, txid: TxID) -> TxStatus:
        """What must in the end be said of a transaction, as far as it is decided."""
        if txid.seqno <= self.last:
            same = self.entries[txid.seqno - 1].item.view == txid.view
            return TxStatus.COMMITTED if same else TxStatus.INVALID
        return TxStatus.INVALID if self.last_view > txid.view else TxStatus.UNKNOWN


class MerkleWalk:
    """The root of a growing tree, computed from its peaks alone."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []
        self.push(bytes(32))

    def push(self, leaf: bytes) -> None:
        height, node = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            _, left = self._peaks.pop()
            node = hashlib.sha256(left + node).digest()
            height += 1
        self._peaks.append((height, node))

    def root(self) -> bytes:
        root = b""
        for _, node in reversed(self._peaks):
            root = hashlib.sha256(node + root).digest() if root else node
        return root


class Judges:
    """All rules over one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.steps = 0
        self.agreed = Agreed()
        self.replicas: dict[NodeId, Replica] = {}
        self._shadows: dict[NodeId, Shadow] = {}
        self._by_txid: dict[TxID, Known] = {}
        self._tree = MerkleWalk()
        self._endorsed: dict[str, NodeId] = {}
        """Certificates of this service that signed something, and whose they are."""
        self._asked: dict[int, int] = {}
        """Step in which each write was asked for."""
        self._written: dict[TxID, Written] = {}
        self._executed: set[int] = set()
        self._asked_until: list[int] = []
        """For each committed write, the latest step in which it or one before it was asked for."""
        self._sessions: dict[tuple[NodeId, int], TxID] = {}
        self.elections = 0
        self.reconfigurations = 0

    # --- every step -----------------------------------------------------------------------------

    def after_step(self, changed: list[Shell]) -> None:
        """Look at the nodes that did something. Raises Violated."""
        self.steps += 1
        moved: list[NodeId] = []
        before: dict[NodeId, Replica] = {}
        for shell in changed:
            node_id = shell.node.node_id
            shadow = self._shadows.get(node_id)
            if shadow is None:
                shadow = self._shadows[node_id] = Shadow()
            self._follow_ledger(shell, shadow)
            raft = engine(shell.node)
            was = shadow.was
            seen = glance(raft)
            if was is not None and shadow.log is was.log and seen == shadow.glance:
                continue
            shadow.glance = seen
            replica = replicas.observe(
                raft,
                shadow.log,
                shadow.reconfigurations,
                shadow.recorded,
                base=shell.disk.base,
            )
            if was is not None and replica == was:
                continue
            self._check_lengths(shell, raft.last)
            if was is not None:
                before[node_id] = was
                if (
                    replica.leadership is Leadership.LEADER
                    and was.leadership is not replica.leadership
                ):
                    self.elections += 1
                    self._check_complete(shell, replica)
            shadow.was = replica
            self.replicas[node_id] = replica
            moved.append(node_id)
        if before:
            self._raise(check_step({**self.replicas, **before}, self.replicas))
        if moved:
            self._raise(self._wrong(moved, before))
        in_flight = self._cluster.sent_views
        if in_flight:
            self._raise(list(invariants.mono_term(self.replicas, in_flight)))
            in_flight.clear()
        for shell in changed:
            node_id = shell.node.node_id
            if node_id in moved:
                self._follow_commit(shell, before.get(node_id))
                self._follow_statuses(shell, self._shadows[node_id])

    def _check_lengths(self, shell: Shell, last: SeqNo) -> None:
        """Engine, store, history and disk of one node end at the same entry."""
        node = shell.node
        lengths = (last, node.store.version, node.history.last, shell.disk.last)
        if shell.alive and lengths != (last,) * 4:
            raise fail(
                "OneLength",
                (shell,),
                "engine, store, history and disk end at {}, {}, {} and {}".format(*lengths),
            )

    def _wrong(self, moved: list[NodeId], before: dict[NodeId, Replica]) -> list[Violation]:
        """What is wrong at this moment, as far as what changed can have made it wrong.

        What a leader believes of its peers concerns no other node. Quorums that hold what is
        committed go on holding it until somebody commits more, cuts its log or changes its
        configurations. `at_end` looks at everything.
        """
        nodes = self.replicas
        found: list[Violation] = []
        heavy: list[Replica] = []
        quorums = False
        for node_id in moved:
            now, was = nodes[node_id], before.get(node_id)
            if was is not None and _only_progress(was, now):
                found.extend(invariants.type_inv(now))
                continue
            heavy.append(now)
            quorums = (
                quorums
                or was is None
                or now.committed != was.committed
                or now.configs != was.configs
                or not now.holds(was, was.last)
            )
        for now in heavy:
            for rule in invariants.OF_ONE:
                found.extend(rule(now))
            for other in nodes.values():
                if other is not now:
                    for pair_rule in SAME_BOTH_WAYS:
                        found.extend(pair_rule(now, other))
                    for pair_rule in OF_LEADERS:
                        if now.leadership is Leadership.LEADER:
                            found.extend(pair_rule(now, other))
                        if other.leadership is Leadership.LEADER:
                            found.extend(pair_rule(other, now))
        if quorums:
            for all_rule in invariants.OF_ALL:
                found.extend(all_rule(nodes))
        elif heavy:
            found.extend(invariants.candidate_term_not_in_log(nodes))
        return found

    def _check_complete(self, shell: Shell, leader: Replica) -> None:
        """A new leader has everything that was committed in views before its own."""
        agreed = self.agreed
        upto = bisect_right(agreed.committed_in, leader.view)
        if upto and (leader.last < upto or leader.log[upto - 1].chain != agreed.chains[upto - 1]):
            raise fail(
                "LeaderCompleteness",
                (shell,),
                f"leads view {leader.view} without what was committed before, up to {upto}",
            )

    def _raise(self, found: list[Violation]) -> None:
        if found:
            first = found[0]
            names = tuple(self._cluster.named(n) for n in first.nodes)
            raise Violated(Violation(first.rule, names, self._short(first.text)))

    def _short(self, text: str) -> str:
        for node_id, shell in self._cluster.by_id.items():
            text = text.replace(node_id, shell.name)
        return text

    def _follow_ledger(self, shell: Shell, shadow: Shadow) -> None:
        """Bring what is known of a node's ledger up to date."""
        disk = shell.disk
        kept = disk.unchanged
        written = disk.entries
        if kept == len(written) == len(shadow.log):
            return
        if kept < len(shadow.log):
            shadow.log = shadow.log[:kept]
            shadow.known = shadow.known[:kept]
            while shadow.reconfigurations and shadow.reconfigurations[-1].seqno > kept:
                shadow.reconfigurations.pop()
            while shadow.recorded and shadow.recorded[-1].seqno > kept:
                shadow.recorded.pop()
        else:
            shadow.log = shadow.log.copy()
        for at in range(kept, len(written)):
            before = shadow.log[-1].chain if shadow.log else b""
            known = self._know(shell, written[at], before)
            shadow.log.append(known.item)
            shadow.known.append(known)
            if known.statuses:
                self._reconfigure(shadow, at + 1, known)
        disk.unchanged = len(written)

    def _reconfigure(self, shadow: Shadow, seqno: SeqNo, known: Known) -> None:
        configs = shadow.reconfigurations
        ids = set(configs[-1].ids) if configs else set()
        for node_id, status in known.statuses.items():
            if status == TRUSTED:
                ids.add(node_id)
            elif status == RETIRED:
                ids.discard(node_id)
        if not configs or ids != configs[-1].ids:
            configs.append(Nodes(seqno, frozenset(ids)))
        if known.recorded:
            shadow.recorded.append(Nodes(seqno, known.recorded))

    def _know(self, shell: Shell, entry: Entry, before: bytes) -> Known:
        txid = TxID(entry.view, entry.seqno)
        known = self._by_txid.get(txid)
        if known is None:
            known = self._by_txid[txid] = _take_apart(entry, before)
        elif known.data != entry.data or known.item.chain != replicas.chain(before, entry.data):
            raise fail("TxIdNamesOneEntry", (shell,), f"{txid} is another entry, or after others")
        return known

    # --- commit ---------------------------------------------------------------------------------

    def _follow_commit(self, shell: Shell, was: Replica | None) -> None:
        """A node may have committed more."""
        node_id = shell.node.node_id
        replica = self.replicas[node_id]
        start = was.committed if was is not None else 0
        end = replica.committed
        if end <= start:
            return
        if shell.disk.committed != end:
            raise fail(
                "AgreedLedger",
                (shell,),
                f"committed {end}, the disk was told {shell.disk.committed}",
            )
        self._follow_agreement(shell, self._shadows[node_id], end)
        self._check_rows(shell, start, end)

    def _follow_agreement(self, shell: Shell, shadow: Shadow, end: SeqNo) -> None:
        """This node calls everything up to `end` committed."""
        agreed = self.agreed
        if end == 0:
            return
        if end > len(shadow.known):
            raise fail("AgreedLedger", (shell,), f"committed {end} beyond its ledger")
        if agreed.last < end:
            if agreed.last and shadow.log[agreed.last - 1].chain != agreed.chains[-1]:
                raise fail("AgreedLedger", (shell,), f"committed another ledger up to {end}")
            view = shadow.log[end - 1].view
            for at in range(agreed.last, end):
                agreed.committed_in.append(view)
                self._agree(shell, shadow.known[at])
        elif shadow.log[end - 1].chain != agreed.chains[end - 1]:
            raise fail("AgreedLedger", (shell,), f"committed another ledger up to {end}")

    def _agree(self, shell: Shell, known: Known) -> None:
        """One more entry is agreed on."""
        agreed = self.agreed
        seqno = agreed.last + 1
        parsed = entries.parse(known.data)
        maps: Maps = dict(parsed.public_maps())
        if parsed.ciphertext:
            maps.update(wire.decode(shell.node.history.private(parsed)))
        if known.item.committable:
            self._check_signature(shell, parsed, seqno)
        data = known.data
        digest = hashlib.sha256(data).digest()
        self._tree.push(hashlib.sha256(digest + data[EVIDENCE] + data[CLAIMS]).digest())
        agreed.entries.append(known)
        agreed.chains.append(known.item.chain)
        agreed.maps.append(maps)
        if TRUSTED in known.statuses.values() or (
            RETIRED in known.statuses.values() and not known.recorded
        ):
            self.reconfigurations += 1
        txid = TxID(known.item.view, seqno)
        chain = maps.get(app.CHAIN)
        if chain is not None:
            self._check_link(shell, txid, chain[app.LAST] or b"")
        if txid in self._written:
            self._compare_answer(shell, txid)

    def _check_signature(self, shell: Shell, parsed: entries.ParsedEntry, seqno: SeqNo) -> None:
        try:
            signed = signature.parse(parsed)
        except InvalidLedger as e:
            raise fail("SignatureHolds", (shell,), e.message) from None
        root = self._tree.root()
        if signed.root != root:
            raise fail(
                "MerkleRoot",
                (shell,),
                f"the signature at {seqno} is over {signed.root.hex()[:12]}, the entries before it"
                f" have the root {root.hex()[:12]}",
            )
        signer = self._endorsed.get(signed.cert)
        service = shell.parts.service
        if signer is None:
            if not chains.check_endorsed(signed.cert, service.cert_pem, ignore_time=True):
                raise fail("SignatureHolds", (shell,), f"certificate at {seqno} is not endorsed")
            signer = self._endorsed[signed.cert] = certs.public_key(signed.cert).id
        if signer != signed.node:
            raise fail("SignatureHolds", (shell,), f"signature at {seqno} is by another node")
        if not any(signed.node in known.statuses for known in self.agreed.entries):
            raise fail("SignatureHolds", (shell,), f"signature at {seqno} is by an unknown node")
        try:
            signature.verify(signed, root, certs.public_key(signed.cert), service.key.public)
        except InvalidLedger as e:
            raise fail("SignatureHolds", (shell,), e.message) from None

    def _check_rows(self, shell: Shell, start: SeqNo, end: SeqNo) -> None:
        """The rows written by entries start+1..end stand in the node's committed store."""
        latest: dict[tuple[str, bytes], bytes | None] = {}
        for maps in self.agreed.maps[start:end]:
            for name, rows in maps.items():
                for key, value in rows.items():
                    latest[name, key] = value
        read = shell.node.store.read_committed
        for (name, key), value in latest.items():
            if read(name, key) != value:
                raise fail("KvMatchesLedger", (shell,), f"row {key!r} of {name} differs at {end}")

    # --- what clients see -----------------------------------------------------------------------

    def asked_to_write(self, number: int) -> None:
        """A client asks for a write."""
        self._asked[number] = self.steps

    def wrote(self, shell: Shell, written: Written) -> None:
        """A client was told that its write was executed."""
        txid = written.txid
        other = self._written.get(txid)
        if other is not None:
            raise fail(
                "UniqueTxIds",
                (shell,),
                f"writes {other.number} and {written.number} were both answered with {txid}",
            )
        self._written[txid] = written
        for shadow in self._shadows.values():
            shadow.open[txid] = TxStatus.UNKNOWN
            shadow.seen = ()
        if written.waited and self.agreed.truth(txid) is not TxStatus.COMMITTED:
            self._catch_up(shell)
            if self.agreed.truth(txid) is not TxStatus.COMMITTED:
                raise fail(
                    "AcknowledgedNeverLost",
                    (shell,),
                    f"write {written.number} was answered as committed; {txid} is not",
                )
        if txid.seqno <= self.agreed.last:
            self._compare_answer(shell, txid)

    def _catch_up(self, shell: Shell) -> None:
        """A node answers within a step, before the judges looked: look at its ledger now."""
        shadow = self._shadows.get(shell.node.node_id)
        if shadow is not None:
            self._follow_ledger(shell, shadow)
            self._follow_agreement(shell, shadow, shell.disk.committed)

    def _check_link(self, shell: Shell, txid: TxID, raw: bytes) -> None:
        """A committed write follows the one before it."""
        link = app.Link.parse(raw)
        links = self.agreed.links
        if link.before != len(links):
            raise fail(
                "CommittedChain",
                (shell,),
                f"{txid} observed {link.before} writes, {len(links)} were committed before it",
            )
        if link.number not in self._asked:
            raise fail("OnlyObserveSentRequests", (shell,), f"nobody asked for {link.number}")
        if link.number in self._executed:
            raise fail(
                "AtMostOnceObserved", (shell,), f"write {link.number} is committed twice, at {txid}"
            )
        self._executed.add(link.number)
        links.append(link)
        until = self._asked_until
        until.append(max(self._asked[link.number], until[-1] if until else 0))

    def _compare_answer(self, shell: Shell, txid: TxID) -> None:
        """What the client of a decided write was told is what the agreed ledger tells."""
        if self.agreed.truth(txid) is not TxStatus.COMMITTED:
            return
        written = self._written[txid]
        raw = self.agreed.maps[txid.seqno - 1].get(app.CHAIN, {}).get(app.LAST) or b""
        link = app.Link.parse(raw)
        if link.number != written.number:
            raise fail(
                "SameObservations", (shell,), f"{txid} is write {link.number}, not {written.number}"
            )
        before = self.agreed.links[link.before - 1].number if link.before else 0
        if written.observed.number != before:
            raise fail(
                "SameObservations",
                (shell,),
                f"write {written.number} at {txid} was told that it follows"
                f" {written.observed.number}, it follows {before}",
            )
        if link.before and self._asked_until[link.before - 1] > written.answered:
            raise fail(
                "CommittedRwLinearizable",
                (shell,),
                f"write {written.number} was answered before one that precedes it was asked for",
            )

    def asks(self, shell: Shell, session: Session) -> TxID | None:
        """A request is sent on a connection; the latest transaction it was told of."""
        return self._sessions.get((shell.node.node_id, session.id))

    def read(self, shell: Shell, session: Session, before: TxID | None, txid: TxID) -> None:
        """A connection, told of `before` when it asked, got an answer from or with `txid`."""
        if before is not None and txid < before:
            raise fail(
                "SessionNeverGoesBack",
                (shell,),
                f"connection {session.id} was told of {before} and then of {txid}",
            )
        key = (shell.node.node_id, session.id)
        self._sessions[key] = max(txid, self._sessions.get(key, txid))

    def told(self, shell: Shell, txid: TxID, status: str) -> None:
        """A node answered what became of a transaction."""
        self._catch_up(shell)
        self._check_status(shell, txid, TxStatus(status))

    def _follow_statuses(self, shell: Shell, shadow: Shadow) -> None:
        node = shell.node
        consensus = node.consensus
        seen = (consensus.last, consensus.committed, consensus.view, node.store.rollbacks)
        if seen == shadow.seen:
            return
        shadow.seen = seen
        done: list[TxID] = []
        for txid, before in shadow.open.items():
            status = node.tx_status(txid)
            if status is before:
                continue
            shadow.open[txid] = status
            if status in FINAL:
                self._check_status(shell, txid, status)
                done.append(txid)
        for txid in done:
            del shadow.open[txid]

    def _check_status(self, shell: Shell, txid: TxID, status: TxStatus) -> None:
        if status in FINAL and self.agreed.truth(txid) is not status:
            raise fail(
                "TxStatusTruthful",
                (shell,),
                f"{txid} is called {status.value}, it is {self.agreed.truth(txid).value}",
            )

    # --- at the end -----------------------------------------------------------------------------

    def at_end(self) -> None:
        """Everything once more, in full. Raises Violated."""
        self._raise(invariants.check_state(self.replicas))
        for shell in self._cluster.alive:
            if shell.node.node_id not in self._shadows:
                continue
            self._check_everything(shell)

    def _check_everything(self, shell: Shell) -> None:
        node = shell.node
        committed = node.consensus.committed
        expected: dict[str, dict[bytes, bytes]] = {}
        for maps in self.agreed.maps[:committed]:
            for name, rows in maps.items():
                table = expected.setdefault(name, {})
                for key, value in rows.items():
                    if value is None:
                        table.pop(key, None)
                    else:
                        table[key] = value
        tx = node.store.committed_tx()
        for name in sorted({*expected, *node.store.maps}):
            held = dict(tx.map(name).foreach())
            if held != expected.get(name, {}):
                raise fail("KvMatchesLedger", (shell,), f"map {name} differs at {committed}")
        tx.close()
        for at, entry in enumerate(shell.disk.entries[:committed]):
            if entry.data != self.agreed.entries[at].data:
                raise fail("AgreedLedger", (shell,), f"entry {at + 1} of the ledger differs")
        for txid in self._written:
            status = node.tx_status(txid)
            self._check_status(shell, txid, status)
            if txid.seqno <= committed and status not in FINAL:
                raise fail("TxStatusTransition", (shell,), f"{txid} is {status.value} again")


def _only_progress(was: Replica, now: Replica) -> bool:
    """Whether nothing differs but what a leader believes of its peers, and votes."""
    return (
        now.view == was.view
        and now.leadership is was.leadership
        and now.committed == was.committed
        and now.log is was.log
        and now.phase == was.phase
        and now.voted_for == was.voted_for
        and now.configs == was.configs
        and now.reconfigurations == was.reconfigurations
        and now.recorded == was.recorded
    )


def _take_apart(entry: Entry, before: bytes) -> Known:
    statuses: dict[NodeId, str] = {}
    recorded: list[NodeId] = []
    if tables.NODES_INFO.encode() in entry.data:
        rows = entries.parse(entry.data).public_maps().get(tables.NODES_INFO, {})
        for key, value in sorted(rows.items()):
            if value is None:
                continue
            row = msgspec.json.decode(value)
            statuses[key.decode()] = row["status"]
            if row.get("retired_committed") is True:
                recorded.append(key.decode())
    item = Item(entry.view, entry.committable, replicas.chain(before, entry.data))
    return Known(item, entry.data, statuses, frozenset(recorded))
