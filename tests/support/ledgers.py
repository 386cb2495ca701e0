"""A small service's ledger made with our own rooms: identities, tables, signatures, chunk flags.

Deterministic: keys and dates come from a seed. The tables are those an auditor needs (service,
node, node certificate); everything else is the test's business.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyccf.codec.text import dump_json
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey
from pyccf.kv import wire
from pyccf.kv.changes import UNIT
from pyccf.ledger import signature
from pyccf.ledger.chunker import CHUNK_SIZE_DEFAULT, Chunker
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, Z32, Entry
from pyccf.ledger.history import History
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.types import Json, TxID

NOW = 1_760_000_000

NODES_INFO = "public:ccf.gov.nodes.info"
NODE_CERTS = "public:ccf.gov.nodes.endorsed_certificates"
SERVICE_INFO = "public:ccf.gov.service.info"
PREVIOUS_IDENTITY = "public:ccf.gov.service.previous_service_identity"
LAST_ROOT = "public:ccf.internal.previous_service_last_signed_root"

Writes = Mapping[str, Mapping[bytes, bytes | None]]


class Identity:
    """A service key and a node key, with their certificates."""

    def __init__(self, seed: str, curve: Curve = Curve.P256, days: int = 90) -> None:
        entropy = SeededEntropy(seed)
        self.service_key = PrivateKey.generate(curve, entropy)
        self.node_key = PrivateKey.generate(curve, entropy)
        self.service_cert = certs.self_signed(
            self.service_key, "CN=CCF Service", not_before=NOW, days=days, entropy=entropy
        )
        request = certs.csr(self.node_key, "CN=CCF Node", ("IP:127.0.0.1",))
        self.node_cert = certs.endorse(
            request, self.service_key, self.service_cert, NOW, days, entropy
        )
        self.node_id = self.node_key.public.id


class Service:
    """Makes entries in order; `entries` are all of them so far."""

    def __init__(
        self, seed: str = "service", *, view: int = 2, chunk_size: int = CHUNK_SIZE_DEFAULT
    ) -> None:
        self.identity = Identity(seed)
        self.view = view
        self.secrets = LedgerSecrets([LedgerSecret(1, SeededEntropy(seed + " secret").bytes(32))])
        self.history = History(self.secrets)
        self.chunker = Chunker(chunk_size)
        self.entries: list[Entry] = []
        self.signed = 0
        self.signed_root = b""
        self.cose = True

    @property
    def last(self) -> int:
        return self.history.last

    def _take(self, entry: Entry) -> Entry:
        self.chunker.append(entry.seqno, len(entry.data))
        self.entries.append(entry)
        return entry

    def write(self, maps: Writes, *, claims: bytes = Z32, flags: int = 0) -> Entry:
        public, private = wire.encode({name: dict(rows) for name, rows in maps.items()})
        txid = TxID(self.view, self.last + 1)
        return self._take(self.history.append(txid, public, private, claims=claims, flags=flags))

    def record(self, value: bytes, *, private: bool = False, claims: bytes = Z32) -> Entry:
        """An application's transaction."""
        name = "records" if private else "public:records"
        return self.write({name: {b"key": value}}, claims=claims)

    def genesis(self) -> Entry:
        """The service begins, its node trusted."""
        return self.write(self._service_tables("Opening"))

    def open(self) -> Entry:
        return self.write({SERVICE_INFO: {UNIT: dump_json(self._service_info("Open"))}})

    def _service_info(self, status: str, **more: Json) -> dict[str, Json]:
        return {"cert": self.identity.service_cert, "status": status, **more}

    def _service_tables(self, status: str, **more: Json) -> dict[str, dict[bytes, bytes | None]]:
        me = self.identity.node_id.encode()
        return {
            NODES_INFO: {me: dump_json({"status": "Trusted", "future_field": {"x": 1}})},
            NODE_CERTS: {me: self.identity.node_cert.encode()},
            SERVICE_INFO: {UNIT: dump_json(self._service_info(status, **more))},
        }

    def sign(self, *, snapshot: bool = False) -> Entry:
        """A signature transaction over everything so far."""
        txid = TxID(self.view, self.last + 1)
        me = self.identity
        root = self.history.root()
        tables = signature.build(
            txid,
            root,
            self.history.tree.serialise(),
            me.node_id,
            me.node_key,
            me.node_cert,
            me.service_key,
            "service.example.com",
            "ledger.signature",
            NOW,
        )
        if not self.cose:
            del tables[signature.COSE_SIGNATURES]
        ends = self.chunker.end_requested(txid.seqno, snapshot=snapshot)
        public, private = wire.encode({name: dict(rows) for name, rows in tables.items()})
        entry = self.history.append(
            txid, public, private, flags=FORCE_CHUNK_AFTER if ends else 0, committable=True
        )
        self.signed = entry.seqno
        self.signed_root = root
        return self._take(entry)

    def commit(self) -> None:
        """Everything up to the last signature is committed."""
        self.chunker.compact(self.signed)
        self.history.compact(self.signed)

    def recover(self, seed: str) -> Entry:
        """Disaster recovery: a new service key and node take over, two views later."""
        before = self.identity
        root = self.signed_root
        self.identity = Identity(seed)
        self.view += 2
        tables = self._service_tables("Recovering", recovery_count=1)
        tables[NODES_INFO][before.node_id.encode()] = dump_json({"status": "Retired"})
        tables[PREVIOUS_IDENTITY] = {UNIT: dump_json(before.service_cert)}
        tables[LAST_ROOT] = {UNIT: dump_json(root.hex())}
        return self.write(tables, flags=FORCE_CHUNK_BEFORE)


def small_service(records: int = 12, *, every: int = 4, chunk_size: int = 3000) -> Service:
    """An opened service with some public and private records, signed every few transactions."""
    service = Service(chunk_size=chunk_size)
    service.genesis()
    service.sign()
    service.commit()
    service.open()
    for i in range(records):
        service.record(b"value %d" % i, private=i % 3 == 0)
        if i % every == every - 1:
            service.sign()
            service.commit()
    return service
