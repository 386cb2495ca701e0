"""A service in memory on which a constitution is tried: members, tables, signed requests.

Everything but the network is real: requests are signed by members, authenticated, and answered by
the routes of the governance API over a store with a genesis; scripts run in the engine; what they
ask of the node is done, and noted. Keys come from a seed, time from a counter, so that a trial
gives the same result each time. Nothing of a trial outlives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, cast

import msgspec

from pyccf.api.gov import routes
from pyccf.api.gov.scripts import Scripts
from pyccf.apps.auth import authenticate
from pyccf.apps.context import Context, Services
from pyccf.apps.router import Templates
from pyccf.attest import virtual
from pyccf.codec import cbor
from pyccf.codec.text import dump_json, load_json
from pyccf.crypto import certs, cosesign
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.store import Store
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.service import genesis, info, tables
from pyccf.service.identity import NodeIdentity, ServiceIdentity, make_node, make_service
from pyccf.service.info import ServiceStatus
from pyccf.service.members import ACTIVE, RecoveryRole
from pyccf.service.nodes import NodeEntry, NodeStatus, RpcInterface
from pyccf.service.operations import PART_OF_NETWORK, Operations, TransactionFlags
from pyccf.types import Json, MemberId, ProposalId, UnixSeconds

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

BEGINNING: UnixSeconds = 1_767_225_600
"""When every trial begins: the first second of 2026."""
VALIDITY_DAYS = 365
ADDRESS = "127.0.0.1:8000"
VERSION = "api-version=2024-07-01"
SIGNED_ROOT = "00" * 32
HOST_DATA = "00" * 32

SINGLE = ""
"""How the one key of a table with a single row is written."""
SET_MEMBER = "(set)"
"""How the value of a set's members is written."""


class Person:
    """A member, user or newcomer: a name with key and certificate, made from the name."""

    __slots__ = ("cert", "id", "key")

    def __init__(self, name: str) -> None:
        entropy = SeededEntropy(f"person {name}")
        self.key = PrivateKey.generate(Curve.P256, entropy)
        self.cert = certs.self_signed(
            self.key, f"CN={name}", not_before=BEGINNING, days=VALIDITY_DAYS, entropy=entropy
        )
        self.id: MemberId = certs.fingerprint(self.cert)


@cache
def person(name: str) -> Person:
    """The person of this name; always the same."""
    return Person(name)


@cache
def node_identity() -> NodeIdentity:
    """The one node; its encryption key also serves all members, who here keep no secrets."""
    return make_node(
        entropy=SeededEntropy("node"),
        not_before=BEGINNING,
        days=VALIDITY_DAYS,
        sans=["iPAddress:127.0.0.1"],
    )


@cache
def service_identity() -> ServiceIdentity:
    """The service."""
    return make_service(entropy=SeededEntropy("service"), not_before=BEGINNING, days=VALIDITY_DAYS)


def encryption_key() -> str:
    """Public key that recovery shares of every member are encrypted to."""
    return node_identity().encryption_key.public.pem()


class MemberPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member of the consortium as a trial begins."""

    data: object = None
    """JSON."""
    key: bool = True
    """Whether it has an encryption key, and so may hold a recovery share."""
    role: str | None = None
    active: bool = True


class ServicePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service as a trial begins."""

    status: str = ServiceStatus.OPEN.value
    recovery_threshold: int = 1
    recent_cose_proposals_window_size: int | None = None
    maximum_node_certificate_validity_days: int = VALIDITY_DAYS
    maximum_service_certificate_validity_days: int = VALIDITY_DAYS


class Answer(msgspec.Struct, frozen=True):
    """What became of one request: the answer, and what was done if it was not refused."""

    body: Json
    error: tuple[str, str] | None
    """Code and message of a refusal."""
    writes: dict[str, dict[str, Json]]
    """By table and key; removed rows are null."""
    calls: list[str]
    """What scripts had the node do, by the names they know."""


class _Machine:
    """The facts of a node that scripts may ask for."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.lines: list[str] = []
        self._entropy = SeededEntropy("scripts")

    def unix_time(self) -> UnixSeconds:
        return self.now

    def random(self, n: int) -> bytes:
        return self._entropy.bytes(n)

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        self.lines.append(f"{level}: {text}")


class _Operations(Operations):
    """The node's operations, noted by the names that scripts know."""

    calls: list[str]

    def trigger_ledger_rekey(self, tx: Tx) -> None:
        self.calls.append("triggerLedgerRekey")
        super().trigger_ledger_rekey(tx)

    def trigger_recovery_shares_refresh(self, tx: Tx) -> None:
        self.calls.append("triggerRecoverySharesRefresh")
        super().trigger_recovery_shares_refresh(tx)

    def trigger_ledger_chunk(self, tx: Tx) -> None:
        self.calls.append("triggerLedgerChunk")
        super().trigger_ledger_chunk(tx)

    def trigger_snapshot(self, tx: Tx) -> None:
        self.calls.append("triggerSnapshot")
        super().trigger_snapshot(tx)

    def transition_service_to_open(self, tx: Tx, previous: str | None, following: str) -> None:
        self.calls.append("transitionServiceToOpen")
        super().transition_service_to_open(tx, previous, following)

    def generate_endorsed_certificate(self, csr_pem: str, valid_from: str, days: int) -> str:
        self.calls.append("generateEndorsedCertificate")
        return super().generate_endorsed_certificate(csr_pem, valid_from, days)

    def generate_network_certificate(self, valid_from: str, days: int) -> str:
        self.calls.append("generateNetworkCertificate")
        return super().generate_network_certificate(valid_from, days)


class Trial:
    """One service with one constitution, from its opening on."""

    def __init__(
        self, constitution: str, members: Mapping[str, MemberPlan], plan: ServicePlan
    ) -> None:
        """Raises LocalError when such a service cannot be."""
        self._store = Store(view=2)
        self._machine = _Machine()
        secrets = LedgerSecrets([LedgerSecret(1, bytes(32))])
        self._operations = _Operations(
            secrets=secrets,
            service=service_identity(),
            entropy=SeededEntropy("operations"),
            unix_time=self._machine.unix_time,
            node_state=lambda: PART_OF_NETWORK,
            flags=TransactionFlags(),
        )
        self._operations.calls = []
        self._templates = Templates()
        for endpoint in routes.build(self):
            self._templates.add(endpoint)
        self._begin(constitution, members, plan)

    # What the routes ask of the node.

    def refresh_shares(self, tx: Tx) -> None:
        """As a member that becomes active does."""
        self._operations.refresh_shares(tx)

    @property
    def shares(self) -> _Operations:
        """Takes recovery shares."""
        return self._operations

    def root_at(self, tx: Tx) -> bytes:
        """Stands for the Merkle root of the state: another one for each version of it."""
        return hashlib.sha256(b"%d" % self._store.version).digest()

    def scripts(self, ctx: Context) -> Scripts:
        """Runs constitution and ballots."""
        return Scripts(ctx.services, self._operations)

    # What members do.

    def propose(self, by: str, proposal: bytes) -> Answer:
        """Submit a proposal: the text as it is signed."""
        return self._request(by, "proposal", "/gov/members/proposals:create", proposal)

    def vote(self, by: str, ident: ProposalId, ballot: str) -> Answer:
        """Vote with the text of a module."""
        path = f"/gov/members/proposals/{ident}/ballots/{person(by).id}:submit"
        return self._request(by, "ballot", path, dump_json({"ballot": ballot}), ident)

    def withdraw(self, by: str, ident: ProposalId) -> Answer:
        """Withdraw a proposal."""
        path = f"/gov/members/proposals/{ident}:withdraw"
        return self._request(by, "withdrawal", path, b"", ident)

    def state_of(self, ident: ProposalId) -> str | None:
        """State of a proposal; None when it is kept no more."""
        row = tables.get_object(self._store.tx(), tables.PROPOSALS_INFO, ident)
        return None if row is None else str(row.get("state"))

    def write(self, rows: Mapping[str, Mapping[str, Json]]) -> None:
        """Change tables, as if something else had; null removes a row."""

        def change(tx: Tx) -> None:
            for table, values in rows.items():
                for key, value in values.items():
                    raw = None if value is None else encode_value(table, value)
                    if raw is None:
                        tx.map(table).delete(_encode_key(key))
                    else:
                        tx.map(table).set(_encode_key(key), raw)

        self._change(change)

    @property
    def log(self) -> list[str]:
        """What scripts wrote with console.log."""
        return self._machine.lines

    def _request(
        self, by: str, kind: str, path: str, payload: bytes, ident: ProposalId | None = None
    ) -> Answer:
        self._machine.now += 1
        body = _sign(person(by), kind, payload, self._machine.now, ident)
        headers = {"content-type": "application/cose"}
        request = Request("POST", f"{path}?{VERSION}", headers, body)
        found = self._templates.find("POST", path.removeprefix("/gov"))
        assert found is not None, path
        endpoint, params = found
        tx = self._store.tx()
        # Governance handlers and scripts ask for time, chance and log, which the machine has.
        ctx = Context(request, Session(1, "trial"), tx, cast(Services, self._machine), endpoint)
        ctx.params = params
        self._operations.calls = []
        try:
            ctx.caller = authenticate(ctx, endpoint.auth)
            endpoint.execute(ctx)
        except RpcError as refused:
            return Answer(None, (refused.code, refused.message), {}, [])
        writes = decode_writes(tx)
        self._store.commit(tx)
        answer = load_json(ctx.body) if ctx.body else None
        return Answer(answer, None, writes, self._operations.calls)

    # How it begins.

    def _begin(
        self, constitution: str, members: Mapping[str, MemberPlan], plan: ServicePlan
    ) -> None:
        node, service = node_identity(), service_identity()
        configuration = genesis.ServiceConfiguration(
            recovery_threshold=plan.recovery_threshold if _holders(members) else 0,
            maximum_node_certificate_validity_days=plan.maximum_node_certificate_validity_days,
            maximum_service_certificate_validity_days=(
                plan.maximum_service_certificate_validity_days
            ),
            recent_cose_proposals_window_size=plan.recent_cose_proposals_window_size,
        )
        endorsed = service.endorse(
            node.csr_pem, BEGINNING, VALIDITY_DAYS, SeededEntropy("endorsement")
        )
        whole = genesis.GenesisInfo(
            members=tuple(_member(name, one) for name, one in members.items()),
            constitution=constitution,
            configuration=configuration,
            service_cert=service.cert_pem,
            node=genesis.NodeGenesis(
                node_id=node.node_id,
                entry=_node_entry(node),
                endorsed_certificate=endorsed,
                measurement=virtual.MEASUREMENT,
                host_data=HOST_DATA,
            ),
        )
        self._change(lambda tx: genesis.create(tx, whole))
        self._change(lambda tx: _activate(tx, members))
        status = _status(plan.status)
        if status is ServiceStatus.OPEN and _holders(members):
            opened = service.cert_pem
            self._change(lambda tx: self._operations.transition_service_to_open(tx, None, opened))
        else:
            self._change(lambda tx: info.set_status(tx, status))

    def _change(self, change: Callable[[Tx], None]) -> None:
        tx = self._store.tx()
        change(tx)
        if tx.writes:
            self._store.commit(tx)


def _holders(members: Mapping[str, MemberPlan]) -> bool:
    return any(one.key and one.active for one in members.values())


def _status(text: str) -> ServiceStatus:
    try:
        return ServiceStatus(text)
    except ValueError:
        known = ", ".join(status.value for status in ServiceStatus)
        raise LocalError(f"{text} is no status of a service", hint=f"Known: {known}") from None


def _member(name: str, plan: MemberPlan) -> genesis.Member:
    try:
        role = None if plan.role is None else RecoveryRole(plan.role)
    except ValueError:
        known = ", ".join(role.value for role in RecoveryRole)
        raise LocalError(f"{plan.role} is no recovery role", hint=f"Known: {known}") from None
    return genesis.Member(
        cert=person(name).cert,
        encryption_pub_key=encryption_key() if plan.key else None,
        member_data=cast(Json, plan.data),
        recovery_role=role,
    )


def _activate(tx: Tx, members: Mapping[str, MemberPlan]) -> None:
    # What a signature transaction leaves: a state that new members can acknowledge.
    tables.put_json(tx, tables.SIGNATURES, tables.UNIT, {"root": SIGNED_ROOT})
    for name, plan in members.items():
        row = tables.get_object(tx, tables.MEMBERS_INFO, person(name).id)
        if plan.active and row is not None:
            tables.put_json(tx, tables.MEMBERS_INFO, person(name).id, {**row, "status": ACTIVE})


def _node_entry(node: NodeIdentity) -> NodeEntry:
    return NodeEntry(
        node_to_node_bind_address=ADDRESS,
        node_to_node_published_address=ADDRESS,
        rpc_interfaces={"primary": RpcInterface(bind_address=ADDRESS, published_address=ADDRESS)},
        quote_info=virtual.make(HOST_DATA, node.key.public.der).to_json(),
        encryption_pub_key=node.encryption_key.public.pem(),
        public_key=node.key.public.pem(),
        certificate_signing_request=node.csr_pem,
        code_digest=virtual.MEASUREMENT.encode().hex(),
        status=NodeStatus.TRUSTED,
    )


def _sign(
    who: Person, kind: str, payload: bytes, now: UnixSeconds, ident: ProposalId | None
) -> bytes:
    pairs = [
        (cbor.uint(1), cbor.integer(who.key.curve.cose_alg)),
        (cbor.uint(4), cbor.bstr(who.id.encode())),
        (cbor.tstr("ccf.gov.msg.type"), cbor.tstr(kind)),
        (cbor.tstr("ccf.gov.msg.created_at"), cbor.uint(now)),
    ]
    if ident is not None:
        pairs.append((cbor.tstr("ccf.gov.msg.proposal_id"), cbor.tstr(ident)))
    return cosesign.sign1(who.key, cbor.mapping(pairs), payload)


# --- rows as a person reads them ----------------------------------------------------------------


RAW_TABLES = frozenset(
    {
        tables.MEMBERS_CERTS,
        tables.MEMBERS_ENCRYPTION_KEYS,
        tables.USERS_CERTS,
        tables.NODES_ENDORSED_CERTIFICATES,
        tables.PROPOSALS,
        tables.MODULES,
    }
)
"""Tables whose values are texts as they are; those of all others are JSON."""


def encode_value(table: str, value: Json) -> bytes:
    """Bytes of a row's value."""
    if value == SET_MEMBER:
        return tables.UNIT
    if table in RAW_TABLES and isinstance(value, str):
        return value.encode()
    return dump_json(value)


def decode_writes(tx: Tx) -> dict[str, dict[str, Json]]:
    """What a transaction is about to write, by table and key."""
    return {
        table: {_decode_key(key): _decode_value(table, raw) for key, raw in rows.items()}
        for table, rows in tx.writes.items()
    }


def _encode_key(key: str) -> bytes:
    return tables.UNIT if key == SINGLE else key.encode()


def _decode_key(raw: bytes) -> str:
    return SINGLE if raw == tables.UNIT else raw.decode("utf-8", "replace")


def _decode_value(table: str, raw: bytes | None) -> Json:
    if raw is None:
        return None
    if raw == tables.UNIT:
        return SET_MEMBER
    text = raw.decode("utf-8", "replace")
    if table in RAW_TABLES:
        return text
    try:
        return load_json(text)
    except ValueError:
        return text
