"""Rows about members: status, role in recovery, acknowledgement of the state.

A member starts Accepted and becomes Active by signing the state of the service. Active members
propose, vote, and hold recovery shares according to their role (spec: governance.md §7).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from pyccf.service import tables
from pyccf.types import Json, MemberId

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

ACCEPTED = "Accepted"
ACTIVE = "Active"


class RecoveryRole(Enum):
    """What part of the key to the ledger a member may hold."""

    NON_PARTICIPANT = "NonParticipant"
    PARTICIPANT = "Participant"
    """One share; several together restore the ledger secret."""
    OWNER = "Owner"
    """The whole key."""


class Holders(msgspec.Struct, frozen=True):
    """Encryption keys (PEM) of the active members that hold shares, by member id, sorted."""

    participants: dict[MemberId, str]
    owners: dict[MemberId, str]


def effective_role(info: dict[str, Json], encryption_key: str | None) -> RecoveryRole:
    """Role of a member; unset means Participant with an encryption key, else NonParticipant."""
    if info.get("recovery_role") is not None:
        return tables.enum_member(info, "recovery_role", RecoveryRole, tables.MEMBERS_INFO)
    return RecoveryRole.NON_PARTICIPANT if encryption_key is None else RecoveryRole.PARTICIPANT


def holders(tx: Tx) -> Holders:
    """Who gets a share when shares are issued in this state (spec: crypto.md §5.3)."""
    participants: dict[MemberId, str] = {}
    owners: dict[MemberId, str] = {}
    for member_id, info in sorted(tables.objects(tx, tables.MEMBERS_INFO)):
        key = tables.get_raw(tx, tables.MEMBERS_ENCRYPTION_KEYS, member_id)
        if info.get("status") != ACTIVE or key is None:
            continue
        role = effective_role(info, key)
        if role is RecoveryRole.OWNER:
            owners[member_id] = key
        elif role is RecoveryRole.PARTICIPANT:
            participants[member_id] = key
    return Holders(participants, owners)


def activate(tx: Tx, member_id: MemberId) -> bool:
    """Make an Accepted member Active; whether it was not Active before."""
    info = tables.get_object(tx, tables.MEMBERS_INFO, member_id)
    if info is None or info.get("status") != ACCEPTED:
        return False
    row: dict[str, Json] = {"status": ACTIVE}
    for name in ("member_data", "recovery_role"):
        if info.get(name) is not None:
            row[name] = info[name]
    tables.put_json(tx, tables.MEMBERS_INFO, member_id, row)
    return True


def latest_signed_root(tx: Tx) -> str | None:
    """Hex Merkle root of the last signature in this state: what members acknowledge."""
    signature = tables.get_object(tx, tables.SIGNATURES)
    return None if signature is None else tables.text_member(signature, "root", tables.SIGNATURES)
