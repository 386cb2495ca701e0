"""What a decision must not leave behind: rows that no node could read any more.

A constitution may write what it likes to governance tables. Some of them every node and every later
proposal reads; a row there that cannot be read would stop all nodes, or governance, for good, and
recovery would meet it again. So a decision that leaves one fails, and nothing of it is kept. What
was decided long ago is not judged by this. Neither may it retire the last node that is trusted, nor
leave a trusted node without a new ledger secret, nor too few members with a share.

Refused with InvalidLedger: what is not JSON where JSON is read (lone surrogates and what is nested
too deeply included), and in the tables that nodes live by what has not the form they need. Rows
that harm only the requests that use them, like endpoints and runtime options, are left to these.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING

from pyccf.codec.text import NESTING_MAX, is_deep
from pyccf.crypto import certs
from pyccf.errors import InvalidLedger
from pyccf.service import info, members, nodes, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.members import RecoveryRole
from pyccf.service.nodes import NodeStatus
from pyccf.service.proposals import Proposal
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx


def check_written(tx: Tx) -> None:
    """Look at all rows this transaction writes. Raises InvalidLedger naming the table."""
    for table, rows in tx.writes.items():
        check = _CHECKS.get(table)
        if check is None:
            continue
        for key, raw in rows.items():
            if table == tables.NODES_INFO:
                _node_id(key)
            if raw is not None:
                check(table, raw)
    if any(_retires(raw) for raw in tx.writes.get(tables.NODES_INFO, {}).values()):
        _check_nodes_left(tx)
    secret = tx.writes.get(tables.ENCRYPTED_LEDGER_SECRETS, {}).get(tables.UNIT)
    if secret is not None:
        _check_told(tx, secret)
    gone = {key for key, raw in tx.writes.get(tables.MEMBERS_INFO, {}).items() if raw is None}
    if gone:
        _check_shares_left(tx, gone)


def _check_shares_left(tx: Tx, gone: Set[bytes]) -> None:
    """Without enough of those who hold the shares there are, the service could not be recovered.

    A constitution renews them when a member leaves who is Active, and that is refused if too few
    are left. Who was made a member anew holds a share, too, and is not Active before it says so.
    """
    row = tables.get_object(tx, tables.RECOVERY_SHARES)
    held = None if row is None else row.get("encrypted_shares")
    if not isinstance(held, dict) or info.status(tx) is not ServiceStatus.OPEN:
        return
    if not any(member.encode() in gone for member in held):
        return
    left = [rest for member, rest in tables.objects(tx, tables.MEMBERS_INFO) if member in held]
    owner = RecoveryRole.OWNER.value
    if any(m.get("recovery_role") == owner and m.get("status") == members.ACTIVE for m in left):
        return
    threshold = info.recovery_threshold(tx)
    if len(left) < threshold:
        raise InvalidLedger(
            f"Table {tables.RECOVERY_SHARES} holds shares of {len(left)} members that are left, and"
            f" {threshold} are needed to recover the service: lower the recovery threshold first"
        )


def _check_told(tx: Tx, raw: bytes) -> None:
    """A node that does not get the new ledger secret could follow no more, and its vote be missed
    to commit anything. It was trusted after the others were told."""
    told = _object(tables.ENCRYPTED_LEDGER_SECRETS, raw)
    for node_id in sorted(nodes.trusted_encryption_keys(tx)):
        if node_id not in told:
            raise InvalidLedger(
                f"Table {tables.ENCRYPTED_LEDGER_SECRETS} holds no new ledger secret for node"
                f" {node_id}: what makes it trusted must come before what changes the secret"
            )


def _retires(raw: bytes | None) -> bool:
    return raw is not None and _status(_object(tables.NODES_INFO, raw)) is NodeStatus.RETIRED


def _check_nodes_left(tx: Tx) -> None:
    """Nobody could decide anything any more, the removal of the last node included."""
    rows = tables.objects(tx, tables.NODES_INFO)
    if all(_status(row) is not NodeStatus.TRUSTED for _, row in rows):
        raise InvalidLedger(f"Table {tables.NODES_INFO} holds no trusted node any more")


def _json(table: str, raw: bytes) -> Json:
    row = tables.decode_row(table, raw)
    if is_deep(row):
        raise InvalidLedger(
            f"Table {table} holds a row that is nested more than {NESTING_MAX} deep"
        )
    return row


def _object(table: str, raw: bytes) -> dict[str, Json]:
    row = _json(table, raw)
    if not isinstance(row, dict):
        raise InvalidLedger(f"Table {table} holds a row that is not a JSON object")
    return row


def _text(table: str, raw: bytes) -> None:
    if not isinstance(tables.decode_row(table, raw), str):
        raise InvalidLedger(f"Table {table} holds a row that is not a JSON string")


def _certificate(table: str, raw: bytes) -> None:
    try:
        certs.load(raw)
    except ValueError as e:
        raise InvalidLedger(f"Table {table} holds a row that is no certificate: {e}") from None


def _service(table: str, raw: bytes) -> None:
    row = _object(table, raw)
    info.status_of(row)
    _certificate(table, tables.text_member(row, "cert", table).encode())


def _member(table: str, raw: bytes) -> None:
    members.effective_role(_object(table, raw), None)


def _node_id(key: bytes) -> None:
    """Every node reads it, of deleted rows too."""
    try:
        key.decode()
    except UnicodeDecodeError:
        raise InvalidLedger(f"Table {tables.NODES_INFO} holds a key that is no text") from None


def _status(row: dict[str, Json]) -> NodeStatus:
    return tables.enum_member(row, "status", NodeStatus, tables.NODES_INFO)


def _node(table: str, raw: bytes) -> None:
    row = _object(table, raw)
    if _status(row) is not NodeStatus.PENDING:
        # The next ledger secret is sealed to it, and fails for all if it cannot be for one.
        try:
            nodes.check_encryption_key(tables.text_member(row, "encryption_pub_key", table))
        except ValueError as e:
            raise InvalidLedger(
                f"Table {table} holds a row whose encryption_pub_key cannot be used: {e}"
            ) from None
    between = row.get("node_to_node_interface")
    if isinstance(between, dict) and between.get("published_address") is not None:
        tables.text_member(between, "published_address", table)
    else:
        tables.text_member(row, "nodehost", table)


def _proposal(table: str, raw: bytes) -> None:
    Proposal.from_json(_object(table, raw))


_CHECKS: dict[str, Callable[[str, bytes], object]] = {
    tables.CONSTITUTION: _text,
    tables.SERVICE_INFO: _service,
    tables.SERVICE_CONFIG: _object,
    tables.PREVIOUS_SERVICE_IDENTITY: _text,
    tables.MEMBERS_CERTS: _certificate,
    tables.MEMBERS_INFO: _member,
    tables.MEMBERS_ACKS: _object,
    tables.USERS_INFO: _object,
    tables.NODES_INFO: _node,
    tables.PROPOSALS_INFO: _proposal,
    tables.COSE_RECENT_PROPOSALS: _json,
    tables.JWT_ISSUERS: _object,
    tables.JWT_KEYS: _json,
    tables.CA_CERT_BUNDLES: _text,
    tables.NODES_CODE_IDS: _json,
    tables.VIRTUAL_MEASUREMENTS: _json,
    tables.SNP_MEASUREMENTS: _json,
    tables.SNP_HOST_DATA: _json,
    tables.SNP_UVM_ENDORSEMENTS: _object,
    tables.SNP_TCB_VERSIONS: _object,
}
