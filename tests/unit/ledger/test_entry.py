"""Entry bytes, field by field."""

from __future__ import annotations

import hashlib
import struct

import pytest

from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger import entry
from pyccf.ledger.entry import EntryType, encode_public_header, leaf_of, parse, parse_header

# spec: ledger.md §13.2
CLAIMS = hashlib.sha256(b"claim").digest()
SYNTHETIC = bytes.fromhex(
    "0100040100000000 5130982465bc46f85454536d064aeda3 0500000000000000 02000000 a100000000000000"
    "04 0500000000000000"
    + CLAIMS.hex()
    + "d13711bf693941ce964739b2eddae2c22a448836ea0602569dc93a0594cee58d 0000000000000000"
    "0800000000000000 7075626c69633a61 0000000000000000 0000000000000000"
    "0100000000000000 0200000000000000 6b31 0400000000000000 22763122"
    "0100000000000000 0200000000000000 6b30"
    "6dba05589deb04f626eda06d7d0e024bb1a2c7b1c881676bd7685cf9839130f20dd0b7cbcb019f0e51d1d774302ec6"
    "43c782cf0f2833dbbc95896ee86ccb61"
)


def made(
    kind: int,
    *,
    seqno: int = 7,
    view: int = 3,
    flags: int = 0,
    sections: bytes = b"",
    ciphertext: bytes = b"",
    inner_seqno: int | None = None,
) -> bytes:
    """An entry of any type, its digests recognisable."""
    digests = {0: b"", 1: b"", 2: b"C" * 32, 3: b"E" * 32, 4: b"C" * 32 + b"E" * 32}.get(kind, b"")
    public = struct.pack("<BQ", kind, seqno if inner_seqno is None else inner_seqno)
    public += digests + struct.pack("<Q", 99) + sections
    size = 36 + len(public) + len(ciphertext)
    head = struct.pack("<Q", 1 | flags << 8 | size << 16)
    return b"".join(
        (
            head,
            b"T" * 16,
            struct.pack("<QI", seqno, view),
            struct.pack("<Q", len(public)),
            public,
            ciphertext,
        )
    )


def test_the_synthetic_vector() -> None:
    assert len(SYNTHETIC) == 268
    parsed = parse(SYNTHETIC)
    assert (parsed.view, parsed.seqno, parsed.flags) == (2, 5, 0)
    assert parsed.type is EntryType.WRITE_SET_WITH_COMMIT_EVIDENCE_AND_CLAIMS
    assert parsed.tag.hex() == "5130982465bc46f85454536d064aeda3"
    assert parsed.iv.hex() == "050000000000000002000000"
    assert parsed.claims == CLAIMS
    assert parsed.public_maps() == {"public:a": {b"k1": b'"v1"', b"k0": None}}
    assert wire.encode(parsed.public_maps())[0] == parsed.public_sections
    assert len(parsed.ciphertext) == 63
    assert (
        parsed.write_set_digest.hex()
        == "8c743a8b309a6f1dfc2d55520fff89bc6910308b98aba34ee43ed0db5befcc1a"
    )
    assert parsed.leaf.hex() == "a3c8293c2ebbb2b8cfd365f93272b348c81541fdb78b58df43da9a05d0087a20"


def test_the_public_header_is_that_of_the_vector() -> None:
    header = encode_public_header(5, CLAIMS, parse(SYNTHETIC).evidence_digest or b"")
    assert SYNTHETIC[44 : 44 + len(header)] == header


@pytest.mark.parametrize(
    ("kind", "claims", "evidence"),
    [(0, None, None), (2, b"C", None), (3, None, b"E"), (4, b"C", b"E")],
)
def test_types_and_their_leaves(kind: int, claims: bytes | None, evidence: bytes | None) -> None:
    data = made(kind)
    parsed = parse(data)
    assert parsed.type == kind
    assert parsed.claims == (claims and claims * 32)
    assert parsed.evidence_digest == (evidence and evidence * 32)
    assert parsed.max_conflict_version == 99
    digest = hashlib.sha256(data).digest()
    # Evidence before claims, the reverse of the order on disk (merkle-and-receipts.md §1).
    tail = (evidence or b"") * 32 + (claims or b"") * 32
    assert parsed.leaf == (hashlib.sha256(digest + tail).digest() if tail else digest)
    assert leaf_of(digest, parsed.evidence_digest, parsed.claims) == parsed.leaf


def test_flags_and_ciphertext() -> None:
    parsed = parse(made(4, flags=3, ciphertext=b"secret"))
    assert parsed.flags == entry.FORCE_CHUNK_AFTER | entry.FORCE_CHUNK_BEFORE
    assert parsed.ciphertext == b"secret"
    assert "secret" not in repr(parsed)
    assert parse_header(made(4)[:8]) == (0, len(made(4)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "less than its fixed fields"),
        (made(4)[:43], "less than its fixed fields"),
        (made(4)[:-1], "claims 125 bytes but has 124"),
        (made(4) + b"x", "claims 125 bytes but has 126"),
        (b"\x02" + made(4)[1:], "format version 2"),
        (made(4, flags=4), "unknown flags 0x04"),
        (made(4, view=0x8000_0002), "IV of a snapshot"),
        (made(1), "Entry type 1"),
        (made(5), "Entry type 5"),
        (made(200), "Entry type 200"),
        (made(4, inner_seqno=8), "IV says seqno 7, public domain 8"),
        (b"\x01\x00" + bytes(6) + made(4)[8:], "less than any entry has"),
    ],
)
def test_refused(data: bytes, why: str) -> None:
    with pytest.raises(InvalidLedger, match=why):
        parse(data)


@pytest.mark.parametrize("size", [0, 16, 17, 80, 90, 2**63, 2**64 - 1])
def test_a_wrong_public_size_is_refused(size: int) -> None:
    data = made(4)
    changed = data[:36] + struct.pack("<Q", size) + data[44:]
    with pytest.raises(InvalidLedger, match=r"Public domain|does not fit"):
        parse(changed)


def test_malformed_sections_are_refused_when_asked_for() -> None:
    parsed = parse(made(4, sections=b"\x05"))
    with pytest.raises(InvalidLedger, match="malformed write set"):
        parsed.public_maps()
