"""Indexes of an application under test: always as far as the last transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pyccf.apps.context import HistoricalState
from pyccf.apps.index import Declared, Strategy
from pyccf.apps.index.declared import parse
from pyccf.codec.text import load_json
from pyccf.kv.store import Store
from pyccf.service import tables


class MemoryIndexes:
    """Makes an index anew whenever it is asked for, so that it fits whatever was undone."""

    def __init__(self, store: Store, past: Callable[[], Iterable[HistoricalState]]) -> None:
        """`past` gives all transactions in order."""
        self._store = store
        self._past = past
        self._spilled: dict[str, bytes] = {}

    def install(self, strategy: Strategy) -> bool:
        """Indexes come from the application's metadata alone."""
        return False

    def uninstall(self, name: str) -> bool:
        """As `install`."""
        return False

    def find(self, name: str) -> Strategy | None:
        """The index of this name, if an endpoint declares it."""
        declared = self._declared().get(name)
        if declared is None:
            return None
        index = declared.make()
        index.attach(self)
        for state in self._past():
            index.handle(state)
        return index

    def _declared(self) -> dict[str, Declared]:
        found: dict[str, Declared] = {}
        for _, raw in self._store.tx().map(tables.ENDPOINTS).foreach():
            try:
                row = load_json(raw)
                named = parse(row.get("indexes") if isinstance(row, dict) else None)
            except ValueError:
                # The endpoint tells its callers what is wrong with it.
                continue
            found.update({one.name: one for one in named.values()})
        return found

    # -- storage of bucketed indexes ------------------------------------------------------------

    def store(self, name: str, data: bytes, refused: Callable[[], None] | None = None) -> None:
        """Keep a bucket."""
        self._spilled[name] = data

    def load(self, name: str, reply: Callable[[bytes | None], None]) -> None:
        """Give it back at once."""
        reply(self._spilled.get(name))
