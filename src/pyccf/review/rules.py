"""What changes in governance tables without a member's signed request, and how far.

Nodes join, acknowledge, retire and renew; services begin and recover; token keys are refreshed. All
that the nodes do by themselves, within these rules. Everything else under `public:ccf.gov.` is the
members' to decide: a write to it by nobody's proposal is a finding, whoever signed the ledger.
(spec: kv-and-tables.md §4-6, governance.md §3-9, node-lifecycle.md §5-12)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyccf.codec.text import load_json
from pyccf.crypto import certs
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.service.info import ServiceStatus
from pyccf.types import Json

GOVERNANCE = "public:ccf.gov."
Rows = Mapping[bytes, bytes | None]
Rule = Callable[[Tx, Rows], str]
"""Judges the rows written to a table against the state before: why not, empty if it may be."""

TOKEN_KEYS = GOVERNANCE + "jwt.public_signing_key"
"""How tables of keys begin in all versions: nodes refresh those of issuers that members registered
so that they do."""
NODE_FREE = frozenset(("retired_committed", "ledger_secret_seqno", "status"))
"""Members of a node's row that its life changes; all else it has from the day it joined."""


_RECOVERED = (
    GOVERNANCE + "nodes.",
    tables.SERVICE_INFO,
    tables.PREVIOUS_SERVICE_IDENTITY,
)
"""How the names of tables begin that a recovery changes."""


def by_itself(tx: Tx, writes: Mapping[str, Rows]) -> str:
    """Why nodes may not write this by themselves; empty if they may.

    `writes` are an entry's writes to governance tables, `tx` reads the state before it.
    """
    if begins_service(tx, writes):
        recovers = tx.map(tables.SERVICE_INFO).size() > 0
        others = [name for name in writes if recovers and not name.startswith(_RECOVERED)]
        return f"{others[0]} was changed by a recovery, which takes a proposal" if others else ""
    for name, rows in writes.items():
        if name.startswith(TOKEN_KEYS):
            why = _token_keys(tx, name, writes)
            if why:
                return why
            continue
        rule = _RULES.get(name)
        if rule is None:
            return f"{name} was changed, which takes a proposal"
        why = rule(tx, rows)
        if why:
            return why
    return ""


def begins_service(tx: Tx, writes: Mapping[str, Rows]) -> bool:
    """Whether this is the transaction that creates a service, or recovers one.

    That takes a new service identity; whether it may be here at all, the auditor judges by that.
    """
    info = _object(writes.get(tables.SERVICE_INFO, {}).get(tables.UNIT))
    if info.get("status") not in (ServiceStatus.OPENING.value, ServiceStatus.RECOVERING.value):
        return False
    now = identity(info)
    before = _object(tx.map(tables.SERVICE_INFO).get(tables.UNIT))
    return now is not None and (not before or now != identity(before))


def identity(service: Mapping[str, Json]) -> bytes | None:
    """The key of a service; None where the row shows none."""
    cert = service.get("cert")
    try:
        return certs.spki(cert) if isinstance(cert, str) else None
    except ValueError:
        return None


def _object(raw: bytes | None) -> dict[str, Json]:
    try:
        value = load_json(raw or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_open(tx: Tx) -> bool:
    status = _object(tx.map(tables.SERVICE_INFO).get(tables.UNIT)).get("status")
    return status == ServiceStatus.OPEN.value


def _nodes(tx: Tx, rows: Rows) -> str:
    """Nodes ask to join, are let in while the service is not open yet, and leave for good."""
    before_table = tx.map(tables.NODES_INFO)
    for key, raw in rows.items():
        before_raw = before_table.get(key)
        before = _object(before_raw)
        node = key.decode(errors="replace")
        if raw is None:
            if before.get("status") != "Retired":
                return f"node {node} was removed without being retired"
            continue
        after = _object(raw)
        was, now = before.get("status"), after.get("status")
        if now == "Trusted" and was != "Trusted" and _is_open(tx):
            return f"node {node} was trusted without a proposal"
        if now == "Retired" and was != "Retired":
            return f"node {node} was retired without a proposal"
        if was is not None and _fixed(before) != _fixed(after):
            return f"node {node} was changed without a proposal"
    return ""


def _fixed(node: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in node.items() if name not in NODE_FREE}


def _service(tx: Tx, rows: Rows) -> str:
    """A recovered service opens by itself when enough shares were submitted; nothing else."""
    before = _object(tx.map(tables.SERVICE_INFO).get(tables.UNIT))
    after = _object(rows.get(tables.UNIT))
    opens = (
        before.get("status") == ServiceStatus.WAITING_FOR_RECOVERY_SHARES.value
        and after.get("status") == ServiceStatus.OPEN.value
    )
    same = _unchanging(before) == _unchanging(after)
    if same and (opens or before.get("status") == after.get("status")):
        return ""
    return "the service was changed without a proposal"


def _unchanging(service: Mapping[str, Json]) -> dict[str, Json]:
    moving = ("status", "previous_service_identity_version")
    return {name: value for name, value in service.items() if name not in moving}


def _token_keys(tx: Tx, name: str, writes: Mapping[str, Rows]) -> str:
    """Keys of an issuer are its own affair if members said that nodes are to ask for them."""
    owners = writes.get(tables.JWT_KEY_ISSUER_LEGACY, {})
    for kid, raw in writes[name].items():
        before = tx.map(name).get(kid)
        if name in (tables.JWT_KEYS, tables.JWT_KEYS_V1):
            issuers = _changed_issuers(before, raw)
        elif name in (tables.JWT_KEY_LEGACY, tables.JWT_KEY_ISSUER_LEGACY):
            issuers = {tx.map(tables.JWT_KEY_ISSUER_LEGACY).get(kid), owners.get(kid)} - {None}
        else:
            continue  # of versions whose keys no token is judged by
        for issuer in issuers:
            row = _object(tx.map(tables.JWT_ISSUERS).get(issuer or b""))
            if row.get("auto_refresh") is not True:
                told = (issuer or b"").decode(errors="replace")
                return f"keys of the token issuer {told!r} were changed without a proposal"
    return ""


def _changed_issuers(before: bytes | None, after: bytes | None) -> set[bytes | None]:
    """Issuers of whose keys one is in only one of two rows."""
    old, new = _list(before), _list(after)
    changed = [entry for entry in (*old, *new) if (entry in old) != (entry in new)]
    return {
        str(entry.get("issuer")).encode(errors="replace") if isinstance(entry, dict) else b""
        for entry in changed
    }


def _list(raw: bytes | None) -> list[Json]:
    try:
        value = load_json(raw or b"")
    except ValueError:
        return []
    return value if isinstance(value, list) else []


def _free(_: Tx, rows: Rows) -> str:
    return ""


_RULES: dict[str, Rule] = {
    tables.NODES_INFO: _nodes,
    tables.NODES_ENDORSED_CERTIFICATES: _free,  # judged where it counts: by the service's signature
    tables.SERVICE_INFO: _service,
    tables.MODULES_BYTECODE: _free,  # made from the modules; not executed here
    tables.MODULES_VERSION: _free,
    tables.MEMBERS_ACKS: _free,  # the digest a member is to sign; that it did is judged
}
