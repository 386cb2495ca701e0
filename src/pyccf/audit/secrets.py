"""Rebuild a ledger's secrets from the ledger and the recovery shares of its members.

The ledger holds, for each member, a share of a wrapping key encrypted to that member; the latest
ledger secret under the wrapping key; and each earlier secret under the one after it. With the
private encryption keys of enough members all secrets follow, and with them every private table.
Nothing is sent anywhere: members can do this on an offline machine with a copy of the ledger.

Refuses, with LocalError, too few or wrong keys and share formats of versions before 5.0; with
InvalidLedger, tables that are not what they must be. No error and no repr shows a key.
(spec: crypto.md §5)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from cryptography.exceptions import InvalidTag

from pyccf.audit.files import ChunkReader, StrPath, find_chunks
from pyccf.codec.text import load_json, unb64
from pyccf.crypto import shares
from pyccf.crypto.keys import RsaPrivateKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import past_secrets
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.ledger.past_secrets import PastSecret
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.types import Json, SeqNo

RECOVERY_SHARES = "public:ccf.internal.recovery_shares"
HISTORICAL_SECRET = past_secrets.TABLE
SERVICE_CONFIG = "public:ccf.gov.service.config"


class _Tables(msgspec.Struct):
    """What the ledger says about its secrets; of shares and threshold the last word."""

    shares: dict[str, bytes] = {}
    wrapped: bytes = b""
    threshold: int = 0
    past: list[PastSecret] = []


def recover(
    directories: StrPath | Sequence[StrPath],
    member_enc_keys: Iterable[str | bytes],
    *,
    until: SeqNo | None = None,
) -> LedgerSecrets:
    """All secrets of the ledger in these directories.

    `member_enc_keys` are members' RSA private keys in PEM, as many as the recovery threshold (one
    of a recovery owner is enough). `until` stops reading after that seqno, for secrets as of then.
    """
    keys: list[RsaPrivateKey] = []
    for pem in member_enc_keys:
        try:
            keys.append(RsaPrivateKey.from_pem(pem))
        except ValueError:
            raise LocalError("A member's encryption key is not an RSA private key.") from None
    tables = _collect(directories, until)
    latest = _unwrap(tables, _decrypt_shares(tables, keys))
    return LedgerSecrets(past_secrets.walk_back(tables.past, latest))


def _collect(directories: StrPath | Sequence[StrPath], until: SeqNo | None) -> _Tables:
    tables = _Tables()
    for one in find_chunks(directories).chunks:
        if until is not None and one.name.first > until:
            break
        with ChunkReader(one) as reader:
            for data in reader.entries():
                entry = parse(data)
                if until is not None and entry.seqno > until:
                    return tables
                _take(tables, entry)
    return tables


def _take(tables: _Tables, entry: ParsedEntry) -> None:
    maps = entry.public_maps()
    if RECOVERY_SHARES in maps:
        row = _object(entry, maps[RECOVERY_SHARES].get(UNIT), RECOVERY_SHARES)
        encrypted = row.get("encrypted_shares")
        if not isinstance(encrypted, dict):
            raise _bad(entry, RECOVERY_SHARES)
        tables.shares = {
            member: _bytes(entry, share, RECOVERY_SHARES) for member, share in encrypted.items()
        }
        tables.wrapped = _bytes(entry, row.get("wrapped_latest_ledger_secret"), RECOVERY_SHARES)
    if HISTORICAL_SECRET in maps:
        raw = maps[HISTORICAL_SECRET].get(UNIT)
        tables.past.append(past_secrets.parse(entry.seqno, raw or b""))
    if SERVICE_CONFIG in maps:
        row = _object(entry, maps[SERVICE_CONFIG].get(UNIT), SERVICE_CONFIG)
        threshold = row.get("recovery_threshold")
        if isinstance(threshold, int):
            tables.threshold = threshold


def _decrypt_shares(tables: _Tables, keys: list[RsaPrivateKey]) -> list[bytes]:
    """Shares that the keys open; the full key alone if an owner's is among them."""
    if not tables.shares:
        raise LocalError(
            "The ledger holds no recovery shares.",
            hint="They are issued when the service is opened.",
        )
    opened: list[bytes] = []
    for encrypted in tables.shares.values():
        for key in keys:
            try:
                share = key.decrypt_oaep(encrypted)
            except ValueError:
                continue
            if len(share) != shares.SHARE_SIZE:
                raise LocalError(
                    f"The ledger's recovery shares have {len(share)} bytes, not "
                    f"{shares.SHARE_SIZE}: they are of a version before 5.0.",
                    hint="Open the service once more with a newer version, or re-issue its shares.",
                )
            if shares.is_full(share):
                return [share]
            if share not in opened:
                opened.append(share)
            break
    return opened


def _unwrap(tables: _Tables, opened: list[bytes]) -> bytes:
    """The latest ledger secret."""
    full = len(opened) == 1 and shares.is_full(opened[0])
    threshold = 1 if full else max(tables.threshold, 1)
    if len(opened) < threshold:
        raise LocalError(
            f"{len(opened)} of the given keys open a recovery share, {threshold} are needed."
        )
    try:
        wrapping_key = shares.combine(opened, threshold).wrapping_key()
        return shares.unwrap_ledger_secret(wrapping_key, tables.wrapped)
    except (shares.ShareError, InvalidTag):
        raise LocalError("The recovery shares do not open the ledger secret.") from None


def _bad(entry: ParsedEntry, table: str) -> InvalidLedger:
    return InvalidLedger(f"Entry {entry.seqno} has a malformed row in {table}.", seqno=entry.seqno)


def _object(entry: ParsedEntry, raw: bytes | None, table: str) -> dict[str, Json]:
    try:
        value = load_json(raw or b"")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _bad(entry, table)
    return value


def _bytes(entry: ParsedEntry, value: Json | None, table: str) -> bytes:
    try:
        return unb64(value if isinstance(value, str) else "?")
    except ValueError:
        raise _bad(entry, table) from None
