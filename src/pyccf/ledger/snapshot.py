"""Snapshots: all maps at one seqno, so that a node need not begin at the beginning of the ledger.

A snapshot file is one block framed like a ledger entry, and the receipt (JSON) of the transaction
that recorded the block's digest, its evidence:

    offset  size  field (integers little-endian)
    0       8     format version 1, flags 0, bytes that follow up to the receipt
    8       16    AES-GCM tag
    24      12    IV: u64 seqno, u32 0x80000000
    36      8     P, length of the public domain
    44      P     public domain: u8 1 | u64 seqno | u64 0 | lp(Merkle leaf of the entry at seqno)
                  | lp(u64 start of each view, from view 1) | sections of the public maps
    44+P    …     sections of the private maps, encrypted with the ledger secret of seqno; the
                  public domain is the associated data
    then          receipt

`parse` takes one apart and refuses (`InvalidLedger`) what does not add up. `verify` says whether a
service vouches for it, and for each map, its versions and its place in the ledger at that. The
private part opens only with the ledger secret. Writing is in `ledger.cut`.
(spec: kv-and-tables.md §7, merkle-and-receipts.md §7)
"""

from __future__ import annotations

import re
from hashlib import sha256
from struct import Struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from pyccf.codec.text import dump_json, load_json
from pyccf.errors import InvalidLedger, InvalidReceipt
from pyccf.kv import content, wire
from pyccf.kv.changes import UNIT, Changes
from pyccf.kv.content import MapContent
from pyccf.ledger import receipt as receipts
from pyccf.ledger import signature
from pyccf.ledger.entry import (
    DIGEST_SIZE,
    FORMAT_VERSION,
    HEADER_SIZE,
    PREFIX_SIZE,
    EntryType,
    encode_public_header,
)
from pyccf.ledger.receipt import Proven
from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.ledger.signature import Signature
from pyccf.merkle.tree import Tree
from pyccf.types import Json, SeqNo, TxID, View

SNAPSHOT_EVIDENCE = "public:ccf.internal.snapshot_evidence"
COMMITTED = ".committed"
IGNORED = ".ignored"
RECEIPT_SIZE_MAX = 1 << 20
"""Bytes of the receipt; a real one has about 1,500."""
VIEWS_MAX = 1 << 24
"""Views of any service."""

PREFIX = Struct("<Q16sQIQ")
"""Header word, tag, seqno, last word of the IV, size of the public domain."""
IV_MARK = 1 << 31
"""Last word of the IV: the bit that only snapshots have, and view 0."""
PUBLIC_START = Struct("<BQQ")
_U64 = Struct("<Q")

_NAME = re.compile(r"snapshot_([0-9]{1,19})_([0-9]{1,19})(\.committed)?").fullmatch


class SnapshotName(msgspec.Struct, frozen=True):
    """What the name of a snapshot file says."""

    seqno: SeqNo
    evidence: SeqNo
    committed: bool


def file_name(seqno: SeqNo, evidence: SeqNo) -> str:
    """Name of the file while it is being written."""
    return f"snapshot_{seqno}_{evidence}"


def parse_name(name: str) -> SnapshotName | None:
    """What a file's name says, None when it is not that of a snapshot."""
    match = _NAME(name)
    if match is None:
        return None
    return SnapshotName(int(match[1]), int(match[2]), match[3] is not None)


class Snapshot:
    """A snapshot taken apart. Nothing in it is to be believed before `verify`."""

    __slots__ = ("_body", "_private_at", "digest", "leaf", "receipt", "seqno", "size", "starts")

    def __init__(
        self,
        seqno: SeqNo,
        leaf: bytes,
        starts: list[SeqNo],
        digest: bytes,
        receipt: dict[str, Json],
        body: memoryview,
        private_at: int,
    ) -> None:
        self.seqno = seqno
        self.leaf = leaf
        """Merkle leaf of the entry at `seqno`."""
        self.starts = starts
        """Seqno at which each view starts, from view 1 on, as far as known at `seqno`."""
        self.digest = digest
        self.receipt = receipt
        self.size = len(body)
        """Bytes without the receipt."""
        self._body = body
        self._private_at = private_at

    @property
    def view(self) -> View:
        """View of the entry at `seqno`."""
        return len(self.starts)

    @property
    def txid(self) -> TxID:
        return TxID(self.view, self.seqno)

    def public_maps(self) -> list[MapContent]:
        """The public maps. Raises InvalidLedger when malformed."""
        start = PREFIX_SIZE + _sections_at(self.leaf, self.starts)
        sections = self._body[start : self._private_at]
        return list(content.decode(sections, seqno=self.seqno, public=True))

    def private_maps(self, secrets: LedgerSecrets) -> list[MapContent]:
        """The private maps, opened with the ledger secret of `seqno`.

        Raises InvalidLedger when they do not authenticate, LocalError when the secret is unknown.
        """
        tag, iv = self._body[8:24], self._body[24:36]
        key = secrets.at(self.seqno).key
        opener = Cipher(AES(key), GCM(bytes(iv), bytes(tag))).decryptor()
        opener.authenticate_additional_data(self._body[PREFIX_SIZE : self._private_at])
        sections = opener.update(self._body[self._private_at :])
        try:
            opener.finalize()
        except InvalidTag:
            raise InvalidLedger(
                f"The snapshot at {self.seqno} does not authenticate under its ledger secret.",
                seqno=self.seqno,
            ) from None
        return list(content.decode(sections, seqno=self.seqno, public=False))

    def __repr__(self) -> str:
        return f"Snapshot({self.txid}, {self.size} bytes)"


def _sections_at(leaf: bytes, starts: list[SeqNo]) -> int:
    """Size of the public domain before its map sections."""
    return PUBLIC_START.size + 8 + len(leaf) + 8 + 8 * len(starts)


# --- reading --------------------------------------------------------------------------------------


def parse(data: bytes) -> Snapshot:
    """Take the content of a snapshot file apart. Raises InvalidLedger."""
    if len(data) < PREFIX_SIZE + PUBLIC_START.size:
        raise _bad("it ends too early")
    word, _, seqno, mark, public_size = PREFIX.unpack_from(data)
    if word & 0xFFFF != FORMAT_VERSION:
        raise _bad("it begins with another format version or with flags")
    end = HEADER_SIZE + (word >> 16)
    private_at = PREFIX_SIZE + public_size
    if end > len(data) or private_at > end:
        raise _bad("it ends too early")
    kind, inner, _ = PUBLIC_START.unpack_from(data, PREFIX_SIZE)
    if mark != IV_MARK or kind != EntryType.SNAPSHOT:
        raise _bad("it is no snapshot but an entry of a ledger")
    if inner != seqno or not seqno:
        raise _bad(f"it is about seqno {seqno} and about {inner}")
    leaf, at = _block(data, PREFIX_SIZE + PUBLIC_START.size, private_at)
    raw, _ = _block(data, at, private_at)
    if len(leaf) != DIGEST_SIZE:
        raise _bad("its Merkle leaf is no SHA-256 digest")
    return Snapshot(
        seqno=seqno,
        leaf=leaf,
        starts=_starts(raw, seqno),
        digest=sha256(memoryview(data)[:end]).digest(),
        receipt=_receipt(data[end:]),
        body=memoryview(data)[:end],
        private_at=private_at,
    )


def _block(data: bytes, at: int, limit: int) -> tuple[bytes, int]:
    """A length and so many bytes, and where they end."""
    if at + 8 > limit:
        raise _bad("it ends too early")
    (length,) = _U64.unpack_from(data, at)
    end = at + 8 + length
    if end > limit:
        raise _bad("it ends too early")
    return data[at + 8 : end], end


def _starts(raw: bytes, seqno: SeqNo) -> list[SeqNo]:
    if len(raw) % 8 or not 0 < len(raw) // 8 <= VIEWS_MAX:
        raise _bad("its history of views has a wrong size")
    starts = list(memoryview(raw).cast("Q"))
    last = 1
    for start in starts:
        if not last <= start <= seqno:
            raise _bad("its views do not start in order")
        last = start
    return starts


def _receipt(raw: bytes) -> dict[str, Json]:
    if not raw:
        raise _bad("it has no receipt: its writer was interrupted")
    if len(raw) > RECEIPT_SIZE_MAX:
        raise _bad(f"its receipt has more than {RECEIPT_SIZE_MAX} bytes")
    try:
        value = load_json(raw)
        again = dump_json(value)
    except ValueError:
        value, again = None, b""
    if not isinstance(value, dict):
        raise _bad("its receipt is no JSON object")
    if again != raw:
        # What is written in one way only cannot be changed without anybody noticing.
        raise _bad("its receipt is not written as receipts are")
    return value


def _bad(why: str) -> InvalidLedger:
    return InvalidLedger(f"The snapshot is damaged: {why}.")


# --- judging --------------------------------------------------------------------------------------


def verify(snapshot: Snapshot, service_cert_pem: str) -> Proven:
    """Check that a service recorded this snapshot; its receipt's content.

    The receipt must hold for the digest of the block, be signed by a node that the service (PEM,
    whatever its dates) endorsed, and be of a later transaction. Raises InvalidReceipt.
    """
    proven = receipts.verify_json_receipt(
        snapshot.receipt, service_cert_pem, claims=snapshot.digest
    )
    if proven.txid is None or proven.txid.seqno <= snapshot.seqno:
        raise InvalidReceipt(
            f"The receipt is of transaction {proven.txid}, which cannot be evidence of a snapshot"
            f" at {snapshot.seqno}."
        )
    return proven


def record_of(digest: bytes, seqno: SeqNo) -> dict[str, Json]:
    """What the transaction writes that records a snapshot."""
    return {"hash": digest.hex(), "version": seqno}


def check_evidence(snapshot: Snapshot, proven: Proven, secrets: LedgerSecrets) -> None:
    """Check that the transaction of the receipt recorded the snapshot and did nothing else.

    That it has the snapshot's digest among its claims is not enough: an application may let its
    users claim what they like. Everything in an evidence transaction is known, so it is made again
    here, which takes the ledger secret of its seqno: that of `secrets`, or, where a recovery cut
    the transaction off and another service has its seqno now, an earlier one. Raises InvalidLedger,
    or LocalError for an unknown secret.
    """
    assert proven.txid is not None, "`verify` saw to it"
    view, seqno = proven.txid
    latest = secrets.at(seqno)
    for secret in reversed(secrets.all()):
        if secret.version <= latest.version:
            made = _evidence(snapshot, proven.txid, secret)
            if sha256(made).digest() == proven.write_set_digest:
                return
    raise _bad(f"transaction {view}.{seqno}, which its receipt is of, did not record it")


def _evidence(snapshot: Snapshot, txid: TxID, secret: LedgerSecret) -> bytes:
    """The entry that records a snapshot, as it is when this secret seals it."""
    view, seqno = txid
    rows: Changes = {
        SNAPSHOT_EVIDENCE: {UNIT: dump_json(record_of(snapshot.digest, snapshot.seqno))}
    }
    cipher = secret.cipher
    evidence = sha256(cipher.evidence(view, seqno).encode()).digest()
    domain = encode_public_header(seqno, snapshot.digest, evidence) + wire.encode(rows)[0]
    iv = seqno.to_bytes(8, "little") + view.to_bytes(4, "little")
    tag = cipher.seal_parts(iv, b"", domain)
    word = FORMAT_VERSION | (PREFIX_SIZE - HEADER_SIZE + len(domain)) << 16
    return PREFIX.pack(word, tag, seqno, view, len(domain)) + domain


def history_of(snapshot: Snapshot, public: list[MapContent]) -> tuple[Signature, Tree]:
    """The signature transaction at the snapshot's seqno, and the Merkle tree up to that.

    Raises InvalidLedger when there is none, or its tree is not what it signed.
    """
    seqno = snapshot.seqno
    values: dict[str, bytes] = {}
    for one in public:
        if one.name in signature.TABLES:
            pair = one.pairs.get(UNIT)
            if pair is not None and pair.version == seqno:
                values[one.name] = pair.value
    if signature.SIGNATURES not in values or signature.TREE not in values:
        raise _bad(f"the transaction at {seqno} is no signature")
    signed = signature.read(snapshot.view, seqno, values)
    tree = Tree.parse(signed.tree)
    if tree.size != seqno or tree.root() != signed.root:
        raise _bad("its Merkle tree is not what was signed")
    tree.append(snapshot.leaf)
    return signed, tree
