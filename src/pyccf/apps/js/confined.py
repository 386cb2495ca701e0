"""Interpreters for code that nobody voted on: they see tables under some prefixes and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.host.host import HistoricalKv, Host
from pyccf.kv.maps import Access, AccessContext

if TYPE_CHECKING:
    from pyccf.kv.tx import MapHandle


class ConfinedHost(Host):
    """A host whose scripts have no rights to any other table, now or in the past."""

    __slots__ = ("prefixes",)

    def __init__(self, access: AccessContext, prefixes: tuple[str, ...]) -> None:
        super().__init__(access)
        self.prefixes = prefixes

    def open_map(self, space: HistoricalKv | None, name: str) -> tuple[MapHandle, int]:
        handle, granted = super().open_map(space, name)
        return handle, granted if name.startswith(self.prefixes) else Access.ILLEGAL.value

    def refusal(self, space: HistoricalKv | None, name: str, method: str) -> str:
        if name.startswith(self.prefixes):
            return super().refusal(space, name, method)
        allowed = ", ".join(self.prefixes)
        return (
            f'Cannot call "{method}" on table named {name}. Only tables whose names begin with one'
            f" of these are accessible to custom endpoints: {allowed}"
        )
