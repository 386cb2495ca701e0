"""The built-in tables of a service: their names, and reading and writing rows of them.

Every name is here once. Rows are JSON (sorted members, as the original writes them) or raw bytes;
singletons live under one key of eight zero bytes, sets have that as value (spec: kv-and-tables.md
§4-6). Nothing here checks access rights: it is what the node itself uses. What is not JSON where
JSON must be is refused with InvalidLedger, since only a corrupt or foreign ledger can hold it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from pyccf.codec.text import dump_json, load_json
from pyccf.errors import InvalidLedger
from pyccf.kv.changes import UNIT as UNIT  # key of a singleton, value of a set's member
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

E = TypeVar("E", bound=Enum)

_GOV = "public:ccf.gov."
_INTERNAL = "public:ccf.internal."

MEMBERS_CERTS = _GOV + "members.certs"
MEMBERS_ENCRYPTION_KEYS = _GOV + "members.encryption_public_keys"
MEMBERS_INFO = _GOV + "members.info"
MEMBERS_ACKS = _GOV + "members.acks"
USERS_CERTS = _GOV + "users.certs"
USERS_INFO = _GOV + "users.info"

NODES_INFO = _GOV + "nodes.info"
NODES_ENDORSED_CERTIFICATES = _GOV + "nodes.endorsed_certificates"
NODES_CODE_IDS = _GOV + "nodes.code_ids"
VIRTUAL_HOST_DATA = _GOV + "nodes.virtual.host_data"
VIRTUAL_MEASUREMENTS = _GOV + "nodes.virtual.measurements"
SNP_HOST_DATA = _GOV + "nodes.snp.host_data"
SNP_MEASUREMENTS = _GOV + "nodes.snp.measurements"
SNP_UVM_ENDORSEMENTS = _GOV + "nodes.snp.uvm_endorsements"
SNP_TCB_VERSIONS = _GOV + "nodes.snp.tcb_versions"

SERVICE_INFO = _GOV + "service.info"
SERVICE_CONFIG = _GOV + "service.config"
PREVIOUS_SERVICE_IDENTITY = _GOV + "service.previous_service_identity"
CONSTITUTION = _GOV + "constitution"

PROPOSALS = _GOV + "proposals"
PROPOSALS_INFO = _GOV + "proposals_info"
COSE_HISTORY = _GOV + "cose_history"
COSE_RECENT_PROPOSALS = _GOV + "cose_recent_proposals"
HISTORY = _GOV + "history"

MODULES = _GOV + "modules"
MODULES_BYTECODE = _GOV + "modules_quickjs_bytecode"
MODULES_VERSION = _GOV + "modules_quickjs_version"
INTERPRETER_FLUSH = _GOV + "interpreter.flush"
JS_RUNTIME_OPTIONS = _GOV + "js_runtime_options"
ENDPOINTS = _GOV + "endpoints"

CA_CERT_BUNDLES = _GOV + "tls.ca_cert_bundles"
JWT_ISSUERS = _GOV + "jwt.issuers"
JWT_KEYS = _GOV + "jwt.public_signing_keys_metadata_v2"
JWT_KEYS_V1 = _GOV + "jwt.public_signing_keys_metadata"
JWT_KEY_LEGACY = _GOV + "jwt.public_signing_key"
JWT_KEY_ISSUER_LEGACY = _GOV + "jwt.public_signing_key_issuer"

SIGNATURES = _INTERNAL + "signatures"
COSE_SIGNATURES = _INTERNAL + "cose_signatures"
TREE = _INTERNAL + "tree"
SNAPSHOT_EVIDENCE = _INTERNAL + "snapshot_evidence"
RECOVERY_SHARES = _INTERNAL + "recovery_shares"
HISTORICAL_ENCRYPTED_LEDGER_SECRET = _INTERNAL + "historical_encrypted_ledger_secret"
ENCRYPTED_LEDGER_SECRETS = _INTERNAL + "encrypted_ledger_secrets"
ENCRYPTED_SUBMITTED_SHARES = _INTERNAL + "encrypted_submitted_shares"
PREVIOUS_SERVICE_LAST_SIGNED_ROOT = _INTERNAL + "previous_service_last_signed_root"
PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT = _INTERNAL + "previous_service_identity_endorsement"
LAST_RECOVERY_TYPE = _INTERNAL + "last_recovery_type"

ALLOWED_TO_JOIN = "AllowedToJoin"
"""The only status a measurement row carries."""


def _key(key: str | bytes) -> bytes:
    return key if isinstance(key, bytes) else key.encode()


def decode_row(table: str, raw: bytes) -> Json:
    """JSON of one row; raises InvalidLedger naming the table when it is not JSON."""
    try:
        return load_json(raw)
    except ValueError as e:
        raise InvalidLedger(f"Table {table} holds a row that is not JSON: {e}") from None


def get_json(tx: Tx, table: str, key: str | bytes = UNIT) -> Json:
    """The JSON value of a row, None when there is none."""
    raw = tx.map(table).get(_key(key))
    return None if raw is None else decode_row(table, raw)


def get_object(tx: Tx, table: str, key: str | bytes = UNIT) -> dict[str, Json] | None:
    """The JSON object of a row, None when there is none; InvalidLedger when it is not an object."""
    return _object(table, get_json(tx, table, key))


def get_text(tx: Tx, table: str, key: str | bytes = UNIT) -> str | None:
    """The JSON text of a row, None when there is none; InvalidLedger when it is not a text."""
    value = get_json(tx, table, key)
    if value is None or isinstance(value, str):
        return value
    raise InvalidLedger(f"Table {table} holds a row that is not a JSON string")


def put_json(tx: Tx, table: str, key: str | bytes, value: Json) -> None:
    """Write a JSON value (sorted members, no blanks)."""
    tx.map(table).set(_key(key), dump_json(value))


def get_raw(tx: Tx, table: str, key: str | bytes) -> str | None:
    """The text of a raw row (PEM, source code), None when there is none."""
    raw = tx.map(table).get(_key(key))
    return None if raw is None else raw.decode("utf-8", "replace")


def put_raw(tx: Tx, table: str, key: str | bytes, value: str | bytes) -> None:
    """Write a raw row."""
    tx.map(table).set(_key(key), _key(value))


def add_to_set(tx: Tx, table: str, member: str | bytes) -> None:
    """Write a member of a set."""
    tx.map(table).set(_key(member), UNIT)


def objects(tx: Tx, table: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """All rows of a table of JSON objects under text keys, in the order of the store."""
    for key, raw in tx.map(table).foreach():
        value = decode_row(table, raw)
        if not isinstance(value, dict):
            raise InvalidLedger(f"Table {table} holds a row that is not a JSON object")
        yield key.decode("utf-8", "replace"), value


def clear_rows(tx: Tx, table: str) -> None:
    """Delete every row of a table."""
    handle = tx.map(table)
    for key in [key for key, _ in handle.foreach()]:
        handle.delete(key)


def _object(table: str, value: Json) -> dict[str, Json] | None:
    if value is None or isinstance(value, dict):
        return value
    raise InvalidLedger(f"Table {table} holds a row that is not a JSON object")


def text_member(value: dict[str, Json], name: str, table: str) -> str:
    """A text member that a row must have; InvalidLedger when it has not."""
    found = value.get(name)
    if isinstance(found, str):
        return found
    raise InvalidLedger(f"Table {table} holds a row without the text {name}")


def enum_member(value: dict[str, Json], name: str, kind: type[E], table: str) -> E:
    """A member that names a value of an enumeration; InvalidLedger when it does not."""
    try:
        return kind(value.get(name))
    except ValueError:
        raise InvalidLedger(
            f"Table {table} holds a row whose {name} is no {kind.__name__}: {value.get(name)!r}"
        ) from None


def int_member(value: dict[str, Json], name: str, default: int) -> int:
    """A whole number of a row, or the default when it is absent or null."""
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else default
