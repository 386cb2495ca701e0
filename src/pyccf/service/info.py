"""The two rows about the service as a whole: `service.info` and `service.config`.

`status` moves Opening → Open, or after a disaster Recovering → WaitingForRecoveryShares → Open
(spec: node-lifecycle.md §1.2, kv-and-tables.md §6.5).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pyccf.errors import LocalError
from pyccf.service import tables
from pyccf.types import Json, SeqNo, TxID

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

RECENT_PROPOSALS_WINDOW = 100
"""Signed proposals remembered against replay when the configuration says nothing."""
CERTIFICATE_DAYS_MAX = 365
"""Longest validity of a certificate when the configuration says nothing."""


class ServiceStatus(Enum):
    """Where a service is in its life."""

    OPENING = "Opening"
    OPEN = "Open"
    WAITING_FOR_RECOVERY_SHARES = "WaitingForRecoveryShares"
    RECOVERING = "Recovering"


def read(tx: Tx) -> dict[str, Json] | None:
    """`service.info`, None before the service exists."""
    return tables.get_object(tx, tables.SERVICE_INFO)


def require(tx: Tx) -> dict[str, Json]:
    """`service.info`; LocalError before the service exists."""
    info = read(tx)
    if info is None:
        raise LocalError("Failed to get active service")
    return info


def status(tx: Tx) -> ServiceStatus | None:
    """Status of the service, None before it exists."""
    info = read(tx)
    return None if info is None else status_of(info)


def status_of(info: dict[str, Json]) -> ServiceStatus:
    """Status in a row of `service.info`."""
    return tables.enum_member(info, "status", ServiceStatus, tables.SERVICE_INFO)


def set_status(tx: Tx, value: ServiceStatus) -> None:
    """Write a new status; everything else about the service stays."""
    info: dict[str, Json] = {name: v for name, v in require(tx).items() if v is not None}
    info["status"] = value.value
    tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, info)


def create_txid(tx: Tx) -> TxID:
    """The transaction that created the present service; LocalError when it is not recorded."""
    text = require(tx).get("current_service_create_txid")
    txid = TxID.parse(text) if isinstance(text, str) else None
    if txid is None:
        raise LocalError("The service does not state by which transaction it was created")
    return txid


def created_at(tx: Tx) -> SeqNo | None:
    """Seqno of that transaction; None where versions that did not record it wrote the row."""
    found = read(tx)
    text = None if found is None else found.get("current_service_create_txid")
    txid = TxID.parse(text) if isinstance(text, str) else None
    return None if txid is None else txid.seqno


def config(tx: Tx) -> dict[str, Json] | None:
    """`service.config`, None when there is none."""
    return tables.get_object(tx, tables.SERVICE_CONFIG)


def recovery_threshold(tx: Tx) -> int:
    """Number of shares needed to recover the ledger; 0 when it is not configured."""
    found = config(tx)
    return 0 if found is None else tables.int_member(found, "recovery_threshold", 0)


def recent_proposals_window(tx: Tx) -> int:
    """How many signed proposals are remembered against replay."""
    found = config(tx)
    if found is None:
        return RECENT_PROPOSALS_WINDOW
    name = "recent_cose_proposals_window_size"
    return tables.int_member(found, name, RECENT_PROPOSALS_WINDOW)
