"""Bringing back the secrets of a service that recovers, and opening it again.

Members hand in their shares; enough of them open the latest secret of the service that was, that
one opens the one before it, and so on; all are given to the trusted nodes, each encrypted to it.
When a primary has read the whole private ledger with them it opens the service in one transaction
(spec: crypto.md §5.5, node-lifecycle.md §9.2-9.3, gov-api.md §5). Shares lie in the ledger sealed
with the secret of the new service. Refused with LocalError: shares that open nothing. No text says
what a share or a secret is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from cryptography.exceptions import InvalidTag

from pyccf.codec.text import b64, unb64
from pyccf.crypto import aead, shares
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import RsaPrivateKey, RsaPublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import past_secrets
from pyccf.ledger.past_secrets import PastSecret
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret, LedgerSecrets
from pyccf.service import info, nodes, recovery, tables
from pyccf.service.identity import ServiceIdentity
from pyccf.service.info import ServiceStatus
from pyccf.types import Json, MemberId, NodeId, SeqNo, UnixSeconds

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

RECOVERY_SHARES = "RECOVERY_SHARES"
LOCAL_UNSEALING = "LOCAL_UNSEALING"


class Submitted(msgspec.Struct, frozen=True):
    """Where the members are: shares handed in, shares needed, whether one is the full key."""

    count: int
    threshold: int
    full: bool
    begun: bool
    """Whether recovery had begun with what was handed in before: shares that do not fit together
    are forgotten at once, so those that are there do."""

    @property
    def enough(self) -> bool:
        return self.full or self.count >= self.threshold


# --- shares -----------------------------------------------------------------------------------


def await_shares(tx: Tx, kind: str = RECOVERY_SHARES) -> None:
    """The members accepted the recovered service: its secrets are waited for."""
    tables.clear_rows(tx, tables.ENCRYPTED_SUBMITTED_SHARES)
    info.set_status(tx, ServiceStatus.WAITING_FOR_RECOVERY_SHARES)
    tables.put_json(tx, tables.LAST_RECOVERY_TYPE, tables.UNIT, kind)


def submit(
    tx: Tx, secret: LedgerSecret, member_id: MemberId, share: bytes, entropy: Entropy
) -> Submitted:
    """Keep a member's share, sealed; what the member handed in before is replaced.

    Raises LocalError when what others handed in cannot be opened.
    """
    threshold = info.recovery_threshold(tx)
    before = _submitted(tx, secret)
    begun = len(before) >= threshold or any(map(shares.is_full, before))
    sealed = aead.seal(secret.key, entropy.bytes(aead.IV_SIZE), share)
    tables.put_json(tx, tables.ENCRYPTED_SUBMITTED_SHARES, member_id, b64(sealed))
    count = len(list(tx.map(tables.ENCRYPTED_SUBMITTED_SHARES).foreach()))
    return Submitted(count, threshold, shares.is_full(share), begun)


def forget_shares(tx: Tx) -> None:
    """What was handed in is of no use (any more)."""
    tables.clear_rows(tx, tables.ENCRYPTED_SUBMITTED_SHARES)


def _submitted(tx: Tx, secret: LedgerSecret) -> list[bytes]:
    """The shares handed in, by member id; a full key alone if there is one."""
    found: list[bytes] = []
    for key, raw in sorted(tx.map(tables.ENCRYPTED_SUBMITTED_SHARES).foreach()):
        sealed = tables.decode_row(tables.ENCRYPTED_SUBMITTED_SHARES, raw)
        try:
            share = aead.open_(secret.key, unb64(sealed if isinstance(sealed, str) else "?"))
        except (InvalidTag, ValueError):
            raise LocalError(
                f"The share of member {key.decode('utf-8', 'replace')} cannot be opened"
            ) from None
        if shares.is_full(share):
            return [share]
        found.append(share)
    return found


def combine(tx: Tx, secret: LedgerSecret) -> bytes:
    """The latest secret of the service that was, out of the shares handed in.

    Raises LocalError, in words for the operators, when they do not open it.
    """
    row = tables.get_object(tx, tables.RECOVERY_SHARES)
    if row is None:
        raise LocalError("The service that is recovered was never opened: it issued no shares")
    wrapped = row.get("wrapped_latest_ledger_secret")
    given = _submitted(tx, secret)
    threshold = 1 if len(given) == 1 and shares.is_full(given[0]) else info.recovery_threshold(tx)
    try:
        key = shares.combine(given, threshold).wrapping_key()
        record = unb64(wrapped if isinstance(wrapped, str) else "")
        opened = shares.unwrap_ledger_secret(key, record)
    except shares.ShareError as e:
        raise LocalError(f"The shares handed in do not fit together: {e}") from None
    except (InvalidTag, ValueError):
        raise LocalError(
            "The shares handed in do not open the ledger secret: at least one is wrong, or of"
            " another service, or was issued before the shares were renewed"
        ) from None
    if len(opened) != KEY_SIZE:
        raise LocalError("The ledger secret that the shares open has a wrong size")
    return opened


# --- secrets ----------------------------------------------------------------------------------


def restore(tx: Tx, past: Sequence[PastSecret], secrets: LedgerSecrets, entropy: Entropy) -> None:
    """Rebuild all secrets of the service that was from the shares, and hand them to the nodes.

    Raises LocalError when the shares or the ledger do not allow it; nothing is written then.
    """
    latest = combine(tx, recovery.latest_secret(tx, secrets))
    broadcast(tx, walk_back(past, latest, secrets), entropy)


def walk_back(
    past: Sequence[PastSecret], latest: bytes, secrets: LedgerSecrets
) -> list[LedgerSecret]:
    """All secrets before those of the new service. Raises LocalError when they do not open."""
    try:
        found = past_secrets.walk_back(past, latest)
    except InvalidLedger as e:
        raise LocalError(e.message) from None
    assert found[-1].version < secrets.all()[0].version, "a recovered service has a secret anew"
    return found


def broadcast(tx: Tx, restored: Sequence[LedgerSecret], entropy: Entropy) -> None:
    """Give every trusted node all restored secrets, encrypted to it (spec: crypto.md §5.4)."""
    row: dict[str, Json] = {}
    for node_id, key_pem in sorted(nodes.trusted_encryption_keys(tx).items()):
        key = RsaPublicKey.from_pem(key_pem)
        entries: list[Json] = []
        for secret in restored:
            entry: dict[str, Json] = {
                "encrypted_secret": b64(key.encrypt_oaep(secret.key, entropy=entropy)),
                "version": secret.version,
            }
            if secret.previous_stored_version is not None:
                entry["previous_secret_stored_version"] = secret.previous_stored_version
            entries.append(entry)
        row[node_id] = entries
    tables.put_json(tx, tables.ENCRYPTED_LEDGER_SECRETS, tables.UNIT, row)


def secrets_for(
    seqno: SeqNo,
    changes: Mapping[bytes, bytes | None],
    node_id: NodeId,
    encryption_key: RsaPrivateKey,
) -> tuple[LedgerSecret, ...]:
    """The restored secrets that a write to `encrypted_ledger_secrets` holds for a node, ascending.

    None of them when it holds nothing for the node, or is a rekey. Raises InvalidLedger when the
    node's copy is malformed or not encrypted to it.
    """
    raw = changes.get(tables.UNIT)
    row = None if raw is None else tables.decode_row(tables.ENCRYPTED_LEDGER_SECRETS, raw)
    entries = row.get(node_id) if isinstance(row, dict) else None
    found: list[LedgerSecret] = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("version") is None:
            return ()
        version = tables.int_member(entry, "version", 0)
        stored = tables.int_member(entry, "previous_secret_stored_version", 0)
        sealed = entry.get("encrypted_secret")
        try:
            key = encryption_key.decrypt_oaep(unb64(sealed if isinstance(sealed, str) else ""))
        except ValueError:
            key = b""
        if len(key) != KEY_SIZE or version < 1 or (found and version <= found[-1].version):
            raise InvalidLedger(
                f"The ledger secrets restored in entry {seqno} are not usable by this node",
                seqno=seqno,
            )
        found.append(LedgerSecret(version, key, stored or None))
    return tuple(found)


# --- opening ----------------------------------------------------------------------------------


def reopen(
    tx: Tx,
    secrets: LedgerSecrets,
    service: ServiceIdentity,
    unix: UnixSeconds,
    entropy: Entropy,
) -> None:
    """Open the recovered service: new shares, the chain of secrets goes on, the former identity is
    endorsed (spec: node-lifecycle.md §9.3 step 5).

    Raises LocalError when the service does not wait for it, or no shares can be issued.
    """
    status = info.status(tx)
    if status is not ServiceStatus.WAITING_FOR_RECOVERY_SHARES:
        raise LocalError(f"The service is {status.value if status else 'not there'}, not waiting")
    forget_shares(tx)
    secret = recovery.latest_secret(tx, secrets)
    recovery.issue_shares(tx, secret, entropy)
    known = secrets.all()
    before = known[-2] if len(known) > 1 else None
    recovery.record_secret(tx, secret, before, secret.version, entropy)
    info.set_status(tx, ServiceStatus.OPEN)
    recovery.endorse_previous_identity(tx, service, unix)
