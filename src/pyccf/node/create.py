"""Making a node that starts a new service.

Everything the machine is made of is put together here: identities, secrets, store, history,
consensus, frontends and the table hooks through which commits take effect. The first transaction
is written and signed at once, so that the node is part of its network when this returns
(spec: node-lifecycle.md §5). Joining and recovering are other ways to begin and are refused where
the configuration is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from pyccf.attest import virtual
from pyccf.consensus.solo import FIRST_VIEW, Solo
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve
from pyccf.kv.changes import MapChanges
from pyccf.kv.store import Store
from pyccf.ledger import signature
from pyccf.ledger.chunker import Chunker
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.node.frontend import InterfaceRules
from pyccf.node.node import Limits, Node, Sign
from pyccf.service import genesis, recovery, tables
from pyccf.service.identity import NodeIdentity, ServiceIdentity
from pyccf.service.nodes import NodeEntry, NodeStatus, RpcInterface
from pyccf.types import Json, SeqNo, TxID, UnixSeconds

if TYPE_CHECKING:
    from pyccf.node.frontend import App

LEDGER_SECRET_BYTES = 32


class ServicePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a new service and its first node are to be."""

    members: tuple[genesis.Member, ...]
    constitution: str
    configuration: genesis.ServiceConfiguration
    service_data: Json = None
    node_data: Json = None
    cose_issuer: str = ""
    cose_subject: str = ""
    host_data: str
    """Hex SHA-256 of the program (spec: attestation.md §2)."""
    node_bind_address: str
    node_published_address: str
    rpc_interfaces: dict[str, RpcInterface]
    chunk_size_bytes: int
    limits: Limits
    node_validity_days: int = 1
    curve: Curve = Curve.P384


class Parts(msgspec.Struct, frozen=True):
    """A started node and the things around it that others need to know."""

    node: Node
    secrets: LedgerSecrets
    identity: NodeIdentity
    service: ServiceIdentity


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
    store = Store(view=FIRST_VIEW)
    secrets = LedgerSecrets([LedgerSecret(1, entropy.bytes(LEDGER_SECRET_BYTES), None)])
    history = History(secrets)
    endorsed = service.endorse(identity.csr_pem, started, plan.node_validity_days, entropy)
    # The certificate signatures are made with, as this node has it by now (kept by a hook below).
    current = [endorsed]
    node = Node(
        node_id=identity.node_id,
        store=store,
        history=history,
        chunker=Chunker(plan.chunk_size_bytes),
        consensus=Solo(identity.node_id),
        sign=_signing(plan, identity, service, current),
        service_cert=lambda: service.cert_pem,
        service_key=lambda: service.key.public,
        entropy=entropy,
        limits=plan.limits,
        interfaces={name: _rules(i) for name, i in plan.rpc_interfaces.items()},
    )
    node.clock(0, started)
    node.app.app = app
    parts = Parts(node, secrets, identity, service)
    _install_hooks(parts, current)
    install(parts)
    _create(parts, plan, endorsed)
    return parts


def _rules(interface: RpcInterface) -> InterfaceRules:
    accepted = interface.accepted_endpoints
    if accepted is None and interface.authority == "Unsecured":
        accepted = ()
    return InterfaceRules.of(accepted, redirects=interface.redirections is not None)


def _signing(
    plan: ServicePlan, identity: NodeIdentity, service: ServiceIdentity, current: list[str]
) -> Sign:
    def sign(
        txid: TxID, root: bytes, tree: bytes, unix: UnixSeconds
    ) -> dict[str, dict[bytes, bytes]]:
        return signature.build(
            txid,
            root,
            tree,
            identity.node_id,
            identity.key,
            current[0],
            service.key,
            plan.cose_issuer,
            plan.cose_subject,
            unix,
        )

    return sign


def _install_hooks(parts: Parts, current: list[str]) -> None:
    """Effects of table writes on this node (spec: governance.md §1.4)."""
    node, identity, service, secrets = parts.node, parts.identity, parts.service, parts.secrets
    own = identity.node_id.encode()

    def endorsed_locally(seqno: SeqNo, changes: MapChanges) -> None:
        pem = changes.get(own)
        if pem is not None:
            current[0] = pem.decode()

    def endorsed_globally(seqno: SeqNo, changes: MapChanges) -> None:
        pem = changes.get(own)
        if pem is None:
            return
        if node.gov.open:
            node.announce_certificate("Node", identity.self_signed_pem)
        node.announce_certificate("Service", pem.decode())
        node.gov.open = True

    def service_globally(seqno: SeqNo, changes: MapChanges) -> None:
        raw = changes.get(tables.UNIT)
        if raw is None:
            return
        info = tables.decode_row(tables.SERVICE_INFO, raw)
        if not isinstance(info, dict) or not service.owns(str(info["cert"])):
            return
        service.cert_pem = str(info["cert"])
        if info["status"] == "Open" and not node.app.open:
            node.app.open = True
            node.log("info", "", f"Service open at seqno {seqno}")

    def secrets_locally(seqno: SeqNo, changes: MapChanges) -> None:
        """A rekey: from the next transaction on, entries are encrypted with the new secret."""
        secret = recovery.secret_from_rekey(
            seqno, changes, identity.node_id, identity.encryption_key
        )
        if secret is not None:
            secrets.add(secret)

    node.store.on_write(tables.NODES_ENDORSED_CERTIFICATES, endorsed_locally)
    node.store.on_commit(tables.NODES_ENDORSED_CERTIFICATES, endorsed_globally)
    node.store.on_commit(tables.SERVICE_INFO, service_globally)
    node.store.on_write(tables.ENCRYPTED_LEDGER_SECRETS, secrets_locally)


def _create(parts: Parts, plan: ServicePlan, endorsed: str) -> None:
    """Write the create transaction and the first signature."""
    node, identity, service = parts.node, parts.identity, parts.service
    evidence = virtual.make(plan.host_data, identity.key.public.der)
    claims = virtual.verify(evidence)
    entry = NodeEntry(
        node_to_node_bind_address=plan.node_bind_address,
        node_to_node_published_address=plan.node_published_address,
        rpc_interfaces=plan.rpc_interfaces,
        quote_info=evidence.to_json(),
        encryption_pub_key=identity.encryption_key.public.pem(),
        public_key=identity.key.public.pem(),
        certificate_signing_request=identity.csr_pem,
        code_digest=claims.measurement.hex(),
        status=NodeStatus.TRUSTED,
        node_data=plan.node_data,
    )
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
                node_id=identity.node_id,
                entry=entry,
                endorsed_certificate=endorsed,
                measurement=claims.measurement.decode(),
                host_data=plan.host_data,
            ),
        ),
    )
    txid = node.commit(tx)
    assert txid == genesis.CREATE_TXID
    node.state = "PartOfNetwork"
    node.announce_certificate("Node", identity.self_signed_pem)
    node.sign()
