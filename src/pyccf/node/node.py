"""The node: one pure machine around the store, the ledger history and consensus.

It promises: an entry is handed to the shell in the order in which it was executed; nothing is
called committed before the shell said that it is persisted and consensus agreed; an answer that
waits for commit is given exactly once. It never blocks, sleeps or looks at a clock: time comes
with every call. What it wants done it leaves in `take_outputs()`, in order.

Fast path: `handle` executes one request and returns the bytes of its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from pyccf.apps.context import (
    AnswerFollows,
    Context,
    HistoricalState,
    NeedsHistory,
    SignsAs,
    TxStatus,
)
from pyccf.apps.feed import OpenFeed
from pyccf.consensus.api import Engine
from pyccf.crypto.entropy import Entropy
from pyccf.errors import PyccfError, RpcError
from pyccf.http.message import Request, encode_response
from pyccf.kv import wire
from pyccf.kv.store import Store, ViewChanged
from pyccf.kv.tx import new_txid
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, Entry
from pyccf.ledger.history import History
from pyccf.node import historical as hist
from pyccf.node import status
from pyccf.node.answers import Answers
from pyccf.node.feeds import Feeds
from pyccf.node.forward import ANYWHERE, Forwarder
from pyccf.node.frontend import (
    ForPrimary,
    Frontend,
    InterfaceRules,
    Outcome,
    refusal,
)
from pyccf.node.index import DeclaredIndexes, Indexer, Spill
from pyccf.node.later import run_later
from pyccf.node.limits import WRITES_BYTES_MAX
from pyccf.node.limits import Limits as Limits
from pyccf.node.membership import Membership
from pyccf.node.outputs import (
    Append,
    Begin,
    BeginRecovery,
    Certificate,
    Channel,
    Committed,
    EndRecovery,
    Fetch,
    Log,
    Output,
    Replay,
    Respond,
    Send,
    Truncate,
)
from pyccf.node.replica import Replica
from pyccf.node.snapshots import Snapshotter
from pyccf.node.states import INITIALIZED, PART_OF_NETWORK, READING_PUBLIC_LEDGER
from pyccf.node.states import TAKES_PART as TAKES_PART
from pyccf.node.waiting import WAIT_HEADER_RAW, Wish, parse_wish
from pyccf.service.operations import Flag, TransactionFlags
from pyccf.types import Millis, NodeId, SeqNo, TxID, UnixSeconds, View

if TYPE_CHECKING:
    from pyccf.consensus.api import PeerMessage
    from pyccf.crypto.keys import PublicKey
    from pyccf.http.session import Deliver, Session
    from pyccf.kv.tx import Tx

Z32 = bytes(32)

FLUSH_MS: Millis = 25
"""How long entries wait at most for the next signature, or a message's worth of them, before peers
are sent them: few large messages cost a peer far less than many small ones."""
HAND_OVER_MS = 1000
"""How long a primary that asked another node to stand orders nothing."""


class Reader(Protocol):
    """Somebody who goes through the node's ledger a few entries at a time (see `Replay`)."""

    def replayed(self, first: SeqNo, entries: list[bytes], fault: str) -> None:
        """Entries were read, `first` onwards; none says why, unless it is just the end."""
        ...

    def progress(self) -> tuple[SeqNo, SeqNo] | None:
        """How far it is and how far it must go; None while that is not known."""
        ...


Sign = Callable[[TxID, bytes, bytes, UnixSeconds], dict[str, dict[bytes, bytes]]]
"""Makes the maps of a signature transaction from its id, the root, the tree blob and the time."""


class Node:
    """One node of a service."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        store: Store,
        history: History,
        chunker: Chunker,
        consensus: Engine,
        sign: Sign,
        endorse_service: Callable[[str], str],
        service_key: Callable[[], PublicKey],
        entropy: Entropy,
        limits: Limits,
        interfaces: dict[str, InterfaceRules],
        signs_as: Callable[[], SignsAs] = lambda: SignsAs("", ""),
    ) -> None:
        self.node_id = node_id
        self.store = store
        self.history = history
        self.chunker = chunker
        self.consensus = consensus
        self.limits = limits
        self.interfaces = interfaces
        self._sign = sign
        self.signs_as = signs_as
        self._entropy = entropy
        self.app = Frontend(self, "/app", limits_pending=True, app=None)
        self.gov = Frontend(self, "/gov", limits_pending=True, app=None)
        self.node = Frontend(self, "/node", limits_pending=False, app=None)
        self.node.open = True
        self.historical = hist.Historical(
            history.secrets,
            store.read_committed,
            committed=lambda: self.consensus.committed,
            fetch=lambda first, last: self._outputs.append(Fetch(first, last)),
            log=self.log,
            endorse=endorse_service,
            bytes_max=limits.historical_bytes_max,
        )
        self.indexes = Indexer(
            self.historical,
            lambda: self.consensus.committed,
            Spill(entropy, lambda output: self._outputs.append(output)),
            self.log,
        )
        self._declared = DeclaredIndexes(store, self.indexes, self.log)
        self.state = INITIALIZED
        self.startup_seqno: SeqNo = 0
        self.began_with = b""
        """Digest of the snapshot there."""
        self.service_open = False
        """It is committed that the service is open to users."""
        self.stop_notice = False
        self.now: Millis = 0
        self.unix: UnixSeconds = 0
        self.flags = TransactionFlags()
        """Raised by governance, taken when its transaction commits."""
        self._outputs: list[Output] = []
        self._entries: list[Entry] = []
        self.answers = Answers(self)
        self._last_signed: SeqNo = 0
        self._last_signature_at: Millis = 0
        self._ticked_at: Millis | None = None
        self._ordering_from: Millis = 0
        """Before this time nothing is ordered: another node was asked to stand."""
        self._flush_due = False
        """Peers are to be sent what is new when this step is over."""
        self._flushed_at: Millis = 0
        self.tidy_due = False
        """A retirement was committed: it is to be recorded when this step is over."""
        self.record_retired: Callable[[], None] = _nobody
        """Writes down which retirements are committed; set by who knows the tables."""
        self.conversations: list[Callable[[Millis], None]] = []
        """What else happens as time passes; each is told the time with every tick."""
        self.reader: Reader | None = None
        """Who goes through the ledger at present."""
        self.on_rollback: list[Callable[[SeqNo], None]] = []
        """Called with the seqno after which everything was rolled back."""
        self.recovering = False
        """The ledger is written as that of a recovery that is not complete."""
        self.replica = Replica(self, service_key)
        self.membership = Membership(self)
        self.snapshots = Snapshotter(self, limits.snapshot_tx_count, limits.snapshot_interval_ms)
        self.forwarder = Forwarder(self)
        self.feeds = Feeds(self)
        consensus.attach(self.replica)

    # --- requests -------------------------------------------------------------------------------

    def handle(self, session: Session, request: Request) -> bytes | None:
        """Execute one request. The answer's bytes, or None when it is given later."""
        wish: Wish | None = None
        try:
            if request.has_header(WAIT_HEADER_RAW):
                wish = parse_wish(request)
                self.answers.check_room()
            outcome = self._execute(session, request)
        except NeedsHistory as need:
            run_later(self, session, request, wish, session.defer(), need)
            return None
        except ForPrimary:
            refused = self.forwarder.forward(session, request, wish, session.defer)
            if refused is None:
                return None
            outcome = refused
        except OpenFeed as wanted:
            refused = self._open_feed(session, request, wanted)
            if refused is None:
                return None
            outcome = refused
        except AnswerFollows:
            return None
        except RpcError as e:
            outcome = refusal(e.status, e.code, e.message)
        if outcome.close:
            session.close_after = True
        if wish is not None and outcome.txid is not None:
            self.answers.hold_outcome(session.defer(), wish, outcome, request)
            return None
        return encode_response(
            outcome.status, outcome.headers, outcome.body, request.method == "HEAD"
        )

    def _open_feed(self, session: Session, request: Request, wanted: OpenFeed) -> Outcome | None:
        try:
            self.feeds.open(session, request, wanted)
        except RpcError as e:
            return refusal(e.status, e.code, e.message)
        return None

    def execute(self, session: Session, request: Request) -> Outcome:
        """What a request comes to, without answering it."""
        return self._execute(session, request)

    def _execute(self, session: Session, request: Request) -> Outcome:
        path = request.path
        if path.startswith("/app/"):
            frontend, path = self.app, path[4:]
        elif path.startswith("/gov/"):
            frontend, path = self.gov, path[4:]
        elif path.startswith("/node/"):
            frontend, path = self.node, path[5:]
        else:
            frontend = self.app
        rules = ANYWHERE if session.forwarded else self.interfaces[session.interface]
        return frontend.execute(session, request, path, rules)

    # --- history --------------------------------------------------------------------------------

    def fetched(
        self,
        first: SeqNo,
        last: SeqNo,
        entries: list[bytes],
        damage: PyccfError | None = None,
    ) -> None:
        """The shell read entries first..last, or fewer; `damage` says why there are none."""
        self.historical.fetched(first, last, entries, damage)

    def replayed(self, first: SeqNo, entries: list[bytes], fault: str = "") -> None:
        """The shell read entries, `first` onwards, that somebody wanted to go through.

        None when the ledger has no entry `first`, or it cannot be read: then `fault` says why.
        """
        if self.reader is not None:
            self.reader.replayed(first, entries, fault)

    def replay(self, first: SeqNo, last: SeqNo) -> None:
        """Have entries first..last read for the `reader`, as many of them as the shell likes."""
        self.demand(Replay(first, last))

    def demand(self, output: Output) -> None:
        """Have the shell do this, after everything asked for before."""
        self._hand_out_entries()
        self._outputs.append(output)

    def begin_recovery(self, seqno: SeqNo, reason: str | None) -> None:
        """From here on the ledger is that of a recovery, which begins after `seqno`."""
        self.recovering = True
        self.demand(BeginRecovery(seqno, reason))

    def end_recovery(self) -> None:
        """The service is open; nothing happens where nothing was recovered."""
        if self.recovering:
            self.recovering = False
            self.demand(EndRecovery())

    def bring_back(self, ctx: Context, txid_text: str | None) -> None:
        """Set ctx.historical to a committed transaction, or refuse (historical adapter)."""
        hist.adapt(self, ctx, txid_text)

    def historical_state(self, ctx: Context, txid: TxID) -> HistoricalState:
        """One committed transaction. Raises RpcError if it is none, or NeedsHistory."""
        return hist.bring_back(self, ctx, txid)

    def historical_range(
        self, handle: int, first: SeqNo, last: SeqNo, expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """States first..last, or None while they are being read.

        Raises LocalError for more than `historical.RANGE_MAX` states, or none.
        """
        return self.historical_states(handle, range(first, last + 1), expiry_s)

    def historical_states(
        self, handle: int, seqnos: Sequence[SeqNo], expiry_s: int
    ) -> Sequence[HistoricalState] | None:
        """States of these seqnos, which ascend, or None while they are being read."""
        if seqnos and seqnos[-1] > self.consensus.committed:
            hist.check(seqnos)
            return None
        return self.historical.request(("app", handle), seqnos, expiry_s * 1000)

    def historical_drop(self, handle: int) -> bool:
        """Forget what a handle holds."""
        return self.historical.drop(("app", handle))

    def respond(self, deliver: Deliver, response: bytes) -> None:
        """Give an answer after everything asked for before."""
        self._hand_out_entries()
        self._outputs.append(Respond(deliver, response))

    # --- ordering -------------------------------------------------------------------------------

    def commit(self, tx: Tx, claims: bytes | None = None, flags: int = 0) -> TxID | None:
        """Apply what a transaction wrote and order it; its id, or that of the state it read.

        `flags` are those of the entry. None when the transaction opened no table. Raises Conflict
        or CompactedVersion, ViewChanged when it wrote something and this node is not the primary,
        and RpcError when it wrote more than an entry of the ledger may hold.
        """
        public = private = b""
        writes = tx.writes
        if writes:
            if not self.can_order:
                raise ViewChanged("This node is not the primary: it cannot order transactions.")
            public, private = wire.encode(writes)
            size = len(public) + len(private)
            if size > WRITES_BYTES_MAX:
                raise _too_large(size)
        written = self.store.commit(tx)
        if written is None:
            return tx.read_txid
        seqno = written.version
        txid = new_txid(self.store.view, seqno)
        entry = self.history.append(txid, public, private, claims=claims or Z32, flags=flags)
        self._order(entry, flags)
        if self.flags.raised:
            for flag in self.flags.take(tx):
                if flag is Flag.CHUNK:
                    self.chunker.force(seqno)
                else:
                    self.snapshots.request()
        if seqno - self._last_signed >= self.limits.signature_tx_count:
            self.sign()
        return txid

    def order(self, tx: Tx, claims: bytes) -> Entry:
        """Order a transaction of this node's own that writes something. Raises ViewChanged."""
        if not self.can_order:
            raise ViewChanged("This node is not the primary: it cannot order transactions.")
        written = self.store.commit(tx)
        assert written is not None, "it writes something"
        public, private = wire.encode(written.maps)
        txid = TxID(self.store.view, written.version)
        entry = self.history.append(txid, public, private, claims=claims)
        self._order(entry)
        return entry

    def _order(self, entry: Entry, flags: int = 0) -> None:
        size = len(entry.data)
        self.chunker.follow(entry.seqno, size, flags)
        self._entries.append(entry)
        self.consensus.append(entry.seqno, entry.committable, size)

    def sign(self) -> None:
        """Order a signature transaction over everything before it."""
        store = self.store
        txid = TxID(store.view, store.version + 1)
        root = self.history.root()
        maps = self._sign(txid, root, self.history.tree.serialise(), self.unix)
        tx = store.tx()
        for name, rows in maps.items():
            handle = tx.map(name)
            for key, value in rows.items():
                handle.set(key, value)
        written = store.commit(tx)
        assert written is not None
        assert written.version == txid.seqno
        snapshot_due = self.snapshots.due(txid.seqno)
        ends_chunk = self.chunker.end_requested(txid.seqno, snapshot=snapshot_due)
        public, private = wire.encode(written.maps)
        entry = self.history.append(
            txid,
            public,
            private,
            flags=FORCE_CHUNK_AFTER if ends_chunk else 0,
            committable=True,
        )
        self.historical.signed(txid.seqno)
        self.snapshots.signed(entry)
        self._order(entry)
        self._flush_due = True
        self._last_signed = txid.seqno
        self._last_signature_at = self.now

    def persisted(self, seqno: SeqNo) -> None:
        """The shell wrote every entry up to `seqno` to the ledger.

        Said of entries as they stand now: after a Truncate only of what was written since.
        """
        self.consensus.persisted(seqno)

    def committed(self, seqno: SeqNo) -> None:
        """The store and the history made everything up to `seqno` final."""
        self._hand_out_entries()
        self._outputs.append(Committed(seqno))
        self.answers.release()

    # --- what others order ----------------------------------------------------------------------

    def receive(self, sender: NodeId, channel: Channel, data: bytes) -> None:
        """A peer sent a message. Nothing it holds can do more than be refused."""
        if channel is Channel.CONSENSUS:
            if self.state in TAKES_PART:
                self.consensus.receive(sender, data)
        else:
            self.forwarder.receive(sender, data)

    def congested(self, peer: NodeId, yes: bool) -> None:
        """The way to a peer is full, or free again."""
        self.consensus.congested(peer, yes)

    def accepts_peer(self, node_id: NodeId) -> bool:
        """Whether a node whose certificate the service endorsed may send us anything."""
        return self.membership.accepts(node_id)

    def send_to(self, peer: NodeId, channel: Channel, message: PeerMessage) -> bool:
        """Have a message carried, after everything asked for before.

        A node that has just joined knows no addresses; the shell then takes the one that the peer
        told when it connected. False for a request that cannot be carried for want of an address.
        """
        address = self.membership.address(peer)
        if address is None and channel is Channel.FORWARD:
            return False
        self._hand_out_entries()
        self._outputs.append(Send(peer, address or "", channel, message))
        return True

    def followed(self, entries: list[Entry]) -> None:
        """Entries that another node ordered were taken over; the last one may be a signature.

        Or they were in the ledger already.
        """
        if self.state != READING_PUBLIC_LEDGER:
            self._entries += entries
        last = entries[-1]
        if last.committable:
            self._last_signed = last.seqno
            self.historical.signed(last.seqno)
            self.snapshots.followed(last)

    def undone(self, seqno: SeqNo) -> None:
        """Everything after `seqno` was rolled back, and is to be cut off the ledger."""
        self._entries = [e for e in self._entries if e.seqno <= seqno]
        self._outputs = _without_entries_after(seqno, self._outputs)
        self._hand_out_entries()
        self._outputs.append(Truncate(seqno))
        self.historical.rollback(seqno)
        self._last_signed = self.historical.last_signed
        self.snapshots.rollback(seqno)
        for told in self.on_rollback:
            told(seqno)

    def begin_at(self, seqno: SeqNo, digest: bytes) -> None:
        """This node's ledger begins after `seqno`, with the snapshot of that digest."""
        self.startup_seqno = seqno
        self.began_with = digest
        self.chunker = Chunker(self.chunker.threshold, seqno)
        self.historical.signed(seqno)
        self._last_signed = seqno
        self.snapshots.begin(seqno)
        if self.state != READING_PUBLIC_LEDGER:
            self.demand(Begin(seqno))

    def snapshot_saved(self, name: str, failure: str | None) -> None:
        """The shell wrote a snapshot, or could not: then it says why."""
        if failure is None:
            self.log("info", "", f"New snapshot file written to {name}")
        else:
            self.log("fail", "", f"Snapshot {name} could not be written: {failure}")

    def ends_at(self, seqno: SeqNo, view: View) -> None:
        """Of the entries that were in the ledger already, those after `seqno` do not count."""
        assert self.state == READING_PUBLIC_LEDGER
        self.store.rollback(seqno, view)
        self.chunker.rollback(seqno)
        self.history.rollback(seqno)
        self.historical.rollback(seqno)
        self._last_signed = seqno
        for told in self.on_rollback:
            told(seqno)

    def final_to(self, seqno: SeqNo) -> None:
        """Entries that were in the ledger already are final up to `seqno`."""
        assert self.state == READING_PUBLIC_LEDGER
        self.chunker.compact(seqno)
        self.store.compact(seqno)
        self.history.compact(seqno)

    @property
    def retired(self) -> bool:
        """Whether this node left the network for good."""
        return self.membership.retired

    # --- time -----------------------------------------------------------------------------------

    def clock(self, now: Millis, unix: UnixSeconds) -> None:
        """It is now `now` (monotonic) and `unix` (wall clock); nothing else happens."""
        self.now = now
        self.unix = unix

    def tick(self, now: Millis, unix: UnixSeconds) -> None:
        """Time passed: sign if it is due, answer who waited too long."""
        self.clock(now, unix)
        elapsed = 0 if self._ticked_at is None else now - self._ticked_at
        self._ticked_at = now
        consensus = self.consensus
        if self.state in TAKES_PART:
            consensus.tick(elapsed)
            if consensus.can_replicate and now - self._flushed_at >= FLUSH_MS:
                self._flush_due = True
        if consensus.can_replicate and (
            consensus.should_sign
            or (
                self.store.version > self._last_signed
                and now - self._last_signature_at >= self.limits.signature_delay_ms
            )
        ):
            self.sign()
        self.snapshots.tick()
        self.forwarder.tick(now)
        self.answers.tick(now)
        if self.membership.retired:
            self.dismiss("before this node was retired")
        self.historical.tick(now)
        if self.state == PART_OF_NETWORK:
            self._declared.tick()
            self.indexes.tick(now)
        if len(self.feeds):
            self.feeds.tick()
        for passes in self.conversations:
            passes(now)

    @property
    def at_ease(self) -> bool:
        """Whether ticks may be seldom: another node leads, and nothing goes on with each one."""
        return (
            self.state == PART_OF_NETWORK
            and self.consensus.primary not in (None, self.node_id)
            and not (self.historical.busy or len(self.indexes) or len(self.feeds))
            and not self.snapshots.cutting
        )

    def dismiss(self, when: str) -> None:
        """Answer everybody who still waits or listens: this node learns of no more commits."""
        self.feeds.end()
        self.answers.dismiss(when)

    def finish(self) -> None:
        """The node is about to stop: sign what is not signed yet."""
        if self.consensus.can_replicate and self.store.version > self._last_signed:
            self.sign()

    def hand_over(self) -> NodeId | None:
        """Ask the best peer to become primary before this node stops; which one, None if nobody."""
        if not self.consensus.can_replicate:
            return None
        successor = self.consensus.hand_over()
        if successor is not None:
            self._ordering_from = self.now + HAND_OVER_MS
        return successor

    @property
    def can_order(self) -> bool:
        """Whether this node may order what clients write: it is primary, and not handing over.

        What it ordered after it asked another node to stand would be lost in the election; if none
        follows, it goes on.
        """
        return self.consensus.can_replicate and self.now >= self._ordering_from

    def take_outputs(self) -> list[Output]:
        """What the shell must do now, in order."""
        if self._may_tidy:
            self.tidy_due = False
            if self.consensus.can_replicate:
                self.record_retired()
        self._hand_out_entries()
        if self.forwarder.answers:
            self.forwarder.hand_out()
        if self._flush_due:
            self._flush_due = False
            self._flushed_at = self.now
            self.consensus.flush()
        out, self._outputs = self._outputs, []
        return out

    def _hand_out_entries(self) -> None:
        if self._entries:
            self._outputs.append(Append(self._entries))
            self._entries = []

    @property
    def has_outputs(self) -> bool:
        return bool(
            self._entries
            or self._outputs
            or self._flush_due
            or self._may_tidy
            or self.forwarder.answers
        )

    @property
    def _may_tidy(self) -> bool:
        """Whether retirements are to be recorded now: not while this node hands over."""
        return self.tidy_due and self.now >= self._ordering_from

    # --- what handlers and frontends ask --------------------------------------------------------

    def last_committed(self) -> TxID:
        """The last committed transaction, 0.0 before the first."""
        seqno = self.consensus.committed
        return TxID(self.consensus.view_of(seqno) or 0, seqno)

    def current_view(self) -> View:
        return self.consensus.view

    def view_history(self, since: View) -> list[TxID]:
        return self.consensus.view_history(since)

    def view_of(self, seqno: SeqNo) -> View | None:
        return self.consensus.view_of(seqno)

    def tx_status(self, txid: TxID) -> TxStatus:
        """What is known of a transaction id (spec: http-api.md §8.2)."""
        return status.tx_status(self.consensus, txid)

    def unix_time(self) -> UnixSeconds:
        return self.unix

    def random(self, n: int) -> bytes:
        return self._entropy.bytes(n)

    def root_at(self, tx: Tx) -> bytes:
        """Merkle root of the state that `tx` reads (it must be the latest)."""
        txid = tx.read_txid
        assert txid is None or txid.seqno == self.store.version
        return self.history.root()

    @property
    def can_replicate(self) -> bool:
        return self.consensus.can_replicate

    def too_many_pending(self) -> bool:
        """Back-pressure: this primary has ordered too much that is not yet committed."""
        limit = self.limits.uncommitted_max
        consensus = self.consensus
        return (
            limit > 0 and consensus.last - consensus.committed >= limit and consensus.can_replicate
        )

    def serve_users(self) -> None:
        """Open /app if the service is open and this node has its private state."""
        if self.service_open and self.state == PART_OF_NETWORK:
            self.app.open = True

    @property
    def app_open(self) -> bool:
        return self.app.open

    @property
    def gov_open(self) -> bool:
        return self.gov.open

    # --- reports --------------------------------------------------------------------------------

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        """Report one line."""
        self._outputs.append(Log(level, tag, text, about))

    def announce_certificate(self, authority: str, cert_pem: str) -> None:
        """Have interfaces of this authority present a certificate from now on."""
        self._outputs.append(Certificate(authority, cert_pem))

    def report_failure(self, request: Request, error: Exception) -> None:
        """A handler failed in a way nobody foresaw."""
        # An application's error may not be able to put itself into words.
        words = " ".join(map(str, error.args)) if isinstance(error, PyccfError) else str(error)
        self.log(
            "fail",
            "rpc",
            f"{request.method} {request.path} failed: {type(error).__name__}: {words}",
        )


def _nobody() -> None:
    """Nothing to record: this node has no tables yet."""


def _too_large(size: int) -> RpcError:
    return RpcError(
        500,
        "InternalError",
        f"The transaction writes {size} bytes; an entry of the ledger has room for"
        f" {WRITES_BYTES_MAX}.",
    )


def _without_entries_after(seqno: SeqNo, outputs: list[Output]) -> list[Output]:
    """What is to be done, less the writing of entries that no longer count."""
    kept: list[Output] = []
    for output in outputs:
        if isinstance(output, Append) and output.entries[-1].seqno > seqno:
            entries = [e for e in output.entries if e.seqno <= seqno]
            if entries:
                kept.append(Append(entries))
        else:
            kept.append(output)
    return kept
