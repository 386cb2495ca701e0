"""A ledger entry: its bytes, its fields, its Merkle leaf.

    offset  size  field (integers little-endian)
    0       1     format version, 1
    1       1     flags
    2       6     bytes that follow this 8-byte header
    8       16    AES-GCM tag
    24      12    IV: u64 seqno, u32 view (top bit set in snapshots only)
    36      8     P, length of the public domain
    44      P     public domain: the header of `PublicHeader`, then map sections
    44+P    rest  private domain, encrypted

The public domain is the associated data of the encryption. An entry is built once, by
`history.History`; the same bytes go to disk, to peers and to auditors. Parsing refuses, with
InvalidLedger, anything whose lengths do not add up, unknown versions, flags and types, and
snapshots (which share the layout but are no entries of a ledger). It does not decrypt and does not
look into map sections before somebody asks for them.

(spec: ledger.md §4-6, merkle-and-receipts.md §1)
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger.finished import Entry as Entry
from pyccf.types import SeqNo, View

FORMAT_VERSION = 1
FORCE_CHUNK_AFTER = 0x01
"""The chunk ends after this entry, which is a signature."""
FORCE_CHUNK_BEFORE = 0x02
"""The open chunk is completed before this entry is written."""
FLAGS_KNOWN = FORCE_CHUNK_AFTER | FORCE_CHUNK_BEFORE

HEADER_SIZE = 8
"""Version, flags and size."""
PREFIX_SIZE = 44
"""Everything before the public domain."""
ENTRY_SIZE_MAX = (1 << 48) - 1
"""Largest value of the size field."""

DIGEST_SIZE = 32
Z32 = bytes(DIGEST_SIZE)
"""Claims digest of a transaction that makes no claims."""

VIEW_MASK = 0x7FFF_FFFF
"""Bits of the IV's last word that hold the view."""

_sha256 = hashlib.sha256


class EntryType(IntEnum):
    """First byte of the public domain (spec: ledger.md §5)."""

    WRITE_SET = 0
    SNAPSHOT = 1
    WRITE_SET_WITH_CLAIMS = 2
    WRITE_SET_WITH_COMMIT_EVIDENCE = 3
    WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS = 4


_PREFIX = struct.Struct("<Q16sQIQ")
assert _PREFIX.size == PREFIX_SIZE

PUBLIC_HEADER = struct.Struct("<BQ32s32sQ")
"""Header of the public domain of type 4: type, seqno, claims, evidence digest, conflict version."""

FIXED = struct.Struct("<Q16s12sQBQ32s32sQ")
"""All fixed fields of an entry of type 4."""
FIXED_SIZE = FIXED.size
assert PREFIX_SIZE + PUBLIC_HEADER.size == FIXED_SIZE

_HEADER_SIZES = (17, 0, 49, 49, PUBLIC_HEADER.size)
"""Size of the public domain's header by type; 0 for what is no ledger entry."""

_TYPE_AND_SEQNO = struct.Struct("<BQ")
_U64 = struct.Struct("<Q")


def encode_public_header(seqno: SeqNo, claims: bytes, evidence_digest: bytes) -> bytes:
    """Start of the public domain of an entry as written today: type 4, conflict version 0."""
    return PUBLIC_HEADER.pack(4, seqno, claims, evidence_digest, 0)


class ParsedEntry:
    """The fields of an entry. `public` is the public domain, `ciphertext` the sealed private one.

    `claims` and `evidence_digest` are None when the entry's type has none.
    """

    __slots__ = (
        "_leaf",
        "_maps",
        "_sections_at",
        "_write_set_digest",
        "ciphertext",
        "claims",
        "data",
        "evidence_digest",
        "flags",
        "iv",
        "max_conflict_version",
        "public",
        "seqno",
        "tag",
        "type",
        "view",
    )

    def __init__(
        self,
        data: bytes,
        flags: int,
        tag: bytes,
        view: View,
        seqno: SeqNo,
        entry_type: EntryType,
        claims: bytes | None,
        evidence_digest: bytes | None,
        max_conflict_version: int,
        public: bytes,
        sections_at: int,
    ) -> None:
        self.data = data
        self.flags = flags
        self.tag = tag
        self.iv = data[24:36]
        self.view = view
        self.seqno = seqno
        self.type = entry_type
        self.claims = claims
        self.evidence_digest = evidence_digest
        self.max_conflict_version = max_conflict_version
        self.public = public
        self.ciphertext = data[PREFIX_SIZE + len(public) :]
        self._sections_at = sections_at
        self._maps: dict[str, dict[bytes, bytes | None]] | None = None
        self._leaf: bytes | None = None
        self._write_set_digest: bytes | None = None

    def public_maps(self) -> dict[str, dict[bytes, bytes | None]]:
        """What was written to public maps; None is a removal. InvalidLedger when malformed."""
        maps = self._maps
        if maps is None:
            maps = self._maps = wire.decode(self.public[self._sections_at :])
        return maps

    @property
    def public_sections(self) -> bytes:
        """The encoded map sections of the public domain."""
        return self.public[self._sections_at :]

    @property
    def write_set_digest(self) -> bytes:
        """SHA-256 of the complete entry."""
        digest = self._write_set_digest
        if digest is None:
            digest = self._write_set_digest = _sha256(self.data).digest()
        return digest

    @property
    def leaf(self) -> bytes:
        """The entry's Merkle leaf (spec: merkle-and-receipts.md §1)."""
        leaf = self._leaf
        if leaf is None:
            leaf = self._leaf = leaf_of(self.write_set_digest, self.evidence_digest, self.claims)
        return leaf

    def __repr__(self) -> str:
        return f"ParsedEntry({self.view}.{self.seqno}, {self.type.name}, {len(self.data)} bytes)"


def leaf_of(write_set_digest: bytes, evidence_digest: bytes | None, claims: bytes | None) -> bytes:
    """Merkle leaf: evidence is hashed before claims, the reverse of their order on disk."""
    if evidence_digest is None and claims is None:
        return write_set_digest
    return _sha256(write_set_digest + (evidence_digest or b"") + (claims or b"")).digest()


def parse_header(header: bytes) -> tuple[int, int]:
    """Flags and total size of the entry (header included) from its first eight bytes.

    Raises InvalidLedger for an unknown version or flag, or a size no entry can have.
    """
    (word,) = _U64.unpack(header)
    if word & 0xFF != FORMAT_VERSION:
        raise InvalidLedger(f"Entry has format version {word & 0xFF}, not {FORMAT_VERSION}.")
    flags = word >> 8 & 0xFF
    if flags & ~FLAGS_KNOWN:
        raise InvalidLedger(f"Entry has unknown flags 0x{flags:02x}.")
    size = (word >> 16) + HEADER_SIZE
    if size < PREFIX_SIZE + _HEADER_SIZES[0]:
        raise InvalidLedger(f"Entry claims {size} bytes, less than any entry has.")
    return flags, size


def parse(data: bytes) -> ParsedEntry:
    """Fields of one complete entry. Raises InvalidLedger when they do not add up."""
    if len(data) < PREFIX_SIZE:
        raise InvalidLedger(f"Entry has {len(data)} bytes, less than its fixed fields.")
    _, tag, iv_seqno, iv_view, public_size = _PREFIX.unpack_from(data)
    flags, size = parse_header(data[:HEADER_SIZE])
    seqno: int = iv_seqno
    if size != len(data):
        raise InvalidLedger(f"Entry claims {size} bytes but has {len(data)}.", seqno=seqno)
    if iv_view > VIEW_MASK:
        raise InvalidLedger("Entry has the IV of a snapshot.", seqno=seqno)
    end = PREFIX_SIZE + public_size
    if end > size or public_size < _HEADER_SIZES[0]:
        raise InvalidLedger(f"Public domain of {public_size} bytes does not fit.", seqno=seqno)
    public = data[PREFIX_SIZE:end]
    code, inner_seqno = _TYPE_AND_SEQNO.unpack_from(public)
    at = _HEADER_SIZES[code] if code < len(_HEADER_SIZES) else 0
    if at == 0:
        raise InvalidLedger(f"Entry type {code} is not one of a ledger entry.", seqno=seqno)
    if public_size < at:
        raise InvalidLedger("Public domain is shorter than its header.", seqno=seqno)
    if inner_seqno != seqno:
        raise InvalidLedger(f"IV says seqno {seqno}, public domain {inner_seqno}.", seqno=seqno)
    claims = evidence = None
    if code == EntryType.WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS:
        claims, evidence = public[9:41], public[41:73]
    elif code == EntryType.WRITE_SET_WITH_COMMIT_EVIDENCE:
        evidence = public[9:41]
    elif code == EntryType.WRITE_SET_WITH_CLAIMS:
        claims = public[9:41]
    (conflict,) = _U64.unpack_from(public, at - 8)
    return ParsedEntry(
        data, flags, tag, iv_view, seqno, EntryType(code), claims, evidence, conflict, public, at
    )
