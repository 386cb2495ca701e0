"""A host of scripts that writes down every look at a table, every write, and every line logged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from pyccf.apps.js.host.host import Host
from pyccf.audit.read import readable, readable_key
from pyccf.kv.maps import AccessContext
from pyccf.kv.tx import MapHandle
from pyccf.types import Json, SeqNo

VALUE_MAX = 200
"""Characters of a value that a line of text shows."""


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing a script did: a method of a table, a line of the log, or a call of the script."""

    op: str
    table: str = ""
    key: bytes | None = None
    value: bytes | None = None
    told: str = ""
    """A number that came back, the text of a line, the name of what was called."""

    def to_json(self) -> dict[str, Json]:
        """For scripts."""
        shown: dict[str, Json] = {"op": self.op}
        if self.table:
            shown["table"] = self.table
        if self.key is not None:
            shown["key"] = readable_key(self.key)
        if self.value is not None:
            shown["value"] = readable(self.value)
        if self.told:
            shown["told"] = self.told
        return shown

    def to_text(self) -> str:
        """For a person, in one line."""
        if not self.table:
            return f"{self.op}: {self.told}"
        key = "" if self.key is None else readable_key(self.key)
        text = f"{self.table}.{self.op}({key})"
        if self.op == "set" and self.value is not None:
            return f"{self.table}.set({key}, {_short(self.value)})"
        if self.value is not None:
            return f"{text} = {_short(self.value)}"
        return f"{text} = {self.told}" if self.told else text


def _short(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    text = text if text.isprintable() else f"0x{value.hex()}"
    return text if len(text) <= VALUE_MAX else text[:VALUE_MAX] + "…"


Steps = list[Step]


class TracedMap:
    """A table that writes down what is done with it."""

    __slots__ = ("_handle", "_steps", "_table")

    def __init__(self, handle: MapHandle, table: str, steps: Steps) -> None:
        self._handle = handle
        self._table = table
        self._steps = steps

    def _note(
        self, op: str, key: bytes | None = None, value: bytes | None = None, told: str = ""
    ) -> None:
        self._steps.append(Step(op, self._table, key, value, told))

    def has(self, key: bytes) -> bool:
        found = self._handle.has(key)
        self._note("has", key, told=str(found).lower())
        return found

    def get(self, key: bytes) -> bytes | None:
        found = self._handle.get(key)
        self._note("get", key, found, "" if found is not None else "undefined")
        return found

    def previous_version(self, key: bytes) -> SeqNo | None:
        found = self._handle.previous_version(key)
        told = "undefined" if found is None else str(found)
        self._note("getVersionOfPreviousWrite", key, told=told)
        return found

    def foreach(self) -> Iterator[tuple[bytes, bytes]]:
        self._note("forEach")
        for key, value in self._handle.foreach():
            self._note("visit", key, value)
            yield key, value

    def size(self) -> int:
        found = self._handle.size()
        self._note("size", told=str(found))
        return found

    def set(self, key: bytes, value: bytes) -> None:
        self._handle.set(key, value)
        self._note("set", key, value)

    def delete(self, key: bytes) -> None:
        self._handle.delete(key)
        self._note("delete", key)

    def clear(self) -> None:
        self._handle.clear()
        self._note("clear")


class TracingHost(Host):
    """The usual host, looked on."""

    __slots__ = ("_steps",)

    def __init__(self, access: AccessContext, steps: Steps) -> None:
        super().__init__(access)
        self._steps = steps

    def open_map(self, space: object, name: str) -> tuple[MapHandle, int]:
        """The handle, wrapped."""
        handle, granted = super().open_map(space, name)  # type: ignore[arg-type]
        table = name if space is None else f"(past) {name}"
        return TracedMap(handle, table, self._steps), granted  # type: ignore[return-value]

    def refusal(self, space: object, name: str, method: str) -> str:
        """The refusal, noted."""
        self._steps.append(Step("refused", told=f"{method} on {name}"))
        return super().refusal(space, name, method)  # type: ignore[arg-type]


def host_maker(steps: Steps) -> Callable[[AccessContext], Host]:
    """Makes hosts that write into `steps`."""
    return lambda access: TracingHost(access, steps)
