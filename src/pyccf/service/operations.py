"""What a constitution may have the node do while it applies a proposal.

These are the functions behind `ccf.node.*`, `ccf.network.*` and the token key functions
(spec: js-runtime.md §4.10, governance.md §6-9). Each acts inside the proposal's transaction; what
must happen outside of it (a chunk that ends, a snapshot) is noted in `TransactionFlags` and taken
up by the node when that transaction commits. Refused with LocalError, in the words the proposer
reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.errors import LocalError
from pyccf.ledger.past_secrets import PastSecret
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.service import info, jwt, members, recovery, restore, tables
from pyccf.service.identity import ServiceIdentity
from pyccf.service.info import ServiceStatus
from pyccf.types import Json, MemberId, SeqNo, UnixSeconds

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

PART_OF_NETWORK = "PartOfNetwork"
PART_OF_PUBLIC_NETWORK = "PartOfPublicNetwork"
RECOVERS = (ServiceStatus.RECOVERING, ServiceStatus.WAITING_FOR_RECOVERY_SHARES)


class Flag(Enum):
    """What a transaction asks of the ledger writer once it commits."""

    CHUNK = "chunk"
    """The chunk ends at the next signature."""
    SNAPSHOT = "snapshot"
    """A snapshot is due at the next signature, where the chunk ends too."""


class TransactionFlags:
    """Flags of the transaction that is being executed.

    A node executes one transaction at a time: flags of an attempt that was abandoned are forgotten
    as soon as another transaction raises or takes flags.
    """

    __slots__ = ("_flags", "_tx", "raised")

    def __init__(self) -> None:
        self._tx: Tx | None = None
        self._flags: set[Flag] = set()
        self.raised = False
        """Whether there may be any."""

    def raise_(self, tx: Tx, flag: Flag) -> None:
        """Note a flag for this transaction."""
        if self._tx is not tx:
            self._tx = tx
            self._flags = set()
        self._flags.add(flag)
        self.raised = True

    def take(self, tx: Tx) -> frozenset[Flag]:
        """The flags of a transaction that now commits; all flags are forgotten."""
        found = frozenset(self._flags) if self._tx is tx else frozenset()
        self._tx = None
        self._flags = set()
        self.raised = False
        return found


class Operations:
    """Governance's hands on one node."""

    def __init__(
        self,
        *,
        secrets: LedgerSecrets,
        service: ServiceIdentity,
        entropy: Entropy,
        unix_time: Callable[[], UnixSeconds],
        node_state: Callable[[], str],
        flags: TransactionFlags,
        past: Callable[[], Sequence[PastSecret]] = tuple,
        sealed: Callable[[], Mapping[SeqNo, bytes]] = dict,
    ) -> None:
        """`node_state` gives the start-up state by its name in `/node/state`, `past` what the
        ledger of a service that recovers says about past secrets, `sealed` those secrets that this
        machine kept, by version."""
        self._past = past
        self._sealed = sealed
        self._secrets = secrets
        self._service = service
        self._entropy = entropy
        self._unix_time = unix_time
        self._node_state = node_state
        self._flags = flags
        self._rekeyed: tuple[Tx, LedgerSecret] | None = None
        """The last transaction that changed the ledger secret, and to which."""

    def __repr__(self) -> str:
        return f"Operations({self._service!r})"

    # --- ledger -------------------------------------------------------------------------------

    def trigger_ledger_rekey(self, tx: Tx) -> None:
        """Change the ledger secret with this transaction."""
        open_ = info.status(tx) is ServiceStatus.OPEN
        if self._node_state() != PART_OF_NETWORK or not open_:
            raise LocalError("Could not rekey ledger")
        try:
            self._rekeyed = (tx, recovery.rekey(tx, self._secrets, self._entropy))
        except LocalError as e:
            raise LocalError(f"Failed to rekey ledger: {e.message}") from None

    def trigger_recovery_shares_refresh(self, tx: Tx) -> None:
        """Issue fresh recovery shares for the secret in use."""
        try:
            self.refresh_shares(tx)
        except LocalError as e:
            raise LocalError(f"Unable to trigger recovery shares refresh: {e.message}") from None

    def refresh_shares(self, tx: Tx) -> None:
        """As above, with the plain reason when it fails (a member became Active)."""
        if info.status(tx) in RECOVERS:
            # New shares take the place of those there are, and open another secret.
            raise LocalError(
                "The shares there are open the ledger that is being recovered, and would be lost"
            )
        secret = recovery.latest_secret(tx, self._secrets)
        if self._rekeyed is not None and self._rekeyed[0] is tx:
            secret = self._rekeyed[1]
        recovery.issue_shares(tx, secret, self._entropy)

    def trigger_ledger_chunk(self, tx: Tx) -> None:
        """End the ledger chunk at the next signature."""
        self._flags.raise_(tx, Flag.CHUNK)

    def trigger_snapshot(self, tx: Tx) -> None:
        """Make a snapshot at the next signature."""
        self._flags.raise_(tx, Flag.SNAPSHOT)

    def latest_ledger_secret_seqno(self, tx: Tx) -> SeqNo:
        """First seqno of the ledger secret in use."""
        return recovery.latest_secret(tx, self._secrets).version

    # --- service ------------------------------------------------------------------------------

    def transition_service_to_open(self, tx: Tx, previous: str | None, following: str) -> None:
        """Open the service to users; no effect when it is open already."""
        try:
            self._open(tx, previous, following)
        except LocalError as e:
            raise LocalError(f"Unable to open service: {e.message}") from None

    def _open(self, tx: Tx, previous: str | None, following: str) -> None:
        _check_pem(following)
        if previous is not None:
            _check_pem(previous)
        service = info.require(tx)
        status = info.status_of(service)
        if status in (ServiceStatus.WAITING_FOR_RECOVERY_SHARES, ServiceStatus.OPEN):
            return
        if status is ServiceStatus.RECOVERING:
            self._check_previous(tx, previous)
        current = service.get("cert")
        if following != current:
            raise LocalError(
                "Service identity mismatch: the next service identity in the"
                " transition_service_to_open proposal does not match the current service"
                f" identity:\nNext:\n{following}\nCurrent:\n{current}"
            )
        state = self._node_state()
        if state == PART_OF_PUBLIC_NETWORK:
            self._await_secrets(tx)
            return
        if state != PART_OF_NETWORK:
            raise LocalError(f"Node in state {state} cannot open service")
        try:
            self._issue_first_shares(tx)
        except LocalError as e:
            raise LocalError(f"Failed to issue recovery shares: {e.message}") from None
        participants = len(members.holders(tx).participants)
        threshold = info.recovery_threshold(tx)
        assert threshold <= max(participants, 1), "shares were issued below the threshold"
        info.set_status(tx, ServiceStatus.OPEN)
        recovery.endorse_previous_identity(tx, self._service, self._unix_time())
        self._flags.raise_(tx, Flag.SNAPSHOT)

    def _await_secrets(self, tx: Tx) -> None:
        """A recovered service was accepted: with a secret that this machine kept it needs no
        shares."""
        sealed = self._sealed()
        if not sealed:
            restore.await_shares(tx)
            return
        past = self._past()
        latest = sealed.get(past[-1].next_version) if past else None
        if latest is None:
            raise LocalError(
                "None of the sealed ledger secrets is the latest one of the service that is"
                " recovered"
            )
        restore.await_shares(tx, restore.LOCAL_UNSEALING)
        restore.broadcast(tx, restore.walk_back(past, latest, self._secrets), self._entropy)

    # --- recovery -----------------------------------------------------------------------------

    @property
    def recovers_already(self) -> bool:
        """Whether the shares were there before: private state is being read, or has been."""
        return self._node_state() != PART_OF_PUBLIC_NETWORK

    def submit_share(self, tx: Tx, member_id: MemberId, share: bytes) -> restore.Submitted:
        """Take a member's share of the key to the ledger."""
        secret = recovery.latest_secret(tx, self._secrets)
        return restore.submit(tx, secret, member_id, share, self._entropy)

    def restore_secrets(self, tx: Tx) -> None:
        """Rebuild the former secrets from the shares. Raises LocalError when they do not."""
        restore.restore(tx, self._past(), self._secrets, self._entropy)

    def _issue_first_shares(self, tx: Tx) -> None:
        secret = recovery.latest_secret(tx, self._secrets)
        recovery.issue_shares(tx, secret, self._entropy)
        known = self._secrets.all()
        before = known[-2] if len(known) > 1 else None
        recovery.record_secret(tx, secret, before, secret.version, self._entropy)

    def _check_previous(self, tx: Tx, previous: str | None) -> None:
        actual = tables.get_text(tx, tables.PREVIOUS_SERVICE_IDENTITY)
        if actual is None or previous is None:
            raise LocalError(
                "Recovery with service certificate requires both, the previous"
                " service identity and the next"
            )
        if actual != previous:
            raise LocalError(
                "Previous service identity does not match.\n"
                f"Actual:\n{actual}\nIn proposal:\n{previous}"
            )

    # --- certificates -------------------------------------------------------------------------

    def generate_endorsed_certificate(self, csr_pem: str, valid_from: str, days: int) -> str:
        """A node's certificate signed by the service."""
        try:
            _check_pem(csr_pem)
        except LocalError as e:
            raise LocalError(f"CSR is not valid PEM: {e.message}") from None
        try:
            begin = certs.parse_validity_text(valid_from)
            return self._service.endorse(csr_pem, begin, days, self._entropy)
        except ValueError as e:
            raise LocalError(f"Failed to create endorsed cert: {e}") from None

    def generate_network_certificate(self, valid_from: str, days: int) -> str:
        """The service's certificate for another period."""
        try:
            begin = certs.parse_validity_text(valid_from)
            return self._service.certificate(begin, days, self._entropy)
        except ValueError as e:
            raise LocalError(f"Error: {e}") from None

    # --- token issuers ------------------------------------------------------------------------

    def set_jwt_public_signing_keys(self, tx: Tx, issuer: str, metadata: Json, jwks: Json) -> None:
        """Replace the keys of an issuer; `metadata` is accepted and not looked at."""
        set_signing_keys(tx, issuer, jwks)

    def remove_jwt_public_signing_keys(self, tx: Tx, issuer: str) -> None:
        """Remove every key of an issuer."""
        jwt.remove_keys(tx, issuer)


def set_signing_keys(tx: Tx, issuer: str, jwks: Json) -> None:
    """Replace the keys of a token issuer by those of a key set."""
    keys = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(keys, list):
        raise LocalError(f"Error setting JWT public signing keys: {jwt.missing_keys_text(jwks)}")
    try:
        jwt.set_keys(tx, issuer, keys)
    except LocalError:
        # The reason is the node's; the script only learns that it failed.
        raise LocalError("set_jwt_public_signing_keys() failed") from None


def _check_pem(text: str) -> None:
    if "-----BEGIN " not in text:
        raise LocalError(f"PEM constructed with non-PEM data: {text}")
