"""Putting a node together, and starting a new service with it.

`assemble` makes everything the machine is made of: store, history, consensus, frontends and the
table hooks through which transactions take effect on this node, for nodes that start a service and
for nodes that join one (`node/join.py`) or recover one (`node/recover.py`) alike. `start_service`
goes on: the first transaction is written and signed at once, so that the node is part of its
network when it returns (spec: node-lifecycle.md §4-5).

What a hook does as soon as a transaction is applied must not outlive it when it is rolled back.
That holds by construction: the certificate in use is looked up in the table each time, and ledger
secrets are rolled back with the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.context import SignsAs
from pyccf.attest import virtual
from pyccf.consensus.raft import Raft
from pyccf.consensus.raft.settings import RaftSettings
from pyccf.crypto import certs, chains
from pyccf.crypto.entropy import Entropy
from pyccf.kv.changes import MapChanges
from pyccf.kv.store import Store
from pyccf.ledger import signature
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.history import History
from pyccf.ledger.past_secrets import PastSecret
from pyccf.ledger.secrets import LedgerSecret
from pyccf.node.frontend import InterfaceRules
from pyccf.node.key_refresh import KeyRefresh
from pyccf.node.node import Limits, Node
from pyccf.node.private import PrivateRecovery
from pyccf.node.secrets import NodeSecrets
from pyccf.node.states import PART_OF_NETWORK
from pyccf.service import genesis, recovery, tables
from pyccf.service.identity import NodeIdentity, ServiceIdentity
from pyccf.service.nodes import NodeEntry, NodeStatus, RpcInterface, record_retired_committed
from pyccf.types import Json, SeqNo, TxID, UnixSeconds

if TYPE_CHECKING:
    from pyccf.node.frontend import App
    from pyccf.node.join import Joiner

LEDGER_SECRET_BYTES = 32


class NodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to be, whichever way it begins."""

    node_data: Json = None
    host_data: str
    """Hex SHA-256 of the program (spec: attestation.md §2)."""
    node_bind_address: str
    node_published_address: str
    rpc_interfaces: dict[str, RpcInterface]
    chunk_size_bytes: int
    limits: Limits
    raft: RaftSettings = RaftSettings()
    seals: bool = False
    """Whether this machine keeps the ledger secrets, sealed; others are told."""


class ServicePlan(NodePlan, frozen=True, kw_only=True):
    """What a new service and its first node are to be."""

    members: tuple[genesis.Member, ...]
    constitution: str
    configuration: genesis.ServiceConfiguration
    service_data: Json = None
    cose_issuer: str = ""
    cose_subject: str = ""
    node_validity_days: int = 1


class Signer:
    """Makes the signatures of one node over its ledger."""

    def __init__(self, store: Store, identity: NodeIdentity, service: ServiceIdentity) -> None:
        self._store = store
        self._identity = identity
        self._service = service
        self._own = identity.node_id.encode()
        self.issuer = ""
        self.subject = ""
        self.handed_out = ""
        """Endorsed certificate (PEM) this node was given before its tables had it."""
        self._judged = b""
        self._usable = False
        """Whether `_judged`, the last content of the row, can be used."""

    @property
    def certificate(self) -> str:
        """The endorsed certificate in use, PEM; empty as long as there is none.

        As the tables have it by now, committed or not, since a node may have to lead before its
        own addition is committed (spec: node-lifecycle.md §12, §16). What is no certificate of
        this node by the service is not used, whoever decided on it.
        """
        table = self._store.maps.get(tables.NODES_ENDORSED_CERTIFICATES)
        row = table.data.get(self._own) if table is not None else None
        if row is None:
            return self.handed_out
        if row.value != self._judged:
            self._judged = row.value
            self._usable = self.usable(row.value)
        return row.value.decode() if self._usable else self.handed_out

    def usable(self, pem: bytes) -> bool:
        """Whether this is a certificate of this node by the service."""
        try:
            if certs.public_key(pem.decode()) != self._identity.key.public:
                return False
        except ValueError:
            return False
        return chains.check_endorsed(pem, self._service.cert_pem, ignore_time=True)

    def __call__(
        self, txid: TxID, root: bytes, tree: bytes, unix: UnixSeconds
    ) -> dict[str, dict[bytes, bytes]]:
        """The maps of a signature transaction."""
        return signature.build(
            txid,
            root,
            tree,
            self._identity.node_id,
            self._identity.key,
            self.certificate,
            self._service.key,
            self.issuer,
            self.subject,
            unix,
        )


class Parts(msgspec.Struct):
    """A node and the things around it that others need to know."""

    node: Node
    secrets: NodeSecrets
    identity: NodeIdentity
    service: ServiceIdentity
    signer: Signer
    entropy: Entropy
    entry: NodeEntry
    """What this node tells of itself when it asks to be let in; status Pending."""
    self_signed_pem: str
    """The node's own certificate; renewed together with the endorsed one."""
    private: PrivateRecovery | None = None
    """Of a node that recovers, or may have joined one that does."""
    joiner: Joiner | None = None
    """Of a node that has still to be let in."""
    sealed: Mapping[SeqNo, bytes] = {}
    """Secrets of the service that is recovered which this machine kept, by version."""
    whole_ledger: bool = False
    """Whether other nodes may begin with the first entry though this one began later."""

    def past(self) -> Sequence[PastSecret]:
        """What the ledger said about past secrets, as far as this node needs to know it."""
        return self.private.past if self.private is not None else ()


def assemble(
    plan: NodePlan,
    identity: NodeIdentity,
    service: ServiceIdentity,
    secrets: NodeSecrets,
    *,
    entropy: Entropy,
    started: UnixSeconds,
    app: App | None,
    install: Callable[[Parts], None],
) -> Parts:
    """Make a node that has an empty ledger and belongs to nothing yet.

    `install` adds the endpoints. Interfaces endorsed by the node itself may be served from now on.
    """
    store = Store(view=genesis.CREATE_TXID.view)
    signer = Signer(store, identity, service)
    node = Node(
        node_id=identity.node_id,
        store=store,
        history=History(secrets),
        chunker=Chunker(plan.chunk_size_bytes),
        consensus=Raft(identity.node_id, plan.raft, entropy),
        sign=signer,
        signs_as=lambda: SignsAs(signer.issuer, signer.subject),
        endorse_service=lambda old: service.endorse_older(old, entropy),
        service_key=lambda: service.public,
        entropy=entropy,
        limits=plan.limits,
        interfaces={name: _rules(i) for name, i in plan.rpc_interfaces.items()},
    )
    node.clock(0, started)
    node.app.app = app
    parts = Parts(
        node,
        secrets,
        identity,
        service,
        signer,
        entropy,
        _describe(plan, identity),
        identity.self_signed_pem,
    )
    _install_hooks(parts)
    install(parts)
    node.announce_certificate("Node", parts.self_signed_pem)
    return parts


def start_service(
    plan: ServicePlan,
    identity: NodeIdentity,
    service: ServiceIdentity,
    *,
    entropy: Entropy,
    started: UnixSeconds,
    app: App | None,
    install: Callable[[Parts], None],
) -> Parts:
    """Start a service on this node. `install` adds the endpoints before anything is served.

    Raises LocalError when the plan cannot be met (members, threshold).
    """
    secrets = NodeSecrets([LedgerSecret(1, entropy.bytes(LEDGER_SECRET_BYTES), None)])
    endorsed = service.endorse(identity.csr_pem, started, plan.node_validity_days, entropy)
    parts = assemble(
        plan, identity, service, secrets, entropy=entropy, started=started, app=app, install=install
    )
    parts.signer.issuer = plan.cose_issuer
    parts.signer.subject = plan.cose_subject
    parts.signer.handed_out = endorsed
    parts.node.consensus.start()
    _create(parts, plan, endorsed)
    return parts


def _describe(plan: NodePlan, identity: NodeIdentity) -> NodeEntry:
    evidence = virtual.make(plan.host_data, identity.key.public.der)
    return NodeEntry(
        node_to_node_bind_address=plan.node_bind_address,
        node_to_node_published_address=plan.node_published_address,
        rpc_interfaces=plan.rpc_interfaces,
        quote_info=evidence.to_json(),
        encryption_pub_key=identity.encryption_key.public.pem(),
        public_key=identity.key.public.pem(),
        certificate_signing_request=identity.csr_pem,
        code_digest=virtual.verify(evidence).measurement.hex(),
        status=NodeStatus.PENDING,
        node_data=plan.node_data,
        seals=plan.seals,
    )


def _rules(interface: RpcInterface) -> InterfaceRules:
    accepted = interface.accepted_endpoints
    if accepted is None and interface.authority == "Unsecured":
        accepted = ()
    return InterfaceRules.of(
        accepted,
        redirects=interface.redirections,
        forwarding_timeout_ms=interface.forwarding_timeout_ms,
        http2=interface.app_protocol == "HTTP2",
    )


def _install_hooks(parts: Parts) -> None:
    """Effects of table writes on this node (spec: governance.md §1.4, node-lifecycle.md §12)."""
    node, identity, service, secrets = parts.node, parts.identity, parts.service, parts.secrets
    own = identity.node_id.encode()

    def endorsed_globally(seqno: SeqNo, changes: MapChanges) -> None:
        if own not in changes:
            return
        pem = changes[own]
        if pem is None:
            node.log("fail", "", f"The certificate of this node was deleted at {seqno}")
            return
        if not parts.signer.usable(pem):
            node.log("fail", "", f"What was made this node's certificate at {seqno} is none of it")
            return
        if node.gov.open:
            parts.self_signed_pem = _renewed(parts, pem.decode())
            node.announce_certificate("Node", parts.self_signed_pem)
        node.announce_certificate("Service", pem.decode())
        node.gov.open = True

    def service_globally(seqno: SeqNo, changes: MapChanges) -> None:
        raw = changes.get(tables.UNIT)
        if raw is None:
            return
        info = tables.decode_row(tables.SERVICE_INFO, raw)
        cert = info.get("cert") if isinstance(info, dict) else None
        if not isinstance(info, dict) or not isinstance(cert, str):
            node.log("fail", "", f"What was written of the service at {seqno} has no certificate")
            return
        try:
            if not service.owns(cert):
                return
        except ValueError as e:
            node.log("fail", "", f"The service's certificate written at {seqno} is none: {e}")
            return
        service.cert_pem = cert
        if info.get("status") == "Open" and not node.service_open:
            node.service_open = True
            node.log("info", "", f"Service open at seqno {seqno}")
            node.end_recovery()
            node.serve_users()

    def secrets_locally(seqno: SeqNo, changes: MapChanges) -> None:
        """A rekey: from the next transaction on, entries are encrypted with the new secret."""
        secret = recovery.secret_from_rekey(
            seqno, changes, identity.node_id, identity.encryption_key
        )
        if secret is not None:
            secrets.add(secret)

    def record_retired() -> None:
        """Note which retirements are committed (spec: node-lifecycle.md §11)."""
        tx = node.store.tx()
        if record_retired_committed(tx):
            node.commit(tx)

    node.store.on_commit(tables.NODES_ENDORSED_CERTIFICATES, endorsed_globally)
    node.store.on_commit(tables.SERVICE_INFO, service_globally)
    node.store.on_write(tables.ENCRYPTED_LEDGER_SECRETS, secrets_locally)
    node.record_retired = record_retired
    refresh = KeyRefresh(node, node.limits.key_refresh_interval, lambda: parts.self_signed_pem)
    node.conversations.append(refresh.tick)


def _renewed(parts: Parts, endorsed_pem: str) -> str:
    """The self-signed certificate for the period of the endorsed one."""
    begin, end = certs.validity(endorsed_pem)
    return certs.renew(
        parts.self_signed_pem,
        parts.identity.key,
        not_before=begin,
        not_after=end,
        entropy=parts.entropy,
    )


def _create(parts: Parts, plan: ServicePlan, endorsed: str) -> None:
    """Write the create transaction and the first signature."""
    node, service = parts.node, parts.service
    tx = node.store.tx()
    genesis.create(
        tx,
        genesis.GenesisInfo(
            members=plan.members,
            constitution=plan.constitution,
            configuration=plan.configuration,
            service_cert=service.cert_pem,
            service_data=plan.service_data,
            node=genesis.NodeGenesis(
                node_id=parts.identity.node_id,
                entry=msgspec.structs.replace(parts.entry, status=NodeStatus.TRUSTED),
                endorsed_certificate=endorsed,
                measurement=virtual.MEASUREMENT,
                host_data=plan.host_data,
            ),
        ),
    )
    txid = node.commit(tx)
    assert txid == genesis.CREATE_TXID
    node.state = PART_OF_NETWORK
    node.sign()
