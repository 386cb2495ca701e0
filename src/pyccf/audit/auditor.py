"""The auditor: judges a ledger entry by entry, from the first, knowing nothing but what they say.

It keeps what the ledger says about nodes and the service, and the Merkle tree as a stack of subtree
hashes, so that its memory does not grow. At each signature transaction it demands that

- the tree over everything before has the signed root,
- the signing node is one of the service's, trusted, and its certificate is the service's doing,
- the node's signature, and the service's COSE signature where there is one, are over that root,
- the tree blob in the transaction is the same tree,

and when a service identity changes (disaster recovery) that the new one names the one before it and
the root it signed last, and that endorsements are signed by who says so. COSE signatures may come
and go, certificates may be expired, and JSON members not known here may be present.

When a signature does not fit, the tree blob it carries holds the leaf of every entry since the last
one that did: comparing leaf by leaf names the first entry that was changed. Problems raise
InvalidLedger with the seqno of the first bad entry; what is odd but not wrong goes to `notes`.
What no key-less auditor can see: bytes of the very last signature that its successor would have
covered (its GCM tag, the digest of its commit evidence, that it ends its chunk), and that later
entries were cut off.
(spec: merkle-and-receipts.md §2-4, ledger.md §4-5, crypto.md §7-8)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import msgspec

from pyccf.audit.trees import Blob, Hill
from pyccf.codec.text import b64, dump_json, load_json
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.kv.changes import UNIT
from pyccf.ledger import endorsement, signature
from pyccf.ledger.certchain import endorsed_by, is_canonical, key_of
from pyccf.ledger.entry import Z32, EntryType, ParsedEntry
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import SIGNATURES, Signature
from pyccf.types import Json, NodeId, SeqNo, TxID, View

NODES_INFO = "public:ccf.gov.nodes.info"
NODE_CERTS = "public:ccf.gov.nodes.endorsed_certificates"
SERVICE_INFO = "public:ccf.gov.service.info"
PREVIOUS_IDENTITY = "public:ccf.gov.service.previous_service_identity"
LAST_SIGNED_ROOT = "public:ccf.internal.previous_service_last_signed_root"

NOTES_MAX = 100
NODE_STATUSES = frozenset(("Pending", "Trusted", "Retired"))

_sha256 = hashlib.sha256
_NONCE = "0" * 64
_MEMBERS = frozenset(
    ["cert", "commit_seqno", "commit_view", "hashed_nonce", "node", "root", "seqno", "sig", "view"]
)

MapWrites = Mapping[bytes, bytes | None]


class Node(msgspec.Struct):
    """What the ledger says about a node. `key` is that of its certificate."""

    status: str
    key: PublicKey | None = None
    cert: str = ""
    service: str = ""
    """Id of the key of the service that endorsed the certificate; empty when none did."""


class _Numbered(Protocol):
    """What a finding is about."""

    @property
    def seqno(self) -> SeqNo: ...


class _Place(msgspec.Struct, frozen=True):
    """An entry that is known only by what a snapshot says of it."""

    seqno: SeqNo


class Identity(msgspec.Struct, frozen=True):
    """A service identity and the seqno from which it is the service's."""

    since: SeqNo
    key_id: str
    cert: str


class Auditor:
    """Fed with the entries in order. Public attributes are what it found so far."""

    def __init__(self, secrets: LedgerSecrets | None = None) -> None:
        """With `secrets` every entry is decrypted too, which authenticates it by itself."""
        self.entries = 0
        self.signatures = 0
        self.cose_signatures = 0
        self.last: TxID | None = None
        self.last_signed: TxID | None = None
        self.identities: list[Identity] = []
        self.notes: list[str] = []
        self._secrets = secrets
        self._hill = Hill()
        self._hill.append(Z32)
        self._window_from: SeqNo = 0
        self._before_window = Hill()
        self._window = bytearray(Z32)
        """Leaves from the last good signature (its own included) on, end to end."""
        self._signed_root = b""
        self._nodes: dict[NodeId, Node] = {}
        self._leaving: set[NodeId] = set()
        """Nodes whose retirement is recorded as committed."""
        self._left: set[NodeId] = set()
        """Those of them after which others have signed."""
        self._service_key: PublicKey | None = None
        self._status = ""
        self._views: tuple[View, View] = (0, 0)
        self._odd: InvalidLedger | None = None
        """Something about an unsigned entry that its signature must confirm or explain."""
        self._roots: dict[SeqNo, bytes] = {}
        self._endorsing: bytes = b""
        self._endorsed_until: tuple[TxID, TxID | None] | None = None

    @classmethod
    def after(
        cls,
        txid: TxID,
        signed: Signature,
        leaf: bytes,
        identity: Identity,
        rows: Mapping[str, Mapping[bytes, bytes]],
    ) -> Auditor:
        """One that goes on after a signature, knowing the public tables as they were there.

        What is in the tables is believed, but for the signature. Raises InvalidLedger.
        """
        made = cls()
        made._service_key = key_of(identity.cert)
        made.identities.append(identity)
        made._signed_before(txid, signed)
        entry = _Place(txid.seqno)
        made._node_infos(entry, rows.get(NODES_INFO, {}))
        for key, raw in rows.get(NODE_CERTS, {}).items():
            if endorsed_by(_text(entry, raw, "certificate of a node"), identity.cert):
                # Others are of nodes of the services before.
                made._node_certs(entry, {key: raw})
        node = made._nodes.get(signed.node)
        if not any(
            key.verify_digest(signed.sig, signed.root) for key in made._keys_of(signed, node)
        ):
            raise _bad(entry, f"is not validly signed by node {signed.node}")
        made._check_signer(entry, signed, node)
        if signed.cose is not None:
            fault = signature.cose_fault(signed, made._service_key)
            if fault:
                raise _bad(entry, f"has a COSE signature that {fault}")
        row = rows.get(endorsement.TABLE, {}).get(UNIT)
        if row is not None:
            # By the service before, as long as a recovered one is not open.
            made._endorsing = endorsement.parse(row).endorsing
        made._hill.append(leaf)
        made._window += leaf
        return made

    def _signed_before(self, txid: TxID, signed: Signature) -> None:
        """Take over the tree of a signature, which is known to be the one it signs."""
        blob = Blob(signed.tree)
        self._hill = Hill(blob.first, list(blob.edge))
        for leaf in blob.leaves:
            self._hill.append(leaf)
        self.entries = txid.seqno
        self.last = self.last_signed = txid
        self._views = (txid.view, txid.view)
        self._signed_root = signed.root
        self._window_from = txid.seqno
        self._before_window = Hill(self._hill.size, list(self._hill.peaks))
        self._window.clear()

    # --- entries ------------------------------------------------------------------------------

    def feed(self, entry: ParsedEntry) -> None:
        """Judge the next entry. Raises InvalidLedger naming the first bad one."""
        seqno = entry.seqno
        expected = self.entries + 1
        if seqno != expected:
            raise InvalidLedger(f"Found entry {seqno} where {expected} must be.", seqno=expected)
        self._check_view(entry)
        maps = self._decode(entry)
        if self._secrets is not None:
            self._check_secret(entry, self._secrets)
        if SIGNATURES in maps:
            self._check_signature(entry)
        else:
            if signature.TREE in maps or signature.COSE_SIGNATURES in maps:
                raise _bad(entry, "writes tables of a signature, but not the signature")
            if SERVICE_INFO in maps:
                self._service(entry, maps)
            if NODES_INFO in maps:
                self._node_infos(entry, maps[NODES_INFO])
            if NODE_CERTS in maps:
                self._node_certs(entry, maps[NODE_CERTS])
            if endorsement.TABLE in maps:
                self._endorsement(entry, maps[endorsement.TABLE])
            if seqno == 1 and self._service_key is None:
                raise _bad(entry, "does not say which service this is")
        leaf = entry.leaf
        self._hill.append(leaf)
        self._window += leaf
        self.entries = seqno
        self.last = TxID(entry.view, seqno)

    def finish(self) -> None:
        """No more entries. Raises InvalidLedger for what a signature would have had to explain."""
        if self._odd is not None:
            raise self._odd

    @property
    def root(self) -> bytes:
        """Merkle root over all entries so far."""
        return self._hill.root()

    @property
    def unsigned(self) -> int:
        """Entries after the last signature."""
        return self.entries - (self.last_signed.seqno if self.last_signed else 0)

    def _decode(self, entry: ParsedEntry) -> Mapping[str, MapWrites]:
        try:
            return entry.public_maps()
        except InvalidLedger as error:
            raise _bad(entry, f"has a malformed public domain: {error.message}") from None

    def _check_view(self, entry: ParsedEntry) -> None:
        """Views never go back. A changed view must not put the blame on the entry after it."""
        before, last = self._views
        view = entry.view
        if view == 0:
            self._suspect(entry.seqno, "is in view 0")
        elif view < last:
            if view >= before and entry.seqno > 1:
                self._suspect(entry.seqno - 1, f"is in view {last}, but the next is in {view}")
            else:
                self._suspect(entry.seqno, f"is in view {view}, but the one before in {last}")
        self._views = (last, view)

    def _suspect(self, seqno: SeqNo, what: str) -> None:
        if self._odd is None:
            self._odd = InvalidLedger(f"Entry {seqno} {what}.", seqno=seqno)

    def _check_secret(self, entry: ParsedEntry, secrets: LedgerSecrets) -> None:
        secrets.open(entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
        if entry.evidence_digest is not None:
            evidence = secrets.cipher_at(entry.seqno).evidence(entry.view, entry.seqno)
            if _sha256(evidence.encode()).digest() != entry.evidence_digest:
                raise _bad(entry, "has the digest of other commit evidence than its own")

    # --- signatures ---------------------------------------------------------------------------

    def _check_signature(self, entry: ParsedEntry) -> None:
        root = self._hill.root()
        try:
            signed = signature.parse(entry)
        except InvalidLedger as error:
            self._blame(entry, root, None)
            raise _bad_message(entry, error.message) from None
        node = self._nodes.get(signed.node)
        if not any(key.verify_digest(signed.sig, root) for key in self._keys_of(signed, node)):
            self._blame(entry, root, signed)
        self._check_signer(entry, signed, node)
        self._check_content(entry, signed, root)
        if self._odd is not None:
            raise self._odd
        self.signatures += 1
        self._left |= self._leaving - {signed.node}
        self.last_signed = TxID(entry.view, entry.seqno)
        self._signed_root = root
        self._window_from = entry.seqno
        self._before_window = Hill(self._hill.size, list(self._hill.peaks))
        self._window.clear()

    def _keys_of(self, signed: Signature, node: Node | None) -> list[PublicKey]:
        """Keys that may have made a signature: that of the node's certificate in the ledger, and
        that of the certificate beside the signature if it is the node's, whose id is its digest."""
        keys: list[PublicKey] = []
        if node is not None and node.key is not None:
            keys.append(node.key)
        beside = self._key_beside(signed, node)
        if beside is not None and beside not in keys:
            keys.append(beside)
        return keys

    def _key_beside(self, signed: Signature, node: Node | None) -> PublicKey | None:
        if node is not None and node.key is not None and signed.cert == node.cert:
            return node.key
        try:
            key = key_of(signed.cert)
        except ValueError:
            return None
        return key if key.id == signed.node else None

    def _check_signer(self, entry: _Numbered, signed: Signature, node: Node | None) -> None:
        if node is None:
            raise _bad(entry, f"is signed by {signed.node}, which is no node of this service")
        if node.status == "Pending":
            raise _bad(entry, f"is signed by node {signed.node}, which is not trusted yet")
        if node.key is None:
            raise _bad(entry, f"is signed by node {signed.node}, which has no certificate")
        if node.service != self.identities[-1].key_id:
            # A retired node on its way out still signs, so that the network can go on without it;
            # but one that a recovery retired belongs to the service before.
            which = "is retired" if node.status == "Retired" else "the service did not endorse"
            raise _bad(entry, f"is signed by node {signed.node}, which {which}")
        if signed.node in self._left:
            # Once or twice it may lead again, before it knows that its retirement is committed.
            self._note(
                f"Entry {entry.seqno} is signed by node {signed.node}, which had left before."
            )
        if not signed.cert or signed.cert == node.cert:
            return
        # Renewed since, or about to be: the same key, endorsed by the service.
        if (
            self._key_beside(signed, node) != node.key
            or not endorsed_by(signed.cert, self.identities[-1].cert)
            or not is_canonical(signed.cert)
        ):
            raise _bad(entry, f"carries a certificate that is not that of node {signed.node}")

    def _check_content(self, entry: ParsedEntry, signed: Signature, root: bytes) -> None:
        """All that a signature transaction says must be what was signed."""
        if signed.root != root:
            raise _bad(entry, "names another root than the one it signs")
        try:
            blob = Blob(signed.tree)
        except ValueError as error:
            raise _bad(entry, f"holds a malformed tree: {error}") from None
        if blob.size != entry.seqno or blob.root_before(blob.size) != root:
            raise _bad(entry, "holds another tree than the one it signs")
        self._check_form(entry, signed)
        if signed.cose is not None:
            assert self._service_key is not None, "a ledger begins with a service"
            fault = signature.cose_fault(signed, self._service_key)
            if fault:
                raise _bad(entry, f"has a COSE signature that {fault}")
            self.cose_signatures += 1

    def _check_form(self, entry: ParsedEntry, signed: Signature) -> None:
        """A signature is written in one way only. This guards the last one of a ledger, whose own
        bytes no further signature covers."""
        if entry.claims is not None and entry.claims != Z32:
            raise _bad(entry, "makes claims, which a signature transaction does not")
        maps = entry.public_maps()
        public, private = wire.encode(dict(maps))
        if public != entry.public_sections or private or entry.ciphertext:
            raise _bad(entry, "is a signature transaction, but not written as one")
        row = maps[SIGNATURES][UNIT] or b""
        try:
            value = load_json(row)
            again = dump_json(value)
        except ValueError:  # nested as no signature is
            value, again = None, b""
        if (
            again != row
            or not isinstance(value, dict)
            or value.get("sig") != b64(signed.sig)
            or value.get("root") != signed.root.hex()
        ):
            raise _bad(entry, "has a signature that is not in canonical form")
        if value.keys() - _MEMBERS and _MEMBERS - value.keys():
            # Other versions may know more members or fewer, but do not rename them.
            raise _bad(entry, f"has a signature with the members {sorted(value)}")
        if signed.cose is not None and maps[signature.COSE_SIGNATURES][UNIT] != dump_json(
            b64(signed.cose)
        ):
            raise _bad(entry, "has a COSE signature that is not in canonical form")
        committed = value.get("commit_seqno", 0)
        if not isinstance(committed, int) or committed >= entry.seqno:
            raise _bad(entry, "says that it is committed already")
        if signed.cose is not None and (committed or value.get("commit_view", 0)):
            # Left over from versions before COSE signatures, and zero ever since.
            raise _bad(entry, "says what was committed, which no signature of its version does")
        if entry.type is EntryType.WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS and (
            entry.max_conflict_version or value.get("hashed_nonce", _NONCE) != _NONCE
        ):
            raise _bad(entry, "has values that no signature transaction has")

    def _blame(self, entry: ParsedEntry, root: bytes, signed: Signature | None) -> None:
        """A signature does not fit what came before it. Find the first entry that was changed.

        Raises InvalidLedger; returns only when `signed` is None and nothing before is to blame.
        """
        writes = entry.public_maps().get(signature.TREE, {})
        try:
            blob = Blob(writes.get(UNIT) or b"")
        except ValueError:
            blob = None
        if blob is not None and blob.size == entry.seqno:
            theirs = blob.root_before(blob.size)
            whole = signed is None or signed.root == theirs
            if theirs != root and whole:
                self._blame_by_leaf(entry, blob)
        if signed is not None:
            raise _bad(entry, f"is not validly signed by node {signed.node}")

    def _blame_by_leaf(self, entry: ParsedEntry, blob: Blob) -> None:
        """Compare leaf by leaf with a tree that is not ours. Raises InvalidLedger."""
        if self._same_past(blob):
            fault = self._first_difference(blob, entry.seqno, entry.seqno)
            if fault is not None:
                raise fault
            return
        # Another ledger's signature. Entries right before it that it vouches for are that ledger's
        # too; what is before them was signed by ours.
        at = entry.seqno
        lowest = max(self._window_from, blob.first - 1)
        while at - 1 > lowest and self._leaf(at - 1) == blob.leaves[at - 1 - blob.first]:
            at -= 1
        raise InvalidLedger(
            f"Entries {at} to {entry.seqno} are signed by somebody else than the entries before "
            "them: they belong to another ledger.",
            seqno=at,
        )

    def _first_difference(self, blob: Blob, end: SeqNo, at: SeqNo) -> InvalidLedger | None:
        """The first entry below `end` whose leaf is another one in the tree signed at `at`.

        Where that tree has been flushed only the hash over several leaves can be compared; the
        first of these that no signature vouches for is named then.
        """
        hill = Hill(self._before_window.size, list(self._before_window.peaks))
        for seqno in range(self._window_from, min(end, blob.first)):
            hill.append(self._leaf(seqno))
        if blob.first > self._window_from:
            for ours, (start, stop, theirs) in zip(hill.peaks, blob.edge_ranges(), strict=False):
                if ours == theirs:
                    continue
                first = max(start, self._window_from)
                which = f"Entry {first}" if stop - first == 1 else f"An entry in {first}-{stop - 1}"
                return InvalidLedger(
                    f"{which} is not what the signature at {at} signed.", seqno=first
                )
        for seqno in range(max(self._window_from, blob.first), end):
            if self._leaf(seqno) != blob.leaves[seqno - blob.first]:
                return InvalidLedger(
                    f"Entry {seqno} is not what the signature at {at} signed.", seqno=seqno
                )
        return None

    def _same_past(self, blob: Blob) -> bool:
        """Whether a tree agrees with ours on everything up to the last good signature."""
        if self.last_signed is None:
            return True
        if blob.first <= self._window_from:
            return blob.root_before(self._window_from) == self._signed_root
        settled = [r for r in blob.edge_ranges() if r[1] <= self._window_from]
        ours = self._before_window.peaks
        return all(peak == theirs for peak, (_, _, theirs) in zip(ours, settled, strict=False))

    def _leaf(self, seqno: SeqNo) -> bytes:
        at = 32 * (seqno - self._window_from)
        return bytes(self._window[at : at + 32])

    def earlier_fault(self, signature_entry: ParsedEntry) -> InvalidLedger | None:
        """Given a signature further on: the first entry before the next expected one that it
        contradicts, if its tree continues this ledger and is signed by one of its nodes."""
        try:
            signed = signature.parse(signature_entry)
            blob = Blob(signed.tree)
        except (InvalidLedger, ValueError):
            return None
        if blob.size != signature_entry.seqno:
            return None
        root = blob.root_before(blob.size)
        node = self._nodes.get(signed.node)
        keys = self._keys_of(signed, node)
        if not any(key.verify_digest(signed.sig, root) for key in keys):
            return None
        if (node is None and self.last_signed is not None) or not self._same_past(blob):
            return None
        if blob.first > self.entries + 1:
            return None
        return self._first_difference(blob, self.entries + 1, signature_entry.seqno)

    # --- nodes --------------------------------------------------------------------------------

    def _node_infos(self, entry: _Numbered, rows: MapWrites) -> None:
        for key, raw in rows.items():
            node_id = _text(entry, key, "node id")
            if raw is None:
                self._nodes.pop(node_id, None)
                continue
            info = _object(entry, raw, f"information about node {node_id}")
            status = info.get("status")
            if not isinstance(status, str) or status not in NODE_STATUSES:
                raise _bad(entry, f"gives node {node_id} the unknown status {status!r}")
            node = self._nodes.setdefault(node_id, Node(""))
            node.status = status
            if info.get("retired_committed") is True:
                self._leaving.add(node_id)
            cert = info.get("cert")
            if isinstance(cert, str) and cert:
                # Versions 1.x: the node's certificate is here.
                self._certified(node, cert, _key(entry, cert, f"certificate of node {node_id}"))

    def _node_certs(self, entry: _Numbered, rows: MapWrites) -> None:
        for key, raw in rows.items():
            node_id = _text(entry, key, "node id")
            if raw is None:
                known = self._nodes.get(node_id)
                if known is not None:
                    known.cert, known.key, known.service = "", None, ""
                continue
            cert = _text(entry, raw, f"certificate of node {node_id}")
            node = self._nodes.setdefault(node_id, Node("Pending"))
            public = _key(entry, cert, f"certificate of node {node_id}")
            if public.id != node_id:
                raise _bad(entry, f"gives node {node_id} the certificate of another node")
            self._certified(node, cert, public)
            if not node.service:
                raise _bad(
                    entry, f"gives node {node_id} a certificate that the service did not endorse"
                )

    def _certified(self, node: Node, cert: str, key: PublicKey) -> None:
        """A node has this certificate from now on."""
        present = self.identities[-1] if self.identities else None
        endorsed = present is not None and endorsed_by(cert, present.cert)
        node.cert, node.key = cert, key
        node.service = present.key_id if present is not None and endorsed else ""

    # --- the service --------------------------------------------------------------------------

    def _service(self, entry: ParsedEntry, maps: Mapping[str, MapWrites]) -> None:
        info = _object(entry, maps[SERVICE_INFO].get(UNIT), "information about the service")
        cert = info.get("cert")
        if not isinstance(cert, str):
            raise _bad(entry, "names no service certificate")
        key = _key(entry, cert, "service certificate")
        status = str(info.get("status"))
        if self._service_key is None:
            self._begin(entry, key, cert)
        elif key != self._service_key:
            self._succeed(entry, key, cert, maps)
        elif cert != self.identities[-1].cert:
            # The same key with other dates.
            since = self.identities[-1].since
            self.identities[-1] = Identity(since, key.id, cert)
        self._status = status

    def _begin(self, entry: ParsedEntry, key: PublicKey, cert: str) -> None:
        if entry.seqno != 1:
            raise InvalidLedger("Entry 1 does not say which service this is.", seqno=1)
        self._service_key = key
        self.identities.append(Identity(entry.seqno, key.id, cert))

    def _succeed(
        self, entry: ParsedEntry, key: PublicKey, cert: str, maps: Mapping[str, MapWrites]
    ) -> None:
        """Another service identity: it must name the one it takes over from."""
        assert self._service_key is not None, "a ledger begins with a service"
        if PREVIOUS_IDENTITY in maps:
            previous = _json_text(entry, maps[PREVIOUS_IDENTITY], "previous service identity")
            if _key(entry, previous, "previous service identity") != self._service_key:
                raise _bad(entry, "takes over from another service than the one before it")
        else:
            self._note(f"Entry {entry.seqno} changes the service identity without naming the old.")
        if LAST_SIGNED_ROOT in maps:
            root = _json_text(entry, maps[LAST_SIGNED_ROOT], "last signed root")
            if root != self._signed_root.hex():
                raise _bad(entry, "names another last signed root than that of the last signature")
        if self.last_signed is None or self.last_signed.seqno != entry.seqno - 1:
            self._suspect(entry.seqno, "takes over a service, but not right after a signature")
        self._service_key = key
        self.identities.append(Identity(entry.seqno, key.id, cert))

    def _endorsement(self, entry: _Numbered, rows: MapWrites) -> None:
        assert self._service_key is not None, "a ledger begins with a service"
        try:
            found = endorsement.parse(rows.get(UNIT) or b"")
        except InvalidLedger as error:
            raise _bad_message(entry, error.message) from None
        fault = endorsement.fault(found, self._service_key)
        if fault:
            raise _bad(entry, f"has an endorsement of the previous identity that {fault}")
        if not found.of_itself:
            if not self._endorsing:
                self._note(f"Entry {entry.seqno} continues endorsements that this ledger lacks.")
            elif found.endorsed != self._endorsing:
                raise _bad(entry, "endorses another service key than the previous one")
            begin, end = found.begin, found.end
            if end is None or (begin.seqno > end.seqno):
                self._note(
                    f"Entry {entry.seqno} endorses an empty range of transactions "
                    f"({begin} to {end})."
                )
        self._endorsing = found.endorsing

    def _note(self, text: str) -> None:
        if len(self.notes) < NOTES_MAX:
            self.notes.append(text)


# --- reading rows -----------------------------------------------------------------------------


def _bad(entry: _Numbered, what: str) -> InvalidLedger:
    return InvalidLedger(f"Entry {entry.seqno} {what}.", seqno=entry.seqno)


def _bad_message(entry: _Numbered, message: str) -> InvalidLedger:
    return InvalidLedger(message, seqno=entry.seqno)


def _text(entry: _Numbered, raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _bad(entry, f"has a {what} that is not UTF-8") from None


def _object(entry: _Numbered, raw: bytes | None, what: str) -> dict[str, Json]:
    try:
        value = load_json(raw or b"")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _bad(entry, f"has {what} that is no JSON object")
    return value


def _json_text(entry: _Numbered, rows: MapWrites, what: str) -> str:
    try:
        value = load_json(rows.get(UNIT) or b"")
    except ValueError:
        value = None
    if not isinstance(value, str):
        raise _bad(entry, f"has a {what} that is no JSON string")
    return value


def _key(entry: _Numbered, cert: str, what: str) -> PublicKey:
    try:
        return key_of(cert)
    except ValueError:
        raise _bad(entry, f"has a {what} that cannot be read") from None
