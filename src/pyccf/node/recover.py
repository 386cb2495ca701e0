"""The first half of a recovery: a new service goes on where the ledger of another one ends.

The node goes through its ledger a few entries at a time, as a backup would that follows a primary:
form, place and public parts of each entry, and every signature with the root, the node and the
service it names. Private parts stay closed. The ledger ends with the last signature that holds;
what comes after it was never provable and is set aside, with the reason. There the new service
begins: a new identity, a new ledger secret, a view that nobody was in, and a transaction that names
the former service (spec: node-lifecycle.md §9.1, ledger.md §12). How it gets its private state back
is in `private`.

Nothing is written before it is known that the ledger is that of the service the operator named.
Refused, ending the program: a ledger without any provable entry, or of another service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from pyccf.attest import virtual
from pyccf.codec import cose
from pyccf.codec.text import unb64
from pyccf.consensus.viewlog import ViewLog
from pyccf.crypto import certs
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.tx import Tx
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import FORCE_CHUNK_BEFORE, PREFIX_SIZE, VIEW_MASK
from pyccf.ledger.secrets import LedgerSecret
from pyccf.ledger.signature import CWT_ISS, CWT_SUB
from pyccf.ledger.snapshot import record_of
from pyccf.node.create import LEDGER_SECRET_BYTES, NodePlan, Parts, assemble
from pyccf.node.outputs import Stop
from pyccf.node.private import PrivateRecovery
from pyccf.node.restore import Restorable, restore_from_snapshot
from pyccf.node.secrets import NodeSecrets
from pyccf.node.states import PART_OF_PUBLIC_NETWORK, READING_PUBLIC_LEDGER
from pyccf.service import genesis, info, members, tables
from pyccf.service.identity import NodeIdentity, ServiceIdentity
from pyccf.service.nodes import NodeStatus
from pyccf.types import Json, SeqNo, TxID, UnixSeconds, View

if TYPE_CHECKING:
    from pyccf.crypto.entropy import Entropy
    from pyccf.node.frontend import App

END: SeqNo = 1 << 62
"""Further than any ledger goes."""


class RecoveryPlan(NodePlan, frozen=True, kw_only=True):
    """What a recovered service and its first node are to be."""

    previous_service_identity: str
    """PEM certificate of the service that is recovered; any that it ever had."""
    service_data: Json = None
    node_validity_days: int = 1
    snapshot: Restorable | None = None
    """Where to begin to read, if not with the first entry."""
    whole_ledger: bool = True
    """Whether the ledger is there from its first entry on, for nodes that join meanwhile."""
    sealed: Mapping[SeqNo, bytes] = {}
    """Secrets of the former service that this machine kept, by version."""
    cose_issuer: str = ""
    cose_subject: str = ""
    """Used when the ledger holds no COSE signature that says."""


def recover_service(
    plan: RecoveryPlan,
    identity: NodeIdentity,
    service: ServiceIdentity,
    *,
    entropy: Entropy,
    started: UnixSeconds,
    app: App | None,
    install: Callable[[Parts], None],
) -> Parts:
    """Make a node that reads its ledger and goes on with it as `service`.

    Raises LocalError when the previous identity is no certificate.
    """
    try:
        previous = certs.public_key(plan.previous_service_identity)
    except ValueError as e:
        raise LocalError(
            f"The previous service identity cannot be used: {e}",
            hint="command.recover.previous_service_identity_file must hold the certificate of the"
            " service to recover, in PEM.",
        ) from None
    secrets = NodeSecrets()
    parts = assemble(
        plan, identity, service, secrets, entropy=entropy, started=started, app=app, install=install
    )
    recovery = PublicRecovery(parts, plan, previous.der, started)
    parts.private = PrivateRecovery(parts)
    parts.whole_ledger = plan.whole_ledger
    parts.sealed = plan.sealed
    recovery.begin()
    return parts


class PublicRecovery:
    """One node's way through the public ledger."""

    def __init__(
        self, parts: Parts, plan: RecoveryPlan, previous_key: bytes, started: UnixSeconds
    ) -> None:
        self._parts = parts
        self._node = parts.node
        self._plan = plan
        self._previous_key = previous_key
        self._started = started
        self._views = ViewLog()
        self._view: View = 0
        """Of the last entry."""
        self._signed = TxID(0, 0)
        """The last signature that holds."""
        self._evidence: SeqNo = END
        """The transaction that is to have recorded the snapshot begun with."""
        self._recorded = False
        self._lost_at: SeqNo = 0
        """A recovery cut off the transaction that had recorded it."""

    def begin(self) -> None:
        """Read the ledger from its first entry, or from the one after the snapshot."""
        node = self._node
        node.state = READING_PUBLIC_LEDGER
        node.replica.public_only = True
        node.snapshots.enabled = False
        node.reader = self
        found = self._plan.snapshot
        if found is not None:
            restore_from_snapshot(node, found, None)
            assert self._parts.private is not None
            self._parts.private.began_with(found)
            at = found.snapshot
            self._views.initialise(at.starts)
            self._view = at.view
            self._signed = at.txid
            if found.proven is not None and found.proven.txid is not None:
                self._evidence = found.proven.txid.seqno
        node.log("info", "", f"Starting to read public ledger from {self._signed.seqno + 1}")
        node.replay(self._signed.seqno + 1, END)

    def progress(self) -> tuple[SeqNo, SeqNo] | None:
        """Where the ledger ends is not known before."""
        return None

    def replayed(self, first: SeqNo, entries: list[bytes], fault: str) -> None:
        """Entries were read; none is the end of the ledger."""
        try:
            for data in entries:
                self._take(data)
        except InvalidLedger as e:
            self._end(f"Entry {self._node.store.version + 1} is not valid: {e.message}")
            return
        if entries:
            self._node.replay(self._node.store.version + 1, END)
        else:
            self._end(fault)

    def _take(self, data: bytes) -> None:
        node = self._node
        seqno = node.store.version + 1
        view = int.from_bytes(data[32:36], "little") & VIEW_MASK
        if len(data) < PREFIX_SIZE or view < self._view or view < 1:
            raise InvalidLedger(f"Its view, {view}, comes after view {self._view}.", seqno=seqno)
        replica = node.replica
        plain = replica.apply_plain(view, seqno, [data], 0)
        if not plain and replica.apply(TxID(view, seqno), data):
            if view > self._views.latest:
                self._views.begin(view, self._signed.seqno + 1)
            self._signed = TxID(view, seqno)
            node.final_to(seqno)
        if seqno <= self._evidence < END:
            self._watch(seqno)
        self._view = view

    def _watch(self, seqno: SeqNo) -> None:
        """Look for the record of the snapshot, and for the end of the service that took it."""
        found, node = self._plan.snapshot, self._node
        assert found is not None
        tx = node.store.tx(read_only=True)
        if not self._lost_at and node.store.map_version(tables.PREVIOUS_SERVICE_IDENTITY) == seqno:
            previous = tables.get_text(tx, tables.PREVIOUS_SERVICE_IDENTITY)
            if _key_of(previous) == found.service_key:
                self._lost_at = seqno
        elif seqno == self._evidence:
            row = tables.get_json(tx, tables.SNAPSHOT_EVIDENCE)
            self._recorded = row == record_of(found.snapshot.digest, found.snapshot.seqno)

    # --- the end of the former service ----------------------------------------------------------

    def _end(self, why: str) -> None:
        node, signed = self._node, self._signed
        beyond = node.store.version - signed.seqno
        node.reader = None
        if signed.seqno == 0:
            self._give_up(
                "There is no ledger to recover: " + (why or "no signature was found in it") + "."
                " Check ledger.directory and ledger.read_only_directories; where first entries are"
                " lost, snapshots.directory must hold a snapshot of the service from after them."
                " What is left on all hosts together is worth, this says: pyccf recover inspect"
                " DIR..."
            )
            return
        node.ends_at(signed.seqno, signed.view)
        tx = node.store.tx(read_only=True)
        other = self._other_service(tx) or self._other_snapshot()
        if other:
            self._give_up(other)
            return
        if why:
            node.log("fail", "", f"The ledger is readable up to {signed.seqno + beyond}: {why}")
        if beyond:
            node.log("info", "", f"{beyond} entries after the last signature do not count")
        node.log(
            "info",
            "",
            f"End of public ledger recovery - Truncating ledger to last signed TxID: {signed}",
        )
        try:
            self._found(tx, why or "no signature covers it")
        except LocalError as e:
            self._give_up(f"The service cannot be recovered: {e.message}")

    def _other_service(self, tx: Tx) -> str:
        """Why the ledger is not the one the operator meant, "" if it is."""
        row = info.read(tx)
        pem = None if row is None else row.get("cert")
        key = _key_of(pem)
        if key is None:
            return "The ledger does not say whose it is: public:ccf.gov.service.info has no cert."
        if key == self._previous_key:
            return ""
        return (
            "The ledger is of another service than command.recover.previous_service_identity_file"
            " names. Nothing was changed. If the service of the ledger is the one you mean, give"
            " its certificate in that file; if not, ledger.directory is another one's. (Where a"
            " recovery was completed here, it is the one whose certificate was written to"
            f" command.service_certificate_file.) This is its certificate:\n{pem}"
        )

    def _other_snapshot(self) -> str:
        """Why the snapshot is not one that this ledger records, "" if it is, or does not say."""
        found = self._plan.snapshot
        if found is None:
            return ""
        # What no signature covers anybody may have put there.
        lost = 0 < self._lost_at <= self._signed.seqno
        there = self._evidence <= self._signed.seqno and not lost
        if self._recorded if there else lost or not found.by_itself:
            return ""
        return (
            f"Entry {self._evidence} of the ledger does not record the snapshot that this node"
            " began with. Nothing was changed. Take the snapshot away, and start again."
        )

    def _give_up(self, reason: str) -> None:
        self._node.log("fail", "", reason)
        self._node.demand(Stop(reason))

    # --- the beginning of the new one -----------------------------------------------------------

    def _found(self, tx: Tx, reason: str) -> None:
        """Write the transaction that makes the new service, and the first signature."""
        node, parts, plan, signed = self._node, self._parts, self._plan, self._signed
        secret = parts.entropy.bytes(LEDGER_SECRET_BYTES)
        parts.secrets.receive((LedgerSecret(signed.seqno + 1, secret, None),))
        endorsed = parts.service.endorse(
            parts.identity.csr_pem, self._started, plan.node_validity_days, parts.entropy
        )
        named = _cose_names(tx)
        parts.signer.issuer, parts.signer.subject = named or (plan.cose_issuer, plan.cose_subject)
        parts.signer.handed_out = endorsed
        node.begin_recovery(signed.seqno, reason)
        node.state = PART_OF_PUBLIC_NETWORK
        node.consensus.start(signed.view, signed.seqno, self._views.starts())
        created = node.store.tx()
        genesis.recover(
            created,
            genesis.RecoveryInfo(
                txid=TxID(node.consensus.view, signed.seqno + 1),
                service_cert=parts.service.cert_pem,
                service_data=plan.service_data,
                last_signed_root=bytes.fromhex(members.latest_signed_root(tx) or ""),
                node=genesis.NodeGenesis(
                    node_id=parts.identity.node_id,
                    entry=msgspec.structs.replace(parts.entry, status=NodeStatus.TRUSTED),
                    endorsed_certificate=endorsed,
                    measurement=virtual.MEASUREMENT,
                    host_data=plan.host_data,
                ),
            ),
        )
        txid = node.commit(created, flags=FORCE_CHUNK_BEFORE)
        node.sign()
        node.log("info", "", f"Recovered the public state; the new service was created at {txid}")


def _key_of(pem: Json) -> bytes | None:
    """The key of a certificate, None if it is none."""
    try:
        return key_of(pem if isinstance(pem, str) else "").der
    except ValueError:
        return None


def _cose_names(tx: Tx) -> tuple[str, str] | None:
    """Issuer and subject of the last COSE signature, None if there is none to be read."""
    try:
        text = tables.get_text(tx, tables.COSE_SIGNATURES)
        if text is None:
            return None
        claims = cose.parse_sign1(unb64(text)).headers.get(cose.CWT_CLAIMS)
    except (InvalidLedger, ValueError):
        return None
    if not isinstance(claims, dict):
        return None
    issuer, subject = claims.get(CWT_ISS), claims.get(CWT_SUB)
    return (issuer if isinstance(issuer, str) else "", subject if isinstance(subject, str) else "")
