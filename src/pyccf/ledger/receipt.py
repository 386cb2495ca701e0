"""Receipts: proof to somebody without the ledger that a transaction is in it.

A receipt holds what the transaction's Merkle leaf is made of, the path from there to a root, and a
signature over the root: in a JSON receipt the signing node's, whose certificate the service
endorses; in a COSE receipt the service's own. Both are made from the entry and the signature
transaction that covers it, whose tree holds the leaves. Nothing secret is in a receipt but the
commit evidence, so it is to be given out for committed transactions only.

Verifiers need nothing but the service's certificate or key. They raise InvalidReceipt with the
reason, and return what the receipt proves. They are strict: a proof is written in one way only, so
that no bit of a receipt can be changed, not even one that would mean the same.
(spec: merkle-and-receipts.md §5-6, crypto.md §1; RFC 9052 for the envelope)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from pyccf.codec import cbor, cose
from pyccf.codec.text import b64, unb64
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidReceipt, LocalError
from pyccf.ledger.certchain import endorsed_by, is_canonical, key_of
from pyccf.ledger.entry import DIGEST_SIZE, ParsedEntry
from pyccf.ledger.signature import CCF_V1, VDS_CCF_LEDGER_SHA256, Covering
from pyccf.merkle.proof import Path, fold
from pyccf.types import Json, NodeId, TxID, UnixSeconds

PROOF_SIZE_MAX = 2048
"""Bytes of an encoded Merkle proof (§6.1)."""
PATH_MAX = 64
"""Steps from a leaf to the root of any tree whose leaves are counted in 64 bits."""
EVIDENCE_SIZE_MAX = 1024
"""Bytes of a commit evidence text (§6.4)."""
ENDORSEMENTS_MAX = 64
"""Service identities between the one that signed and the present one."""
INCLUSION_PROOFS_MAX = 16

PROOF_LEAF, PROOF_PATH = 1, 2
INCLUSION_PROOF = -1

_EVIDENCE = re.compile(r"ce:([0-9]+\.[0-9]+):([0-9a-f]{64})").fullmatch


class Proven(msgspec.Struct, frozen=True):
    """What a verified receipt proves.

    `txid` is that of the transaction; for the JSON receipt of a signature transaction, or of an
    entry from before commit evidence, it is not part of the receipt and therefore None. `claims` is
    the application's claims digest, None where the receipt has none; `node` the signing node, ""
    in a COSE receipt.
    """

    root: bytes
    leaf: bytes
    txid: TxID | None
    claims: bytes | None
    write_set_digest: bytes | None
    node: NodeId


# --- making -----------------------------------------------------------------------------------


Signed: TypeAlias = ParsedEntry | Covering
"""A signature transaction; a `Covering` where it is used for several entries."""


def path_in(covering: Signed, entry: ParsedEntry) -> Path:
    """Merkle path of an entry in the tree of the signature transaction that covers it.

    Raises LocalError when that signature does not cover it.
    """
    return _path(_covering(covering), entry)


def _covering(signed: Signed) -> Covering:
    return signed if isinstance(signed, Covering) else Covering(signed)


def _path(covering: Covering, entry: ParsedEntry) -> Path:
    tree = covering.tree
    if not tree.first <= entry.seqno < tree.size or tree.leaf(entry.seqno) != entry.leaf:
        raise LocalError(
            f"Entry {entry.seqno} is not covered by the signature at {covering.signature.seqno}."
        )
    return tree.path(entry.seqno)


def json_receipt(
    entry: ParsedEntry,
    covering: Signed,
    evidence: str | None,
    service_endorsements: Sequence[str] = (),
) -> dict[str, Json]:
    """The JSON receipt of an entry, given the signature transaction that covers it (§5.1).

    `evidence` is the commit evidence text, needed for entries that carry its digest (LocalError
    when missing or not theirs). `service_endorsements` are PEM certificates, for receipts of an
    earlier service identity. A signature transaction is covered by itself.
    """
    found = _covering(covering)
    signature = found.signature
    receipt: dict[str, Json] = {"node_id": signature.node, "signature": b64(signature.sig)}
    if signature.cert:
        receipt["cert"] = signature.cert
    if service_endorsements:
        receipt["service_endorsements"] = list(service_endorsements)
    if entry.seqno == signature.seqno:
        receipt["leaf"] = signature.root.hex()
        receipt["proof"] = []
        return receipt
    path = _path(found, entry)
    receipt["proof"] = [{"left" if left else "right": node.hex()} for left, node in path]
    if entry.evidence_digest is None:
        receipt["leaf"] = entry.leaf.hex()
        return receipt
    components: dict[str, Json] = {
        "write_set_digest": entry.write_set_digest.hex(),
        "commit_evidence": _own_evidence(entry, evidence),
    }
    if entry.claims is not None:
        components["claims_digest"] = entry.claims.hex()
    receipt["leaf_components"] = components
    return receipt


def _own_evidence(entry: ParsedEntry, evidence: str | None) -> str:
    if evidence is None:
        raise LocalError(f"The receipt of entry {entry.seqno} needs its commit evidence.")
    if hashlib.sha256(evidence.encode()).digest() != entry.evidence_digest:
        raise LocalError(f"This is not the commit evidence of entry {entry.seqno}.")
    return evidence


def merkle_proof_cbor(entry: ParsedEntry, covering: Signed, evidence: str | None) -> bytes:
    """The encoded inclusion proof of an entry (§6.1).

    Raises LocalError for entries without commit evidence and for signature transactions covered
    by themselves, which have no such proof.
    """
    return _proof(entry, _covering(covering), evidence)


def _proof(entry: ParsedEntry, covering: Covering, evidence: str | None) -> bytes:
    if entry.seqno == covering.signature.seqno:
        raise LocalError(f"Entry {entry.seqno} is the signature; it has no inclusion proof.")
    if entry.evidence_digest is None or entry.claims is None:
        raise LocalError(f"Entry {entry.seqno} has no commit evidence or claims to prove.")
    leaf = cbor.array(
        (
            cbor.bstr(entry.write_set_digest),
            cbor.tstr(_own_evidence(entry, evidence)),
            cbor.bstr(entry.claims),
        )
    )
    path = cbor.array(
        cbor.array((cbor.boolean(left), cbor.bstr(node))) for left, node in _path(covering, entry)
    )
    proof = cbor.mapping(((cbor.uint(PROOF_LEAF), leaf), (cbor.uint(PROOF_PATH), path)))
    if len(proof) > PROOF_SIZE_MAX:
        raise LocalError(f"The inclusion proof of entry {entry.seqno} is too large.")
    return proof


def cose_receipt(entry: ParsedEntry, covering: Signed, evidence: str | None) -> bytes:
    """The COSE receipt of an entry: the covering COSE signature with the proof beside it (§6.2).

    Raises LocalError when there is no COSE signature, or as `merkle_proof_cbor`.
    """
    found = _covering(covering)
    signature = found.signature
    if signature.cose is None:
        raise LocalError(f"The signature at {signature.seqno} has no COSE signature.")
    proof = _proof(entry, found, evidence)
    envelope = cose.parse_sign1(signature.cose)
    proofs = cbor.mapping(((cbor.integer(INCLUSION_PROOF), cbor.array((cbor.bstr(proof),))),))
    header = cbor.mapping(((cbor.uint(cose.VDP), proofs),))
    return cose.encode_sign1(envelope.protected, envelope.payload, envelope.signature, header)


# --- verifying --------------------------------------------------------------------------------


def verify_json_receipt(
    receipt: Mapping[str, Json],
    service_cert_pem: str,
    *,
    claims: bytes | None = None,
    now: UnixSeconds | None = None,
) -> Proven:
    """Check a JSON receipt against the certificate of the service.

    `claims` is the claims digest the caller expects, if it expects one. Dates of certificates are
    looked at only when `now` is given: receipts are meant to outlive them. Raises InvalidReceipt.
    """
    leaf, components = _json_leaf(receipt)
    root = fold(leaf, _json_path(receipt))
    cert = _member(receipt, "cert")
    node = _member(receipt, "node_id")
    try:
        key = key_of(cert)
    except ValueError as error:
        raise InvalidReceipt(f"The node certificate cannot be read: {error}.") from None
    if key.id != node:
        raise InvalidReceipt(f"The certificate is not that of node {node}.")
    text = _member(receipt, "signature")
    try:
        signature = unb64(text)
    except ValueError:
        signature = b""
    if b64(signature) != text:
        raise InvalidReceipt("The signature is not base64.")
    if not key.verify_digest(signature, root):
        raise InvalidReceipt("The signature is not over the root that leaf and proof lead to.")
    _check_chain(cert, _endorsements(receipt), service_cert_pem, now)
    if components is None:
        if claims is not None:
            raise InvalidReceipt("The receipt says nothing about claims.")
        return Proven(root, leaf, None, None, None, node)
    digest, evidence, found = components
    if claims is not None and found != claims:
        raise InvalidReceipt("The claims digest is not the expected one.")
    return Proven(root, leaf, _evidence_txid(evidence), found, digest, node)


def _json_leaf(
    receipt: Mapping[str, Json],
) -> tuple[bytes, tuple[bytes, str, bytes | None] | None]:
    """The leaf, and (write set digest, evidence, claims) when the receipt has components."""
    components = receipt.get("leaf_components")
    if (components is None) == (receipt.get("leaf") is None):
        raise InvalidReceipt("A receipt has either leaf or leaf_components.")
    if components is None:
        return _digest(receipt, "leaf"), None
    if not isinstance(components, dict):
        raise InvalidReceipt("leaf_components is no object.")
    digest = _digest(components, "write_set_digest")
    evidence = _member(components, "commit_evidence")
    claims = _digest(components, "claims_digest") if "claims_digest" in components else None
    leaf = hashlib.sha256(digest + hashlib.sha256(evidence.encode()).digest() + (claims or b""))
    return leaf.digest(), (digest, evidence, claims)


def _json_path(receipt: Mapping[str, Json]) -> Path:
    steps = receipt.get("proof")
    if not isinstance(steps, list) or len(steps) > PATH_MAX:
        raise InvalidReceipt(f"proof is no list of at most {PATH_MAX} steps.")
    path: Path = []
    for step in steps:
        if not isinstance(step, dict) or len(step) != 1:
            raise InvalidReceipt("A step of the proof is neither left nor right.")
        left = "left" in step
        path.append((left, _digest(step, "left" if left else "right")))
    return path


def _endorsements(receipt: Mapping[str, Json]) -> list[str]:
    found = receipt.get("service_endorsements", [])
    if not isinstance(found, list) or len(found) > ENDORSEMENTS_MAX:
        raise InvalidReceipt(f"service_endorsements is no list of at most {ENDORSEMENTS_MAX}.")
    pems: list[str] = []
    for pem in found:
        if not isinstance(pem, str):
            raise InvalidReceipt("A service endorsement is no PEM text.")
        pems.append(pem)
    return pems


def _check_chain(
    cert: str, endorsements: list[str], service_cert_pem: str, now: UnixSeconds | None
) -> None:
    for pem in (cert, *endorsements):
        if not is_canonical(pem):
            raise InvalidReceipt("A certificate in the receipt is not written as certificates are.")
    current = cert
    for issuer in [*endorsements, service_cert_pem]:
        if not endorsed_by(current, issuer, now):
            whose = "the service" if issuer is service_cert_pem else "the endorsed service"
            raise InvalidReceipt(f"The certificate that signed is not endorsed by {whose}.")
        current = issuer


def verify_cose_receipt(
    receipt: bytes, service_key: PublicKey, *, claims: bytes | None = None
) -> Proven:
    """Check a COSE receipt against the key of the service.

    `claims` is the claims digest the caller expects, if it expects one. With several inclusion
    proofs each must hold; the first is returned. Raises InvalidReceipt.
    """
    try:
        envelope = cose.parse_sign1(receipt)
    except cose.CoseError as error:
        raise InvalidReceipt(f"Not a COSE receipt: {error}.") from None
    if envelope.kid != service_key.id.encode():
        raise InvalidReceipt("The receipt names another service key.")
    vds = envelope.headers.get(cose.VDS)
    if type(vds) is not int or vds != VDS_CCF_LEDGER_SHA256:
        raise InvalidReceipt(f"The receipt is about another data structure ({vds}).")
    if envelope.payload is not None:
        raise InvalidReceipt("The receipt has a payload of its own.")
    proofs = _inclusion_proofs(envelope.unprotected.get(cose.VDP))
    proven = [_verify_proof(proof, claims) for proof in proofs]
    signed_at = _signed_txid(envelope.headers)
    for one in proven:
        if not cosesign.verify1(envelope, service_key, one.root):
            raise InvalidReceipt("The signature is not over the root that leaf and proof lead to.")
        if signed_at is not None and one.txid is not None and one.txid.seqno >= signed_at.seqno:
            raise InvalidReceipt(f"Transaction {one.txid} is not before its signature {signed_at}.")
    return proven[0]


def _signed_txid(headers: Mapping[int | str, object]) -> TxID | None:
    ccf = headers.get(CCF_V1)
    text = ccf.get("txid") if isinstance(ccf, dict) else None
    return TxID.parse(text) if isinstance(text, str) else None


def _inclusion_proofs(proofs: object) -> list[bytes]:
    found = proofs.get(INCLUSION_PROOF) if isinstance(proofs, dict) else None
    if not isinstance(found, list) or not found:
        raise InvalidReceipt("The receipt has no inclusion proof.")
    if len(found) > INCLUSION_PROOFS_MAX:
        raise InvalidReceipt(f"The receipt has more than {INCLUSION_PROOFS_MAX} proofs.")
    proofs_found: list[bytes] = []
    for proof in found:
        if not isinstance(proof, bytes) or len(proof) > PROOF_SIZE_MAX:
            raise InvalidReceipt(f"An inclusion proof is no {PROOF_SIZE_MAX} bytes or less.")
        proofs_found.append(proof)
    return proofs_found


def _verify_proof(proof: bytes, claims: bytes | None) -> Proven:
    try:
        value = cbor.decode(proof)
    except cbor.CborError as error:
        raise InvalidReceipt(f"An inclusion proof is malformed: {error}.") from None
    leaf = value.get(PROOF_LEAF) if isinstance(value, dict) else None
    steps = value.get(PROOF_PATH) if isinstance(value, dict) else None
    if not isinstance(leaf, list) or len(leaf) != 3 or not isinstance(steps, list):
        raise InvalidReceipt("An inclusion proof has no leaf or no path.")
    digest, evidence, found = leaf
    if not (
        isinstance(digest, bytes)
        and len(digest) == DIGEST_SIZE
        and isinstance(evidence, str)
        and 1 <= len(evidence.encode()) <= EVIDENCE_SIZE_MAX
        and isinstance(found, bytes)
        and len(found) == DIGEST_SIZE
    ):
        raise InvalidReceipt("An inclusion proof has a malformed leaf.")
    path: Path = []
    for step in steps[: PATH_MAX + 1]:
        left, node = step if isinstance(step, list) and len(step) == 2 else (None, None)
        if not isinstance(left, bool) or not isinstance(node, bytes) or len(node) != DIGEST_SIZE:
            raise InvalidReceipt("An inclusion proof has a malformed path.")
        path.append((left, node))
    if len(path) > PATH_MAX:
        raise InvalidReceipt(f"An inclusion proof has more than {PATH_MAX} steps.")
    if claims is not None and found != claims:
        raise InvalidReceipt("The claims digest is not the expected one.")
    hashed = hashlib.sha256(digest + hashlib.sha256(evidence.encode()).digest() + found).digest()
    return Proven(fold(hashed, path), hashed, _evidence_txid(evidence), found, digest, "")


def _evidence_txid(evidence: str) -> TxID:
    match = _EVIDENCE(evidence)
    txid = TxID.parse(match[1]) if match else None
    if txid is None:
        raise InvalidReceipt("The commit evidence is malformed.")
    return txid


def _member(value: Mapping[str, Json], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise InvalidReceipt(f"The receipt has no {name}.")
    return found


def _digest(value: Mapping[str, Json], name: str) -> bytes:
    text = _member(value, name)
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    # One proof, one text: capital letters or blanks would be another.
    if len(digest) != DIGEST_SIZE or digest.hex() != text:
        raise InvalidReceipt(f"{name} is no SHA-256 digest.")
    return digest
