"""The first transaction of a service: everything it writes, map by map.

Of a new service it is TxID 2.1. Configuration, constitution and members come from the operator; the
node trusts itself, its program is the first that may join, and the service is Opening until its
members open it. A service that is recovered takes all that from the ledger it goes on with: its
first transaction follows the last signature there, retires the nodes of the service before, names
that service's identity and the root it signed last (spec: node-lifecycle.md §5.1). Refused with
LocalError: a service that exists already, or none where one is to be recovered, members whose role
does not fit their key, a recovery threshold that the members cannot meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.service import info, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.members import ACCEPTED, RecoveryRole
from pyccf.service.nodes import NodeEntry, NodeStatus
from pyccf.types import Json, MemberId, NodeId, TxID

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

CREATE_TXID = TxID(2, 1)
"""A service begins in view 2."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of the first consortium."""

    cert: str
    encryption_pub_key: str | None = None
    member_data: Json = None
    recovery_role: RecoveryRole | None = None

    @property
    def member_id(self) -> MemberId:
        """Lower-case hex SHA-256 of the certificate."""
        return certs.fingerprint(self.cert)

    @property
    def role(self) -> RecoveryRole:
        """The role that counts when none is given."""
        if self.recovery_role is not None:
            return self.recovery_role
        if self.encryption_pub_key is None:
            return RecoveryRole.NON_PARTICIPANT
        return RecoveryRole.PARTICIPANT


class ServiceConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """First content of `service.config`; 0 as threshold lets the members decide."""

    recovery_threshold: int = 0
    maximum_node_certificate_validity_days: int = 365
    maximum_service_certificate_validity_days: int = 365
    recent_cose_proposals_window_size: int | None = None

    def to_json(self) -> dict[str, Json]:
        """The row; what is not set is left out."""
        value: dict[str, Json] = {
            "recovery_threshold": self.recovery_threshold,
            "maximum_node_certificate_validity_days": self.maximum_node_certificate_validity_days,
            "maximum_service_certificate_validity_days": (
                self.maximum_service_certificate_validity_days
            ),
        }
        if self.recent_cose_proposals_window_size is not None:
            name = "recent_cose_proposals_window_size"
            value[name] = self.recent_cose_proposals_window_size
        return value


class NodeGenesis(msgspec.Struct, frozen=True, kw_only=True):
    """The node that creates the service."""

    node_id: NodeId
    entry: NodeEntry
    endorsed_certificate: str
    measurement: str
    """Of the virtual platform: the text itself."""
    host_data: str
    """Lower-case hex SHA-256 of the program."""


class GenesisInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator gives a new service."""

    members: tuple[Member, ...]
    constitution: str
    """Text of all files, joined by single newlines."""
    configuration: ServiceConfiguration = ServiceConfiguration()
    service_cert: str
    service_data: Json = None
    node: NodeGenesis


class RecoveryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovered service is given; everything else is in the ledger."""

    txid: TxID
    """Of the transaction that makes the service."""
    service_cert: str
    service_data: Json = None
    last_signed_root: bytes
    node: NodeGenesis


def join_constitution(files: list[str]) -> str:
    """One module out of the texts of several files."""
    return "\n".join(files)


def effective_configuration(given: GenesisInfo) -> ServiceConfiguration:
    """The configuration with its threshold decided; LocalError when it cannot be met.

    Default: all participants must agree; 1 when only owners hold the key.
    """
    roles = [member.role for member in given.members]
    participants = roles.count(RecoveryRole.PARTICIPANT)
    owners = roles.count(RecoveryRole.OWNER)
    threshold = given.configuration.recovery_threshold
    if threshold == 0:
        threshold = participants or (1 if owners else 0)
        return msgspec.structs.replace(given.configuration, recovery_threshold=threshold)
    most = participants or (1 if owners else 0)
    if threshold > most:
        raise LocalError(
            f"Recovery threshold ({threshold}) cannot be greater than {most}, the number of"
            " initial members that take part in recovery"
        )
    return given.configuration


def create(tx: Tx, given: GenesisInfo) -> None:
    """Write the create transaction. `tx` must become CREATE_TXID."""
    if tables.get_json(tx, tables.SERVICE_INFO) is not None:
        raise LocalError("Service is already created.")
    if not given.members:
        raise LocalError("A service needs at least one member")
    configuration = effective_configuration(given)

    service: dict[str, Json] = {
        "cert": given.service_cert,
        "current_service_create_txid": str(CREATE_TXID),
        "recovery_count": 0,
        "status": ServiceStatus.OPENING.value,
    }
    if given.service_data is not None:
        service["service_data"] = given.service_data
    tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, service)
    for member in given.members:
        _add_member(tx, member)
    tables.put_json(tx, tables.SERVICE_CONFIG, tables.UNIT, configuration.to_json())
    tables.put_json(tx, tables.CONSTITUTION, tables.UNIT, given.constitution)
    _add_node(tx, given.node)


def recover(tx: Tx, given: RecoveryInfo) -> None:
    """Write the transaction by which another service takes over from the one in the tables.

    Raises LocalError when there is none, or it has the same identity.
    """
    before = info.read(tx)
    previous = None if before is None else before.get("cert")
    if before is None or not isinstance(previous, str):
        raise LocalError("The ledger holds no service that could be recovered")
    if previous == given.service_cert:
        raise LocalError("Service is already created.")
    created = info.created_at(tx)
    if created is None:
        # Versions that did not note it: the last write of the row, as they did themselves.
        created = tx.map(tables.SERVICE_INFO).previous_version(tables.UNIT)
    service: dict[str, Json] = {
        "cert": given.service_cert,
        "current_service_create_txid": str(given.txid),
        "previous_service_identity_version": created,
        "recovery_count": tables.int_member(before, "recovery_count", 0) + 1,
        "status": ServiceStatus.RECOVERING.value,
    }
    if given.service_data is not None:
        service["service_data"] = given.service_data
    tables.put_json(tx, tables.SERVICE_INFO, tables.UNIT, service)
    tables.put_json(tx, tables.PREVIOUS_SERVICE_IDENTITY, tables.UNIT, previous)
    root = given.last_signed_root.hex()
    tables.put_json(tx, tables.PREVIOUS_SERVICE_LAST_SIGNED_ROOT, tables.UNIT, root)
    _retire_all(tx)
    _add_node(tx, given.node)


def _retire_all(tx: Tx) -> None:
    retired = NodeStatus.RETIRED.value
    for node_id, row in sorted(tables.objects(tx, tables.NODES_INFO)):
        if row.get("status") != retired:
            kept = {name: value for name, value in row.items() if value is not None}
            tables.put_json(tx, tables.NODES_INFO, node_id, {**kept, "status": retired})


def _add_member(tx: Tx, member: Member) -> None:
    ident = member.member_id
    if tables.get_json(tx, tables.MEMBERS_INFO, ident) is not None:
        raise LocalError(f"Member {ident} is given twice")
    has_key = member.encryption_pub_key is not None
    takes_part = member.recovery_role not in (None, RecoveryRole.NON_PARTICIPANT)
    if takes_part and not has_key:
        raise LocalError(f"Member {ident} has a recovery role but no encryption public key")
    if has_key and member.recovery_role is RecoveryRole.NON_PARTICIPANT:
        raise LocalError(f"Member {ident} has an encryption public key but does not participate")
    row: dict[str, Json] = {"status": ACCEPTED}
    if member.member_data is not None:
        row["member_data"] = member.member_data
    if member.recovery_role is not None:
        row["recovery_role"] = member.recovery_role.value
    tables.put_raw(tx, tables.MEMBERS_CERTS, ident, member.cert)
    tables.put_json(tx, tables.MEMBERS_INFO, ident, row)
    if member.encryption_pub_key is not None:
        tables.put_raw(tx, tables.MEMBERS_ENCRYPTION_KEYS, ident, member.encryption_pub_key)
    # Nothing is signed yet that could be acknowledged.
    tables.put_json(tx, tables.MEMBERS_ACKS, ident, {"state_digest": ""})


def _add_node(tx: Tx, node: NodeGenesis) -> None:
    tables.put_raw(tx, tables.NODES_ENDORSED_CERTIFICATES, node.node_id, node.endorsed_certificate)
    tables.put_json(tx, tables.NODES_INFO, node.node_id, node.entry.to_json())
    tables.put_json(tx, tables.VIRTUAL_MEASUREMENTS, node.measurement, tables.ALLOWED_TO_JOIN)
    tables.add_to_set(tx, tables.VIRTUAL_HOST_DATA, node.host_data)
