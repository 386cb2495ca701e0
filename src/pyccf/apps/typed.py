"""Tables as Python applications see them: bytes, or values of declared types.

Tables of governance and of the node can be read and never written, reserved names are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from pyccf.errors import LocalError
from pyccf.kv.tx import MapHandle, Tx
from pyccf.types import SeqNo

if TYPE_CHECKING:
    from pyccf.apps.past import PastState
    from pyccf.apps.python import AppContext

K = TypeVar("K")
V = TypeVar("V")

GOV_PREFIXES = ("public:ccf.gov.", "public:ccf.internal.")
RESERVED = "ccf."


class RawTable:
    """One table as bytes, with the access an application has (spec: kv-and-tables.md §2)."""

    __slots__ = ("_handle", "_writable", "name")

    def __init__(self, tx: Tx, name: str, writes: bool = False) -> None:
        """`writes`: whether the endpoint may write at all."""
        self.name = name
        governed = name.startswith(GOV_PREFIXES)
        self._writable = writes and not governed
        plain = name.removeprefix("public:")
        if not governed and plain.startswith(RESERVED):
            raise LocalError(f"Table name {name} is reserved: it starts with {RESERVED}")
        self._handle: MapHandle = tx.map(name)

    def get(self, key: bytes) -> bytes | None:
        return self._handle.get(key)

    def has(self, key: bytes) -> bool:
        return self._handle.has(key)

    def set(self, key: bytes, value: bytes) -> None:
        self._check()
        self._handle.set(key, value)

    def delete(self, key: bytes) -> None:
        self._check()
        self._handle.delete(key)

    def clear(self) -> None:
        self._check()
        self._handle.clear()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Rows in ascending key order, own writes last."""
        return self._handle.foreach()

    def range(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order."""
        return iter(self._handle.range(start, stop))

    def size(self) -> int:
        return self._handle.size()

    def previous_version(self, key: bytes) -> SeqNo | None:
        """Seqno of the last committed write of a key."""
        return self._handle.previous_version(key)

    def _check(self) -> None:
        if not self._writable:
            if self.name.startswith(GOV_PREFIXES):
                raise LocalError(f"Table {self.name} can be written by governance only.")
            raise LocalError(
                f"Table {self.name} is read-only here.",
                hint="Only endpoints in mode readwrite may write.",
            )


class Table(Generic[K, V]):
    """A table whose keys and values are JSON of declared types, as in native CCF applications."""

    def __init__(self, name: str, *, key: type[K], value: type[V]) -> None:
        self.name = name
        self._key = msgspec.json.Decoder(key)
        self._value = msgspec.json.Decoder(value)

    def __call__(self, ctx: AppContext) -> TypedTable[K, V]:
        """This table in a request's transaction."""
        return TypedTable(ctx.kv(self.name), self._key, self._value)

    def of(self, past: Tx | PastState) -> TypedTable[K, V]:
        """What a historical transaction wrote to this table, or it in one that only reads."""
        tx = past if isinstance(past, Tx) else past.tx()
        return TypedTable(RawTable(tx, self.name), self._key, self._value)

    def encode_key(self, key: K) -> bytes:
        """A key as it stands in the ledger."""
        return msgspec.json.encode(key)

    def decode_key(self, key: bytes) -> K:
        """A key of the ledger."""
        return self._key.decode(key)


class TypedTable(Generic[K, V]):
    """A `Table` within one transaction."""

    __slots__ = ("_key", "_raw", "_value")

    def __init__(
        self, raw: RawTable, key: msgspec.json.Decoder[K], value: msgspec.json.Decoder[V]
    ) -> None:
        self._raw = raw
        self._key = key
        self._value = value

    def get(self, key: K) -> V | None:
        raw = self._raw.get(msgspec.json.encode(key))
        return None if raw is None else self._value.decode(raw)

    def has(self, key: K) -> bool:
        return self._raw.has(msgspec.json.encode(key))

    def set(self, key: K, value: V) -> None:
        self._raw.set(msgspec.json.encode(key), msgspec.json.encode(value))

    def delete(self, key: K) -> None:
        self._raw.delete(msgspec.json.encode(key))

    def clear(self) -> None:
        self._raw.clear()

    def items(self) -> Iterator[tuple[K, V]]:
        for key, value in self._raw.items():
            yield self._key.decode(key), self._value.decode(value)

    def size(self) -> int:
        return self._raw.size()

    def previous_version(self, key: K) -> SeqNo | None:
        return self._raw.previous_version(msgspec.json.encode(key))
