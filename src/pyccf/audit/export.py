"""A ledger as tables, for people who would rather query than read.

`export` walks a ledger once, entry by entry, and writes four tables: `entries` (one row for each),
`writes` (one for each key written or removed), `signatures`, and `governance` (the writes to tables
under `public:ccf.gov.`, whose values are JSON or text). As Parquet they are files in a folder, as
DuckDB tables in one file, there with views of what follows from them: `state` (the last value of
each key), `members`, `users`, `nodes` and `proposals`. Memory does not grow with the ledger.

Private maps are in it only for who has the ledger secrets. Reading does not verify: export what
`verify` accepted. Both formats need libraries that pyccf does without otherwise (`pyccf[export]`).

Refuses, with LocalError, a target that exists; with InvalidLedger, an entry that cannot be read. A
target appears under its name only when it is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import msgspec

from pyccf.audit.files import ChunkFile, StrPath, find_chunks
from pyccf.audit.read import FLAG_NAMES, parsed_entries, readable_key
from pyccf.errors import LocalError
from pyccf.kv import wire
from pyccf.ledger import signature
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.types import SeqNo

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_BATCH = 50_000
"""Rows of a table that are held before they are written."""
TEXT_MAX = 1 << 20
"""Longer values are given as bytes only."""
GOVERNANCE = "public:ccf.gov."

Row = tuple[object, ...]


class Format(StrEnum):
    """What `export` can write."""

    PARQUET = "parquet"
    DUCKDB = "duckdb"


class Column(msgspec.Struct, frozen=True):
    """A column of a table; `kind` is the name of its Arrow type."""

    name: str
    kind: str


def _columns(**kinds: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in kinds.items())


TABLES: Mapping[str, tuple[Column, ...]] = {
    "entries": _columns(
        seqno="int64",
        view="int64",
        type="string",
        size="int64",
        private_size="int64",
        flags="string",
        is_signature="bool_",
        committed_file="bool_",
        file="string",
        claims_digest="string",
        leaf="string",
    ),
    "writes": _columns(
        seqno="int64",
        view="int64",
        map="string",
        private="bool_",
        key="string",
        value="string",
        removed="bool_",
        key_bytes="binary",
        value_bytes="binary",
    ),
    "signatures": _columns(seqno="int64", view="int64", node="string", root="string", cose="bool_"),
    "governance": _columns(
        seqno="int64", view="int64", map="string", key="string", value="string", removed="bool_"
    ),
}
"""Tables and their columns. `key` is readable text (hex for other bytes, "*" for the key of a
single-value table), `value` is text where the bytes are, else null; the bytes are beside them."""

VIEWS: Mapping[str, str] = {
    "state": """
        SELECT map, key, value, private, seqno, key_bytes, value_bytes FROM (
            SELECT *, row_number() OVER (PARTITION BY map, key_bytes ORDER BY seqno DESC) AS age
            FROM writes
        ) WHERE age = 1 AND NOT removed""",
    "members": """
        SELECT i.key AS member, i.value ->> 'status' AS status, i.value -> 'member_data' AS data,
               c.value AS certificate, i.seqno AS since
        FROM (SELECT * FROM state WHERE map = 'public:ccf.gov.members.info') i
        LEFT JOIN (SELECT * FROM state WHERE map = 'public:ccf.gov.members.certs') c USING (key)""",
    "users": """
        SELECT c.key AS "user", i.value -> 'user_data' AS data, c.value AS certificate,
               c.seqno AS since
        FROM (SELECT * FROM state WHERE map = 'public:ccf.gov.users.certs') c
        LEFT JOIN (SELECT * FROM state WHERE map = 'public:ccf.gov.users.info') i USING (key)""",
    "nodes": """
        SELECT key AS node, value ->> 'status' AS status, value -> 'node_data' AS data,
               value -> 'rpc_interfaces' AS rpc_interfaces, seqno AS since
        FROM state WHERE map = 'public:ccf.gov.nodes.info'""",
    "proposals": """
        SELECT i.key AS proposal, i.value ->> 'state' AS state,
               i.value ->> 'proposer_id' AS proposer, p.value AS proposal_body,
               i.value -> 'final_votes' AS votes, i.seqno AS since
        FROM (SELECT * FROM state WHERE map = 'public:ccf.gov.proposals_info') i
        LEFT JOIN (SELECT * FROM state WHERE map = 'public:ccf.gov.proposals') p USING (key)""",
}
"""Views of a DuckDB file, in the order in which they build on each other."""


class ExportReport(msgspec.Struct, frozen=True):
    """What was written: rows by table, and up to which entry."""

    target: str
    format: str
    last: SeqNo
    rows: dict[str, int]
    private: bool


class Sink(Protocol):
    """Where batches of rows go."""

    def write(self, table: str, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None:
        """Everything was written."""
        ...


def export(
    directories: StrPath | Sequence[StrPath],
    target: StrPath,
    to: Format,
    *,
    secrets: LedgerSecrets | None = None,
    first: SeqNo = 1,
    last: SeqNo | None = None,
    progress: Callable[[SeqNo], object] | None = None,
) -> ExportReport:
    """Write entries first..last of a ledger to `target`, a folder for Parquet, a file for DuckDB.

    `progress` is told the seqno after each batch. Raises LocalError when there is no ledger, the
    target exists, cannot be written, or the libraries are missing; InvalidLedger for bad entries.
    """
    final = Path(target)
    if final.exists():
        raise LocalError(f"{final} exists already.", hint="Choose another name, or remove it.")
    if not find_chunks(directories).chunks:
        raise LocalError("There are no ledger files in the directory.")
    _need_libraries(to)
    partial = final.with_name(final.name + ".partial")
    _remove(partial)
    try:
        sink: Sink = _Parquet(partial) if to is Format.PARQUET else _DuckDb(partial)
        with _Tables(sink) as rows:
            reached: SeqNo = 0
            for chunk, entry in parsed_entries(directories, first, last):
                _take(rows, chunk, entry, secrets)
                reached = entry.seqno
                if rows.flush_full() and progress is not None:
                    progress(reached)
        partial.rename(final)
    except OSError as error:
        raise LocalError(f"{final} cannot be written: {error.strerror or error}.") from None
    finally:
        _remove(partial)
    return ExportReport(str(final), to.value, reached, rows.counts, secrets is not None)


def _need_libraries(to: Format) -> None:
    try:
        import pyarrow  # noqa: F401

        if to is Format.DUCKDB:
            import duckdb  # noqa: F401
    except ImportError as error:
        raise LocalError(
            f"Writing {to.value} needs the library {error.name}, which is not installed.",
            hint="Install it: pip install 'pyccf[export]'",
        ) from None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)


class _Tables:
    """Rows on their way into a sink."""

    def __init__(self, sink: Sink) -> None:
        self.counts = dict.fromkeys(TABLES, 0)
        self._sink = sink
        self._rows: dict[str, list[Row]] = {table: [] for table in TABLES}

    def __enter__(self) -> _Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        if kind is None:
            for table in TABLES:
                self._flush(table)
        self._sink.close()

    def add(self, table: str, row: Row) -> None:
        self._rows[table].append(row)

    def flush_full(self) -> bool:
        """Write the tables whose batches are full; True if there was one."""
        full = [table for table, rows in self._rows.items() if len(rows) >= ROWS_PER_BATCH]
        for table in full:
            self._flush(table)
        return bool(full)

    def _flush(self, table: str) -> None:
        import pyarrow as pa

        rows = self._rows[table]
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(TABLES[table])
        arrays = [
            pa.array(list(values), type=getattr(pa, column.kind)())
            for column, values in zip(TABLES[table], columns, strict=True)
        ]
        names = [column.name for column in TABLES[table]]
        self._sink.write(table, pa.RecordBatch.from_arrays(arrays, names=names))
        self.counts[table] += len(rows)
        self._rows[table] = []


class _Parquet:
    """One file for each table in a folder."""

    def __init__(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        folder.mkdir(parents=True)
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        import pyarrow.parquet as pq

        writer = self._writers.get(table)
        if writer is None:
            path = self._folder / f"{table}.parquet"
            writer = self._writers[table] = pq.ParquetWriter(path, batch.schema, compression="zstd")
        writer.write_batch(batch)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _DuckDb:
    """A database file with the tables, and views of them."""

    def __init__(self, file: Path) -> None:
        import duckdb

        file.parent.mkdir(parents=True, exist_ok=True)
        with _as_os_error():
            self._db = duckdb.connect(str(file))
        self._made: set[str] = set()

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        with _as_os_error():
            self._write(table, batch)

    def _write(self, table: str, batch: pa.RecordBatch) -> None:
        self._db.register("batch", batch)
        if table in self._made:
            self._db.execute(f'INSERT INTO "{table}" SELECT * FROM batch')
        else:
            self._db.execute(f'CREATE TABLE "{table}" AS SELECT * FROM batch')
            self._made.add(table)
        self._db.unregister("batch")

    def close(self) -> None:
        with _as_os_error():
            if self._made == set(TABLES):
                for name, query in VIEWS.items():
                    self._db.execute(f'CREATE VIEW "{name}" AS {query}')
            self._db.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """DuckDB has errors of its own for a disk that refuses."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise OSError(str(error)) from None


def _take(
    rows: _Tables, chunk: ChunkFile, entry: ParsedEntry, secrets: LedgerSecrets | None
) -> None:
    """All rows of one entry."""
    seqno, view = entry.seqno, entry.view
    public = entry.public_maps()
    signed = signature.SIGNATURES in public
    rows.add(
        "entries",
        (
            seqno,
            view,
            entry.type.name,
            len(entry.data),
            len(entry.ciphertext),
            ",".join(name for flag, name in FLAG_NAMES.items() if entry.flags & flag) or None,
            signed,
            chunk.name.committed,
            chunk.path.name,
            entry.claims.hex() if entry.claims is not None else None,
            entry.leaf.hex(),
        ),
    )
    if signed:
        one = signature.parse(entry)
        rows.add("signatures", (seqno, view, one.node, one.root.hex(), one.cose is not None))
    for name, key, value, private in _writes(entry, public, secrets):
        shown_key, shown = readable_key(key), None if value is None else _text(value)
        removed = value is None
        rows.add("writes", (seqno, view, name, private, shown_key, shown, removed, key, value))
        if name.startswith(GOVERNANCE):
            rows.add("governance", (seqno, view, name, shown_key, shown, removed))


Maps = Mapping[str, Mapping[bytes, bytes | None]]


def _writes(
    entry: ParsedEntry, public: Maps, secrets: LedgerSecrets | None
) -> Iterator[tuple[str, bytes, bytes | None, bool]]:
    """Map, key, value and whether it was sealed, of each write."""
    for name, changes in public.items():
        for key, value in changes.items():
            yield name, key, value, False
    if secrets is None or not entry.ciphertext:
        return
    opened = secrets.open(entry.seqno, entry.iv, entry.tag, entry.ciphertext, entry.public)
    for name, changes in wire.decode(opened).items():
        for key, value in changes.items():
            yield name, key, value, True


def _text(value: bytes) -> str | None:
    """A value as text, None if it is none. What is JSON stays as it was written."""
    if len(value) > TEXT_MAX:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
