"""Read entries of a ledger directory: list them, or show one with what it wrote.

Reading does not verify: an entry is shown as it is on disk, whether or not a signature covers it
(`verify` tells). What cannot be parsed raises InvalidLedger with its seqno, what is not there
LocalError. Private tables are shown only to who has the ledger secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pyccf.audit.files import ChunkFile, ChunkReader, StrPath, find_chunks
from pyccf.codec.text import load_json
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv import wire
from pyccf.kv.changes import UNIT
from pyccf.ledger.entry import FORCE_CHUNK_AFTER, FORCE_CHUNK_BEFORE, ParsedEntry, parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import SIGNATURES
from pyccf.types import Json, SeqNo, View

FLAG_NAMES = {
    FORCE_CHUNK_AFTER: "FORCE_LEDGER_CHUNK_AFTER",
    FORCE_CHUNK_BEFORE: "FORCE_LEDGER_CHUNK_BEFORE",
}


class Touched(msgspec.Struct, frozen=True):
    """How many keys of a map a transaction wrote and removed."""

    writes: int
    removes: int


class EntrySummary(msgspec.Struct, frozen=True):
    """One entry in a list. Sizes are bytes; `maps` are the public ones, ascending by name."""

    seqno: SeqNo
    view: View
    type: str
    size: int
    private_size: int
    flags: list[str]
    is_signature: bool
    committed_file: bool
    file: str
    maps: dict[str, Touched]


class EntryView(msgspec.Struct, frozen=True):
    """One entry with what it wrote; None stands for a removed key.

    `private` is None without secrets. `commit_evidence` needs them too.
    """

    summary: EntrySummary
    data: bytes
    write_set_digest: bytes
    leaf: bytes
    claims: bytes | None
    evidence_digest: bytes | None
    commit_evidence: str | None
    public: dict[str, dict[bytes, bytes | None]]
    private: dict[str, dict[bytes, bytes | None]] | None

    def readable(self) -> dict[str, Json]:
        """The same for a person or a script: JSON where values are, else text, else hex."""
        shown: dict[str, Json] = {
            "txid": f"{self.summary.view}.{self.summary.seqno}",
            "type": self.summary.type,
            "size": self.summary.size,
            "flags": list[Json](self.summary.flags),
            "file": self.summary.file,
            "write_set_digest": self.write_set_digest.hex(),
            "leaf": self.leaf.hex(),
            "public": readable_maps(self.public),
        }
        if self.claims is not None:
            shown["claims_digest"] = self.claims.hex()
        if self.evidence_digest is not None:
            shown["commit_evidence_digest"] = self.evidence_digest.hex()
        if self.commit_evidence is not None:
            shown["commit_evidence"] = self.commit_evidence
        if self.private is not None:
            shown["private"] = readable_maps(self.private)
        else:
            shown["private_size"] = self.summary.private_size
        return shown


def readable(data: bytes) -> Json:
    """Bytes as JSON value if they are JSON, as text if they are printable, else {"hex": ...}."""
    try:
        return load_json(data)
    except ValueError:
        return readable_key(data) if _printable(data) else {"hex": data.hex()}


def readable_key(key: bytes) -> str:
    """A key as text: itself if printable, else hex. The key of singletons is shown as "*"."""
    if key == UNIT:
        return "*"
    return key.decode() if _printable(key) else f"0x{key.hex()}"


def _printable(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\n\r\t" for c in text)


def readable_maps(maps: Mapping[str, Mapping[bytes, bytes | None]]) -> dict[str, Json]:
    """Maps with readable keys and values; removed keys have the value null, written ones are in
    {"value": ...} so that a written JSON null can be told from a removal."""
    return {
        name: {
            readable_key(key): None if value is None else {"value": readable(value)}
            for key, value in rows.items()
        }
        for name, rows in maps.items()
    }


def entries(
    directories: StrPath | Sequence[StrPath],
    first: SeqNo = 1,
    last: SeqNo | None = None,
    *,
    include_recovery: bool = False,
) -> Iterator[EntrySummary]:
    """Entries first..last in order, one at a time. Raises InvalidLedger at one that is broken."""
    for one, entry in parsed_entries(directories, first, last, include_recovery):
        yield _summary(one, entry)


def show(
    directories: StrPath | Sequence[StrPath],
    seqno: SeqNo,
    *,
    secrets: LedgerSecrets | None = None,
    include_recovery: bool = False,
) -> EntryView:
    """One entry. LocalError when it is not there, or sealed with a secret that is not known."""
    for one, entry in parsed_entries(directories, seqno, seqno, include_recovery):
        private = evidence = None
        if secrets is not None:
            sealed = secrets.open(seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
            private = wire.decode(sealed)
            if entry.evidence_digest is not None:
                evidence = secrets.cipher_at(seqno).evidence(entry.view, seqno)
        return EntryView(
            summary=_summary(one, entry),
            data=entry.data,
            write_set_digest=entry.write_set_digest,
            leaf=entry.leaf,
            claims=entry.claims,
            evidence_digest=entry.evidence_digest,
            commit_evidence=evidence,
            public=entry.public_maps(),
            private=private,
        )
    raise LocalError(f"Entry {seqno} is not in the ledger.")


def _summary(one: ChunkFile, entry: ParsedEntry) -> EntrySummary:
    maps = entry.public_maps()
    return EntrySummary(
        seqno=entry.seqno,
        view=entry.view,
        type=entry.type.name,
        size=len(entry.data),
        private_size=len(entry.ciphertext),
        flags=[name for flag, name in FLAG_NAMES.items() if entry.flags & flag],
        is_signature=SIGNATURES in maps,
        committed_file=one.name.committed,
        file=one.path.name,
        maps={name: _touched(rows) for name, rows in maps.items()},
    )


def _touched(rows: Mapping[bytes, bytes | None]) -> Touched:
    removes = sum(value is None for value in rows.values())
    return Touched(len(rows) - removes, removes)


def parsed_entries(
    directories: StrPath | Sequence[StrPath],
    first: SeqNo = 1,
    last: SeqNo | None = None,
    include_recovery: bool = False,
) -> Iterator[tuple[ChunkFile, ParsedEntry]]:
    """Entries first..last with the files they are in. Raises InvalidLedger at a broken one."""
    found = find_chunks(directories, include_recovery=include_recovery)
    for one in found.chunks:
        name = one.name
        if last is not None and name.first > last:
            return
        if name.last is not None and name.last < first:
            continue
        with ChunkReader(one) as reader:
            seqno = name.first - 1
            for data in reader.entries():
                seqno += 1
                if seqno < first:
                    continue
                if last is not None and seqno > last:
                    return
                try:
                    entry = parse(data)
                    entry.public_maps()
                except InvalidLedger as error:
                    raise InvalidLedger(
                        error.message, seqno=error.seqno or seqno, file=one.path.name
                    ) from None
                yield one, entry
