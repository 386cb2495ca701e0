"""The second half of a recovery, on every node: private state comes back, the service opens.

A node that recovers a service, or joins one that is being recovered, first knows public state only.
When it is committed that the former secrets were restored, it reads its ledger again from the
start, this time for the private parts of the entries, beside its everyday work. It goes as far as
entries are committed; those after that it remembers since they came (`Replica.tail`), so that the
last step, in which the private maps are put beside the public ones, loses nothing. Before that step
the tree over all entries that were read must have the root of the node's own history.

The primary then opens the service; should it fail, so does the next one. Whatever cannot be read
ends the node with the reason (spec: node-lifecycle.md §9.3, crypto.md §5.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.store import Store
from pyccf.ledger import past_secrets
from pyccf.ledger.past_secrets import PastSecret
from pyccf.ledger.snapshot import check_evidence
from pyccf.merkle.tree import Tree
from pyccf.node.outputs import Stop
from pyccf.node.states import (
    PART_OF_NETWORK,
    PART_OF_PUBLIC_NETWORK,
    READING_PRIVATE_LEDGER,
    READING_PUBLIC_LEDGER,
)
from pyccf.service import info, restore, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.operations import Flag
from pyccf.types import Millis, SeqNo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyccf.kv.changes import MapChanges
    from pyccf.ledger.receipt import Proven
    from pyccf.ledger.secrets import LedgerSecret
    from pyccf.ledger.snapshot import Snapshot
    from pyccf.node.create import Parts
    from pyccf.node.restore import Restorable

REOPEN_RETRY: Millis = 1000
"""How long a primary waits after it could not open the service."""


class PrivateRecovery:
    """What one node knows of past secrets, and its way to private state."""

    def __init__(self, parts: Parts) -> None:
        self._snapshot: Snapshot | None = None
        """What the public state was begun with; None: the first entry."""
        self._proven: Proven | None = None
        """What the receipt of that proves."""
        self._tree_before = b""
        """The tree over everything before the first entry that is read."""
        self.past: list[PastSecret] = []
        """Rows about past secrets, in order: with the latest secret they give all."""
        self._parts = parts
        self._node = parts.node
        self._store: Store | None = None
        """Private maps, as far as they were read."""
        self._tree = Tree()
        self._reopen_at: Millis = 0
        store = parts.node.store
        store.on_write(tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET, self._stored)
        store.on_commit(tables.ENCRYPTED_LEDGER_SECRETS, self._restored)
        parts.node.conversations.append(self._tick)
        parts.node.on_rollback.append(self._undone)

    def began_with(self, snapshot: Restorable) -> None:
        """The public state is begun with a snapshot: private state begins there, too."""
        self._snapshot, self._proven = snapshot.snapshot, snapshot.proven
        self._tree_before = snapshot.tree.serialise()

    # --- what the ledger tells ------------------------------------------------------------------

    def _stored(self, seqno: SeqNo, changes: MapChanges) -> None:
        """A past secret was written down."""
        raw = changes.get(tables.UNIT)
        if raw is None:
            return
        row = past_secrets.parse(seqno, raw)
        self.past.append(row)
        if self._node.state != READING_PUBLIC_LEDGER:
            self._parts.secrets.stored(row.next_version, seqno)

    def _undone(self, seqno: SeqNo) -> None:
        """What was written down after `seqno` never happened."""
        while self.past and self.past[-1].seqno > seqno:
            self.past.pop()

    def _restored(self, seqno: SeqNo, changes: MapChanges) -> None:
        """It is committed that former secrets were handed to the nodes."""
        if self._node.state != PART_OF_PUBLIC_NETWORK:
            return
        identity = self._parts.identity
        try:
            former = restore.secrets_for(seqno, changes, identity.node_id, identity.encryption_key)
        except InvalidLedger as e:
            self._give_up(e.message)
            return
        if former:
            self.begin(former)

    # --- reading --------------------------------------------------------------------------------

    def begin(self, former: Sequence[LedgerSecret]) -> None:
        """With these secrets of the services before, read the private ledger."""
        node = self._node
        assert node.replica.public_only, "private state is read once"
        try:
            secrets = self._parts.secrets
            secrets.restore(self._with_older(former))
            if self._snapshot is not None and self._proven is not None:
                check_evidence(self._snapshot, self._proven, secrets)
            self._store = self._begin()
        except (InvalidLedger, LocalError) as e:
            self._give_up(f"Private state cannot be restored: {e.message}")
            return
        node.state = READING_PRIVATE_LEDGER
        node.reader = self
        node.log("info", "", f"Reading the private ledger up to {node.store.version}")
        self._ask()

    def _with_older(self, former: Sequence[LedgerSecret]) -> list[LedgerSecret]:
        """What was handed out may begin with a snapshot; the ledger has those before that."""
        latest = former[-1]
        rows = [row for row in self.past if row.next_version <= latest.version]
        if not rows or rows[-1].next_version != latest.version:
            return list(former)
        known = {secret.version for secret in former}
        older = past_secrets.walk_back(rows, latest.key)
        return sorted(
            [*former, *(secret for secret in older if secret.version not in known)],
            key=lambda secret: secret.version,
        )

    def _begin(self) -> Store:
        """Private state before the first entry that is read: nothing, or that of the snapshot."""
        store = Store(self._node.store.view)
        self._tree = Tree()
        if self._snapshot is not None:
            at = self._snapshot
            store.restore(at.seqno, at.view, at.private_maps(self._parts.secrets))
            self._tree = Tree.parse(self._tree_before)
            self._snapshot, self._proven, self._tree_before = None, None, b""
        return store

    def progress(self) -> tuple[SeqNo, SeqNo] | None:
        """The last entry whose private part was read, and the one that is aimed for."""
        if self._store is None:
            return None
        return self._store.version, self._node.store.version

    def _ask(self) -> None:
        assert self._store is not None
        committed = self._node.consensus.committed
        if self._store.version < committed:
            self._node.replay(self._store.version + 1, committed)
        else:
            self._complete(self._store)

    def replayed(self, first: SeqNo, entries: list[bytes], fault: str) -> None:
        """Entries were read from the ledger."""
        store = self._store
        assert store is not None
        if first != store.version + 1:
            return
        if not entries:
            why = fault or "it is not there"
            self._give_up(f"Entry {first} of the private ledger cannot be read: {why}")
            return
        try:
            for data in entries:
                self._take(store, data)
        except InvalidLedger as e:
            self._give_up(f"Private ledger, entry {store.version + 1}: {e.message}")
            return
        # What is committed here was committed before: nothing of it need be taken back.
        store.compact(store.version)
        self._tree.flush(store.version)
        self._ask()

    def _take(self, store: Store, data: bytes) -> None:
        view, seqno, leaf, private = self._node.replica.private_part(data)
        if seqno != store.version + 1:
            raise InvalidLedger(f"Found entry {seqno} in its place.", seqno=seqno)
        self._tree.append(leaf)
        store.apply(seqno, private, view=view)

    # --- the end --------------------------------------------------------------------------------

    def _complete(self, store: Store) -> None:
        """Everything committed was read: put the private maps beside the public ones."""
        node = self._node
        if self._tree.root() != node.history.tree.root_at(store.version):
            self._give_up(
                f"The private ledger up to {store.version} is not the one whose public parts were"
                " read: the root of its Merkle tree differs"
            )
            return
        try:
            for seqno in range(store.version + 1, node.store.version + 1):
                data = node.replica.tail.get(seqno)
                if data is None:  # this node ordered it itself, when there was nothing private
                    store.apply(seqno, {}, view=node.store.view_of(seqno))
                else:
                    view, _, _, private = node.replica.private_part(data)
                    store.apply(seqno, private, view=view)
            node.store.graft(store)
        except (InvalidLedger, LocalError) as e:
            self._give_up(f"The private ledger does not fit the public one: {e.message}")
            return
        self._store = None
        node.reader = None
        node.replica.decrypt_all()
        node.snapshots.enabled = True
        node.state = PART_OF_NETWORK
        node.log("info", "", f"Private state was recovered up to {node.store.version}")
        node.serve_users()

    def _give_up(self, reason: str) -> None:
        self._node.reader = None
        self._node.log("fail", "", reason)
        self._node.demand(Stop(reason))

    # --- opening --------------------------------------------------------------------------------

    def _tick(self, now: Millis) -> None:
        node = self._node
        if node.state != PART_OF_NETWORK or node.app.open or not node.can_order:
            return
        if now >= self._reopen_at:
            self._reopen(now)

    def _reopen(self, now: Millis) -> None:
        """Open the service if it waits for that."""
        node, parts = self._node, self._parts
        self._reopen_at = now + REOPEN_RETRY
        tx = node.store.tx()
        if info.status(tx) is not ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
            return
        try:
            restore.reopen(tx, parts.secrets, parts.service, node.unix, parts.entropy)
        except LocalError as e:
            node.log("fail", "", f"The service cannot be opened yet: {e.message}")
            return
        node.flags.raise_(tx, Flag.SNAPSHOT)
        txid = node.commit(tx)
        node.log("info", "", f"The recovered service is opened at {txid}")
