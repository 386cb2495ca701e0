"""Where two ledgers part, and who signed both ways.

Two hosts of one service hold the same entries, byte for byte; one may only have fewer. `compare`
walks both side by side and reports the first entry in which they differ: what each side says there,
which signature covers it on each side, and whether that signature really follows from all the
entries before it.

A primary orders one history in its view: a node that signed two different roots for the same seqno
in one view told two stories, and is named with both, provided that both signatures hold. In
different views that is no lie: what was not committed is rolled back and ordered anew. Two ledgers
that both call their side committed cannot both be right, which the report says without naming
anybody, since the name of a file is all there is to show for it.

A host that began with a snapshot lacks the entries before it: compared is what both hold. What is
missing is no fork.

Refuses, with LocalError, a gap, directories that hold no ledger, and ledgers without an entry in
common; with InvalidLedger, an entry before the fork that cannot be read. (spec: ledger.md §2-5,
merkle-and-receipts.md §2-4)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import msgspec

from pyccf.audit.files import ChunkFile, StrPath, find_chunks
from pyccf.audit.read import parsed_entries, readable_maps
from pyccf.audit.verify import VerifyError, verify
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger import signature
from pyccf.ledger.entry import ParsedEntry
from pyccf.types import Json, NodeId, SeqNo, TxID

DIRECTORIES = StrPath | Sequence[StrPath]
SIGNATURES_AFTER_MAX = 1000
"""Signatures after the fork that are compared, on each side, to find nodes that signed both."""


class Signed(msgspec.Struct, frozen=True):
    """A signature transaction: who signed which root, over everything before `txid`."""

    txid: str
    node: NodeId
    root: str


class Side(msgspec.Struct, frozen=True):
    """What one ledger says where the two differ; `txid` is None where it has already ended."""

    txid: str | None
    file: str
    committed_file: bool
    size: int
    public: dict[str, Json]
    private_size: int
    covered_by: Signed | None
    """The first signature at or after the entry; None: nothing covers it."""
    covered: bool
    """Whether that signature holds, with all that is before it."""
    fault: str
    """Why it does not; empty when it does, or when nothing covers the entry."""


class DoubleSigned(msgspec.Struct, frozen=True):
    """A node that signed two roots for one seqno in one view, both signatures good."""

    node: NodeId
    seqno: SeqNo
    first: Signed
    second: Signed


class ForkReport(msgspec.Struct, frozen=True):
    """What `compare` found: entries `first`, the first that both hold, to `common` are equal."""

    first: SeqNo
    common: SeqNo
    same: bool
    """The two hold the same entries, all of them."""
    prefix: str
    """"A" or "B" when that ledger is the beginning of the other; empty otherwise."""
    seqno: SeqNo | None
    """The first entry that differs; None when there is none."""
    a: Side | None
    b: Side | None
    double_signed: list[DoubleSigned]

    @property
    def both_committed(self) -> bool:
        """Both sides of the fork lie in files that are called committed."""
        return bool(self.a and self.b and self.a.committed_file and self.b.committed_file)

    @property
    def forked(self) -> bool:
        """Both ledgers have an entry here, and not the same."""
        return not self.same and not self.prefix


class _Walk:
    """One ledger, entry by entry."""

    def __init__(self, directories: DIRECTORIES, name: str) -> None:
        if not find_chunks(directories).chunks:
            raise LocalError(f"Ledger {name} has no ledger files in its directory.")
        self.directories = directories
        self._name = name
        self._last: SeqNo = 0
        self._entries: Iterator[tuple[ChunkFile, ParsedEntry]] = parsed_entries(directories)

    def next(self) -> tuple[ChunkFile, ParsedEntry] | None:
        """The next entry, None at the end. Raises LocalError where it is not the one that follows,
        but for the first."""
        found = next(self._entries, None)
        if found is None:
            return None
        expected, seqno = self._last + 1, found[1].seqno
        if self._last and seqno != expected:
            raise LocalError(
                f"In ledger {self._name} entry {seqno} follows entry {self._last}, in"
                f" {found[0].path.name}.",
                hint="Entries are missing, or there twice. See: pyccf ledger list --files",
            )
        self._last = seqno
        return found

    @cached_property
    def _error(self) -> VerifyError | None:
        return verify(self.directories).error

    def fault(self, seqno: SeqNo) -> str:
        """Why the ledger does not hold up to this signature; empty when it does."""
        error = self._error
        return f"entry {error.seqno}: {error.reason}" if error and error.seqno <= seqno else ""

    def up_to(self, seqno: SeqNo) -> tuple[ChunkFile, ParsedEntry] | None:
        """The entry `seqno`, or the first, if that is a later one."""
        found = self.next()
        while found is not None and found[1].seqno < seqno:
            found = self.next()
        return found


def compare(a: DIRECTORIES, b: DIRECTORIES) -> ForkReport:
    """Compare two ledgers, each in one or several directories, from their first entries on."""
    left, right = _Walk(a, "A"), _Walk(b, "B")
    one, other = left.next(), right.next()
    if one is not None and other is not None and one[1].seqno < other[1].seqno:
        one = left.up_to(other[1].seqno)
    elif one is not None and other is not None and other[1].seqno < one[1].seqno:
        other = right.up_to(one[1].seqno)
    if one is None or other is None:
        raise LocalError("The two ledgers hold no entry of the same number.")
    first = one[1].seqno
    common = first - 1
    while one is not None and other is not None:
        if one[1].data != other[1].data:
            return _forked(first, common, (left, one), (right, other))
        common = one[1].seqno
        one, other = left.next(), right.next()
    shorter = "A" if one is None else "B"
    same = one is None and other is None
    return ForkReport(first, common, same, "" if same else shorter, None, None, None, [])


Place = tuple[_Walk, tuple[ChunkFile, ParsedEntry]]


def _forked(first: SeqNo, common: SeqNo, a: Place, b: Place) -> ForkReport:
    one, signed_a = _side(*a)
    other, signed_b = _side(*b)
    double = _double_signed((a[0], signed_a), (b[0], signed_b)) if signed_a and signed_b else []
    return ForkReport(first, common, False, "", common + 1, one, other, double)


def _side(walk: _Walk, at: tuple[ChunkFile, ParsedEntry]) -> tuple[Side, dict[SeqNo, Signed]]:
    """What a ledger says at the fork, and the signatures that follow there, by seqno."""
    chunk, entry = at
    following = _signatures(walk, entry)
    first = following.get(min(following)) if following else None
    fault = "" if first is None else walk.fault(int(first.txid.split(".")[1]))
    side = Side(
        txid=str(TxID(entry.view, entry.seqno)),
        file=chunk.path.name,
        committed_file=chunk.name.committed,
        size=len(entry.data),
        public=readable_maps(entry.public_maps()),
        private_size=len(entry.ciphertext),
        covered_by=first,
        covered=first is not None and not fault,
        fault=fault,
    )
    return side, following


def _signatures(walk: _Walk, entry: ParsedEntry) -> dict[SeqNo, Signed]:
    """Signatures from an entry on, as far as the ledger can be read."""
    found: dict[SeqNo, Signed] = {}
    now: ParsedEntry | None = entry
    while now is not None and len(found) < SIGNATURES_AFTER_MAX:
        try:
            if signature.is_signature(now):
                signed = signature.parse(now)
                txid = str(TxID(now.view, now.seqno))
                found[now.seqno] = Signed(txid, signed.node, signed.root.hex())
            following = walk.next()
        except (InvalidLedger, LocalError):
            # What is broken behind the fork is for `verify` to say; here it ends the search.
            break
        now = following[1] if following is not None else None
    return found


def _double_signed(
    a: tuple[_Walk, dict[SeqNo, Signed]], b: tuple[_Walk, dict[SeqNo, Signed]]
) -> list[DoubleSigned]:
    """Nodes whose good signatures stand under both ledgers with different roots, in one view."""
    found: list[DoubleSigned] = []
    for seqno, first in sorted(a[1].items()):
        second = b[1].get(seqno)
        if second is None or second.root == first.root:
            continue
        if second.node != first.node or second.txid != first.txid:
            continue
        if not a[0].fault(seqno) and not b[0].fault(seqno):
            found.append(DoubleSigned(first.node, seqno, first, second))
            break  # One proof is enough.
    return found
