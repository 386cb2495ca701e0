"""What a service leaves behind so that it can be recovered: shares, past secrets, endorsements.

The latest ledger secret is wrapped under a key that members share; each older secret is encrypted
under the one after it, so that who has the latest has all; and each service identity endorses the
one before it (spec: crypto.md §5 and §8, governance.md §7). Refused with LocalError, in the words
the members will read: a threshold that the active members cannot meet. Nothing secret is in a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyccf.codec import cbor
from pyccf.codec.text import b64, unb64
from pyccf.crypto import aead, cosesign, shares
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import RsaPrivateKey, RsaPublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret, LedgerSecrets
from pyccf.service import info, members, nodes, tables
from pyccf.service.identity import ServiceIdentity
from pyccf.types import Json, NodeId, SeqNo, TxID, UnixSeconds

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

ENDORSEMENT_LABEL = "ccf.v1"
CWT_CLAIMS = 15
CWT_IAT = 6


# --- ledger secrets ---------------------------------------------------------------------------


def latest_secret(tx: Tx, secrets: LedgerSecrets) -> LedgerSecret:
    """The secret in use, with the read dependency that makes a concurrent rekey a conflict."""
    tx.map(tables.ENCRYPTED_LEDGER_SECRETS).get(tables.UNIT)
    return secrets.latest()


def new_secret(version: SeqNo, entropy: Entropy) -> LedgerSecret:
    """A fresh ledger secret, in use from `version` on."""
    return LedgerSecret(version, entropy.bytes(KEY_SIZE))


# --- shares -----------------------------------------------------------------------------------


def check_threshold(threshold: int, participants: int, owners: int) -> None:
    """Whether shares can be issued at all; LocalError says why not (spec: governance.md §7)."""
    if participants == 0 and owners == 0:
        raise LocalError(
            "There should be at least one active recovery member to issue recovery shares"
        )
    if threshold == 0:
        raise LocalError("Recovery threshold should be set before recovery shares are computed")
    if participants and threshold > participants:
        raise LocalError(
            f"Recovery threshold {threshold} should be equal to or less than the number of active"
            f" recovery members {participants}"
        )
    if not participants and threshold > 1:
        raise LocalError(
            f"Recovery threshold {threshold} cannot be greater than 1 when the consortium consists"
            f" of only active recovery owner members ({owners})"
        )


def issue_shares(tx: Tx, secret: LedgerSecret, entropy: Entropy) -> None:
    """Wrap a ledger secret under a fresh key and give every holder a share of that key.

    Participants get shares 1..n in order of their ids, owners the full key; each is encrypted to
    the member. Replaces the shares issued before (spec: crypto.md §5.3-5.4).
    """
    held = members.holders(tx)
    threshold = info.recovery_threshold(tx)
    check_threshold(threshold, len(held.participants), len(held.owners))
    wrapping, parts = shares.split(len(held.participants) or 1, threshold, entropy)

    encrypted: dict[str, Json] = {}
    for (member_id, key), share in zip(held.participants.items(), parts, strict=False):
        encrypted[member_id] = _encrypt_to(member_id, key, share, entropy)
    for member_id, key in held.owners.items():
        encrypted[member_id] = _encrypt_to(member_id, key, wrapping.full_share(), entropy)

    wrapped = shares.wrap_ledger_secret(wrapping.wrapping_key(), secret.key)
    row: dict[str, Json] = {
        "encrypted_shares": encrypted,
        "wrapped_latest_ledger_secret": b64(wrapped),
    }
    if secret.previous_stored_version is not None:
        row["previous_secret_stored_version"] = secret.previous_stored_version
    tables.put_json(tx, tables.RECOVERY_SHARES, tables.UNIT, row)


def encrypted_share(tx: Tx, member_id: str) -> str | None:
    """A member's encrypted share (base64), None when it has none; LocalError before any issue."""
    row = tables.get_object(tx, tables.RECOVERY_SHARES)
    if row is None:
        raise LocalError("Failed to retrieve current recovery shares info")
    encrypted = row.get("encrypted_shares")
    share = encrypted.get(member_id) if isinstance(encrypted, dict) else None
    return share if isinstance(share, str) else None


def _encrypt_to(member_id: str, key_pem: str, share: bytes, entropy: Entropy) -> str:
    try:
        return b64(RsaPublicKey.from_pem(key_pem).encrypt_oaep(share, entropy=entropy))
    except ValueError:
        raise LocalError(
            f"The encryption public key of member {member_id} is not an RSA key"
        ) from None


# --- past secrets -----------------------------------------------------------------------------


def record_secret(
    tx: Tx,
    secret: LedgerSecret,
    previous: LedgerSecret | None,
    next_version: SeqNo | None,
    entropy: Entropy,
) -> None:
    """Note that `secret` follows `previous`, which is encrypted under it.

    `next_version` is the first seqno of `secret`; None says: the one after this transaction
    (spec: crypto.md §5.4).
    """
    row: dict[str, Json] = {}
    if previous is not None:
        sealed = aead.seal(secret.key, entropy.bytes(aead.IV_SIZE), previous.key)
        entry: dict[str, Json] = {"encrypted_data": b64(sealed), "version": previous.version}
        table = tx.map(tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET)
        stored = table.previous_version(tables.UNIT)
        if stored is not None:
            entry["previous_secret_stored_version"] = stored
        row["previous_ledger_secret"] = entry
    if next_version is not None:
        row["next_version"] = next_version
    tables.put_json(tx, tables.HISTORICAL_ENCRYPTED_LEDGER_SECRET, tables.UNIT, row)


def broadcast_secret(tx: Tx, secret: LedgerSecret, entropy: Entropy) -> None:
    """Give every trusted node the new secret, encrypted to it; used from the next entry on."""
    row: dict[str, Json] = {}
    for node_id, key_pem in sorted(nodes.trusted_encryption_keys(tx).items()):
        sealed = RsaPublicKey.from_pem(key_pem).encrypt_oaep(secret.key, entropy=entropy)
        row[node_id] = [{"encrypted_secret": b64(sealed), "version": None}]
    tables.put_json(tx, tables.ENCRYPTED_LEDGER_SECRETS, tables.UNIT, row)


def rekey(tx: Tx, secrets: LedgerSecrets, entropy: Entropy) -> LedgerSecret:
    """Change the ledger secret: share the new one, keep the old one under it, tell the nodes.

    This transaction is still sealed with the old secret (spec: governance.md §8).
    """
    current = latest_secret(tx, secrets)
    following = new_secret(current.version + 1, entropy)
    issue_shares(tx, following, entropy)
    record_secret(tx, following, current, None, entropy)
    broadcast_secret(tx, following, entropy)
    return following


def secret_from_rekey(
    seqno: SeqNo,
    changes: Mapping[bytes, bytes | None],
    node_id: NodeId,
    encryption_key: RsaPrivateKey,
) -> LedgerSecret | None:
    """The secret a node must use after applying a write to `encrypted_ledger_secrets` at `seqno`.

    None when the write has nothing for this node, or secrets with versions of their own, which
    belong to a recovery. Raises InvalidLedger when its copy cannot be read.
    """
    raw = changes.get(tables.UNIT)
    if raw is None:
        return None
    row = tables.decode_row(tables.ENCRYPTED_LEDGER_SECRETS, raw)
    entries = row.get(node_id) if isinstance(row, dict) else None
    if not isinstance(entries, list) or not entries:
        return None
    entry = entries[0]
    if not isinstance(entry, dict) or entry.get("version") is not None:
        return None
    sealed = entry.get("encrypted_secret")
    try:
        key = encryption_key.decrypt_oaep(unb64(sealed if isinstance(sealed, str) else ""))
    except ValueError:
        raise InvalidLedger(
            f"The ledger secret in entry {seqno} was not encrypted for this node", seqno=seqno
        ) from None
    if len(key) != KEY_SIZE:
        raise InvalidLedger(f"The ledger secret in entry {seqno} has a wrong size", seqno=seqno)
    return LedgerSecret(seqno + 1, key, seqno)


# --- identities -------------------------------------------------------------------------------


def endorse_previous_identity(tx: Tx, service: ServiceIdentity, unix: UnixSeconds) -> None:
    """Endorse the service identity before this one, or the own one when there is none before.

    The envelope signs the endorsed key and the range of transactions it answers for
    (spec: crypto.md §8).
    """
    created = info.create_txid(tx)
    previous = tables.get_object(tx, tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
    row: dict[str, Json] = {"endorsing_key": b64(service.key_der)}
    if previous is None:
        begin, end, root, endorsed = created, None, None, service.key_der
    else:
        begin = _epoch_after(previous)
        end = TxID(created.view - 2, created.seqno - 1)
        last_root = tables.get_text(tx, tables.PREVIOUS_SERVICE_LAST_SIGNED_ROOT)
        if last_root is None:
            raise LocalError("The last signed root of the previous service is not recorded")
        root = bytes.fromhex(last_root)
        endorsed = unb64(_text(previous, "endorsing_key"))
        table = tx.map(tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
        row["previous_version"] = table.previous_version(tables.UNIT)
        row["endorsement_epoch_end"] = str(end)
    row["endorsement_epoch_begin"] = str(begin)
    header = _endorsement_header(service.key.curve.cose_alg, unix, begin, end, root)
    row["endorsement"] = b64(cosesign.sign1(service.key, header, endorsed, False))
    tables.put_json(tx, tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, tables.UNIT, row)


def _endorsement_header(
    alg: int, unix: UnixSeconds, begin: TxID, end: TxID | None, root: bytes | None
) -> bytes:
    epoch = [(cbor.tstr("epoch.start.txid"), cbor.tstr(str(begin)))]
    if end is not None:
        epoch.append((cbor.tstr("epoch.end.txid"), cbor.tstr(str(end))))
    if root is not None:
        epoch.append((cbor.tstr("epoch.end.merkle.root"), cbor.bstr(root)))
    return cbor.mapping(
        [
            (cbor.uint(1), cbor.integer(alg)),
            (
                cbor.uint(CWT_CLAIMS),
                cbor.mapping([(cbor.uint(CWT_IAT), cbor.integer(unix))]),
            ),
            (cbor.tstr(ENDORSEMENT_LABEL), cbor.mapping(epoch)),
        ]
    )


def _epoch_after(previous: dict[str, Json]) -> TxID:
    end = previous.get("endorsement_epoch_end")
    if end is None:
        return _txid(_text(previous, "endorsement_epoch_begin"))
    last = _txid(_text(previous, "endorsement_epoch_end"))
    return TxID(last.view + 2, last.seqno + 1)


def _txid(text: str) -> TxID:
    txid = TxID.parse(text)
    if txid is None:
        raise InvalidLedger(f"Not a transaction id in an identity endorsement: {text}")
    return txid


def _text(row: dict[str, Json], name: str) -> str:
    return tables.text_member(row, name, tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT)
