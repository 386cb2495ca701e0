"""A service in memory for tests: identities from a seed, a store with its genesis written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from pyccf import constitutions
from pyccf.attest import virtual
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.service import genesis, tables
from pyccf.service.genesis import Member, ServiceConfiguration
from pyccf.service.identity import NodeIdentity, ServiceIdentity, make_node, make_service
from pyccf.service.members import RecoveryRole
from pyccf.service.nodes import NodeEntry, NodeStatus, RpcInterface
from pyccf.service.operations import Operations, TransactionFlags

NOW = 1_795_232_000
HOST_DATA = "3f" * 32
ADDRESS = "127.0.0.1:8390"


@dataclass(frozen=True)
class Person:
    """A member or user with keys to sign and to decrypt."""

    key: PrivateKey
    cert: str
    encryption_key: RsaPrivateKey

    @property
    def id(self) -> str:
        return certs.fingerprint(self.cert)


@cache
def person(name: str) -> Person:
    entropy = SeededEntropy(name)
    key = PrivateKey.generate(Curve.P384, entropy)
    cert = certs.self_signed(key, f"CN={name}", not_before=NOW, days=365, entropy=entropy)
    return Person(key, cert, RsaPrivateKey.generate(2048, entropy=entropy))


@cache
def node_identity() -> NodeIdentity:
    return make_node(
        entropy=SeededEntropy("node"), not_before=NOW, days=90, sans=["iPAddress:127.0.0.1"]
    )


@cache
def service_identity() -> ServiceIdentity:
    return make_service(
        entropy=SeededEntropy("service"), not_before=NOW, days=90, subject="CN=CCF Test Service"
    )


def member(name: str, role: RecoveryRole | None = None, *, key: bool = True) -> Member:
    who = person(name)
    pem = who.encryption_key.public.pem() if key else None
    return Member(cert=who.cert, encryption_pub_key=pem, recovery_role=role)


def node_entry() -> NodeEntry:
    identity = node_identity()
    evidence = virtual.make(HOST_DATA, identity.key.public.der)
    return NodeEntry(
        node_to_node_bind_address="127.0.0.1:35307",
        node_to_node_published_address="127.0.0.1:35307",
        rpc_interfaces={
            "primary_rpc_interface": RpcInterface(bind_address=ADDRESS, published_address=ADDRESS)
        },
        quote_info=evidence.to_json(),
        encryption_pub_key=identity.encryption_key.public.pem(),
        public_key=identity.key.public.pem(),
        certificate_signing_request=identity.csr_pem,
        code_digest=virtual.MEASUREMENT.encode().hex(),
        status=NodeStatus.TRUSTED,
    )


def genesis_info(
    *members: Member,
    constitution: str = "",
    configuration: ServiceConfiguration | None = None,
) -> genesis.GenesisInfo:
    identity, service = node_identity(), service_identity()
    return genesis.GenesisInfo(
        members=members,
        constitution=constitution,
        configuration=configuration or ServiceConfiguration(),
        service_cert=service.cert_pem,
        node=genesis.NodeGenesis(
            node_id=identity.node_id,
            entry=node_entry(),
            endorsed_certificate=service.endorse(
                identity.csr_pem, NOW, 90, SeededEntropy("endorsed")
            ),
            measurement=virtual.MEASUREMENT,
            host_data=HOST_DATA,
        ),
    )


@dataclass
class World:
    """A started service: store, secrets, and the operations of governance."""

    store: Store
    secrets: LedgerSecrets
    operations: Operations
    flags: TransactionFlags
    node_state: list[str] = field(default_factory=lambda: ["PartOfNetwork"])

    def commit(self, tx: Tx) -> int:
        written = self.store.commit(tx)
        assert written is not None
        return written.version

    def activate(self, *names: str) -> None:
        tx = self.store.tx()
        for name in names:
            info = tables.get_object(tx, tables.MEMBERS_INFO, person(name).id)
            assert info is not None
            tables.put_json(tx, tables.MEMBERS_INFO, person(name).id, {**info, "status": "Active"})
        self.commit(tx)

    def sign(self, root: bytes = bytes(32)) -> None:
        """Pretend that a signature transaction was written."""
        tx = self.store.tx()
        tables.put_json(tx, tables.SIGNATURES, tables.UNIT, {"root": root.hex()})
        self.commit(tx)


def world(
    *members: Member,
    constitution: str | None = None,
    configuration: ServiceConfiguration | None = None,
) -> World:
    """A service right after its genesis (seqno 1)."""
    store = Store(view=2)
    secrets = LedgerSecrets([LedgerSecret(1, bytes(range(32)))])
    flags = TransactionFlags()
    node_state = ["PartOfNetwork"]
    operations = Operations(
        secrets=secrets,
        service=service_identity(),
        entropy=SeededEntropy("operations"),
        unix_time=lambda: NOW,
        node_state=lambda: node_state[0],
        flags=flags,
    )
    text = constitutions.text("default", "virtual") if constitution is None else constitution
    tx = store.tx()
    genesis.create(tx, genesis_info(*members, constitution=text, configuration=configuration))
    made = World(store, secrets, operations, flags, node_state)
    assert made.commit(tx) == 1
    return made
