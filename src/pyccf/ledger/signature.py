"""Signature transactions: three tables that vouch for everything before them.

    public:ccf.internal.cose_signatures  JSON string, base64 of a COSE_Sign1 by the service key
    public:ccf.internal.signatures       JSON: root, node id, node certificate, node signature
    public:ccf.internal.tree             the Merkle tree, see `merkle.tree`

All under the key of eight zero bytes. The signature at seqno s signs the root over leaves 0 to s-1,
used as the digest itself. `parse` refuses (InvalidLedger) an entry that is no signature; `verify`
raises InvalidLedger with the reason when one does not hold.
(spec: merkle-and-receipts.md §4, ledger.md §7)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pyccf.codec import cbor, cose
from pyccf.codec.text import b64, dump_json, load_json, unb64
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.merkle.tree import Tree
from pyccf.types import Json, NodeId, SeqNo, TxID, UnixSeconds, View

if TYPE_CHECKING:
    from pyccf.crypto.keys import PrivateKey
    from pyccf.ledger.entry import ParsedEntry

COSE_SIGNATURES = "public:ccf.internal.cose_signatures"
SIGNATURES = "public:ccf.internal.signatures"
TREE = "public:ccf.internal.tree"

_OLD_TABLES = frozenset((SIGNATURES, TREE))
TABLES = _OLD_TABLES | {COSE_SIGNATURES}
"""What a signature transaction writes."""

VDS_CCF_LEDGER_SHA256 = 2
"""Value of the header "verifiable data structure" (spec: merkle-and-receipts.md §6.2)."""
CCF_V1 = "ccf.v1"
"""Label of the header that carries the transaction id."""
CWT_ISS, CWT_SUB, CWT_IAT = 1, 2, 6

_NONCE = "0" * 64


class Signature(msgspec.Struct, frozen=True):
    """What a signature transaction says. `cert` is "" and `cose` None when it has none."""

    view: View
    seqno: SeqNo
    node: NodeId
    root: bytes
    sig: bytes
    cert: str
    cose: bytes | None
    tree: bytes


def protected_header(
    alg: int, kid: str, txid: TxID, iat: UnixSeconds, issuer: str, subject: str
) -> bytes:
    """Protected header of the COSE signature, in the original's order (§4.2)."""
    claims = cbor.mapping(
        (
            (cbor.uint(CWT_IAT), cbor.integer(iat)),
            (cbor.uint(CWT_ISS), cbor.tstr(issuer)),
            (cbor.uint(CWT_SUB), cbor.tstr(subject)),
        )
    )
    return cbor.mapping(
        (
            (cbor.uint(cose.ALG), cbor.integer(alg)),
            (cbor.uint(cose.KID), cbor.bstr(kid.encode())),
            (cbor.uint(cose.VDS), cbor.uint(VDS_CCF_LEDGER_SHA256)),
            (cbor.uint(cose.CWT_CLAIMS), claims),
            (cbor.tstr(CCF_V1), cbor.mapping(((cbor.tstr("txid"), cbor.tstr(str(txid))),))),
        )
    )


def build(
    txid: TxID,
    root: bytes,
    tree_blob: bytes,
    node_id: NodeId,
    node_key: PrivateKey,
    node_cert_pem: str,
    service_key: PrivateKey,
    issuer: str,
    subject: str,
    iat: UnixSeconds,
) -> dict[str, dict[bytes, bytes]]:
    """The three tables of the signature transaction `txid` over `root`.

    Raises LocalError when the service key is neither P-256 nor P-384: the original knows no COSE
    algorithm for others.
    """
    alg = service_key.curve.cose_alg
    if alg not in (cosesign.ES256, cosesign.ES384):
        raise LocalError(f"A service key on {service_key.curve.value} cannot sign the ledger.")
    header = protected_header(alg, service_key.public.id, txid, iat, issuer, subject)
    value: Json = {
        "cert": node_cert_pem,
        "commit_seqno": 0,
        "commit_view": 0,
        "hashed_nonce": _NONCE,
        "node": node_id,
        "root": root.hex(),
        "seqno": txid.seqno,
        "sig": b64(node_key.sign_digest(root)),
        "view": txid.view,
    }
    envelope = cosesign.sign1(service_key, header, root, detached=True)
    return {
        COSE_SIGNATURES: {UNIT: dump_json(b64(envelope))},
        SIGNATURES: {UNIT: dump_json(value)},
        TREE: {UNIT: tree_blob},
    }


def is_signature(entry: ParsedEntry) -> bool:
    """Whether an entry is a signature transaction."""
    return SIGNATURES in entry.public_maps()


def parse(entry: ParsedEntry) -> Signature:
    """Read the tables of a signature transaction.

    Raises InvalidLedger when the entry is none, writes other maps too (ledger.md §7), names another
    transaction than its own, or holds a value that is not what it must be.
    """
    maps = entry.public_maps()
    if maps.keys() != TABLES and maps.keys() != _OLD_TABLES:
        raise _bad(entry.seqno, f"is no signature transaction: it writes {sorted(maps)}")
    values: dict[str, bytes] = {}
    for name, rows in maps.items():
        value = rows.get(UNIT)
        if rows.keys() != {UNIT} or value is None:
            raise _bad(entry.seqno, f"has other rows than its one in {name}")
        values[name] = value
    return read(entry.view, entry.seqno, values)


def read(view: View, seqno: SeqNo, values: dict[str, bytes]) -> Signature:
    """The same out of the values themselves, by table. Raises InvalidLedger."""
    try:
        value = load_json(values[SIGNATURES])
        if not isinstance(value, dict):
            raise ValueError("the signature is no JSON object")
        named = _integer(value, "view"), _integer(value, "seqno")
        root = bytes.fromhex(_text(value, "root"))
        sig = unb64(_text(value, "sig"))
        cert = _text(value, "cert") if "cert" in value else ""
        node = _text(value, "node")
        envelope = None
        if COSE_SIGNATURES in values:
            text = load_json(values[COSE_SIGNATURES])
            if not isinstance(text, str):
                raise ValueError("the COSE signature is no JSON string")
            envelope = unb64(text)
    except ValueError as error:
        raise _bad(seqno, f"has a malformed signature: {error}") from None
    if named != (view, seqno):
        raise _bad(seqno, f"carries the signature of {named[0]}.{named[1]}")
    if len(root) != 32:
        raise _bad(seqno, "has a malformed signature: the root is no SHA-256 digest")
    return Signature(view, seqno, node, root, sig, cert, envelope, values[TREE])


def verify(signature: Signature, root: bytes, node_key: PublicKey, service_key: PublicKey) -> None:
    """Check a signature against the root computed here and the keys that must have signed.

    The COSE signature is checked when there is one: it came with a later version of the original.
    Raises InvalidLedger.
    """
    if signature.root != root:
        raise InvalidLedger(
            f"Signature at {signature.seqno} is over the root {signature.root.hex()}, "
            f"but the entries before it have the root {root.hex()}.",
            seqno=signature.seqno,
        )
    if not node_key.verify_digest(signature.sig, root):
        raise InvalidLedger(
            f"Signature at {signature.seqno} is not by node {signature.node}.",
            seqno=signature.seqno,
        )
    if signature.cose is not None:
        verify_cose(signature, service_key)


def verify_cose(signature: Signature, service_key: PublicKey) -> None:
    """Check the COSE signature over the root. Raises InvalidLedger."""
    reason = cose_fault(signature, service_key)
    if reason:
        raise InvalidLedger(f"COSE signature at {signature.seqno} {reason}.", seqno=signature.seqno)


def cose_fault(signature: Signature, service_key: PublicKey) -> str:
    """Why the COSE signature does not hold, "" when it does."""
    assert signature.cose is not None, "the signature transaction has a COSE signature"
    try:
        envelope = cose.parse_sign1(signature.cose)
    except cose.CoseError as error:
        return f"is malformed: {error}"
    if envelope.unprotected:
        return "has an unprotected header"
    if envelope.payload is not None:
        return "has a payload of its own"
    if envelope.kid is not None and envelope.kid != service_key.id.encode():
        return "names another service key"
    ccf = envelope.headers.get(CCF_V1)
    named = ccf.get("txid") if isinstance(ccf, dict) else None
    if named != f"{signature.view}.{signature.seqno}":
        return f"is that of transaction {named}"
    if not cosesign.verify1(envelope, service_key, signature.root):
        return "is not by the service key"
    return ""


class Covering:
    """A signature transaction and its tree, taken apart once for all the entries it covers.

    Raises InvalidLedger for an entry that is none. Whether it holds is `verify`'s business, whether
    its tree is what it signed that of `check_tree`.
    """

    __slots__ = ("entry", "signature", "tree")

    def __init__(self, entry: ParsedEntry) -> None:
        self.entry = entry
        self.signature = parse(entry)
        self.tree = Tree.parse(self.signature.tree)

    def covers(self, seqno: SeqNo) -> bool:
        """Whether an entry is this one or among the leaves of its tree."""
        return seqno == self.entry.seqno or self.tree.first <= seqno < self.tree.size

    def check_tree(self) -> None:
        """Raise InvalidLedger unless the tree is the one whose root was signed."""
        if self.tree.size != self.entry.seqno or self.tree.root() != self.signature.root:
            raise _bad(self.entry.seqno, "holds a tree that is not what it signed")

    def check(self, entry: ParsedEntry) -> None:
        """Raise InvalidLedger unless an entry is what was signed here."""
        if entry.seqno == self.entry.seqno:
            if entry.data != self.entry.data:
                raise _bad(entry.seqno, "is not the signature transaction it is taken for")
            return
        if not self.covers(entry.seqno):
            raise _bad(entry.seqno, f"is not covered by the signature at {self.entry.seqno}")
        if self.tree.leaf(entry.seqno) != entry.leaf:
            raise _bad(entry.seqno, f"is not what the signature at {self.entry.seqno} signed")


def verify_covered(entry: ParsedEntry, covering: ParsedEntry) -> None:
    """Check that the signature transaction `covering` vouches for `entry`, by its own tree.

    The entry's leaf must be in that tree and the tree's root be the signed one; a signature covers
    itself only by being one. Who signed is not checked here. Raises InvalidLedger.
    """
    found = Covering(covering)
    if entry.seqno != covering.seqno:
        found.check_tree()
    found.check(entry)


def _bad(seqno: SeqNo, what: str) -> InvalidLedger:
    return InvalidLedger(f"Entry {seqno} {what}.", seqno=seqno)


def _text(value: dict[str, object] | object, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise ValueError(f"{name} is no text")
    return found


def _integer(value: dict[str, object] | object, name: str) -> int:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"{name} is no integer")
    return found
