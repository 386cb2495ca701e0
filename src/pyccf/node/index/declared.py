"""Indexes that the JavaScript application names in the metadata of its endpoints.

They come and go with the committed endpoints table. A row that cannot be read names none: the
endpoint tells its callers what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable

from pyccf.apps.index import declared
from pyccf.codec.text import load_json
from pyccf.errors import LocalError
from pyccf.kv.store import Store
from pyccf.node.index.driver import Indexer
from pyccf.service import tables


class DeclaredIndexes:
    """Keeps the indexes of a node in step with what the application names."""

    def __init__(
        self, store: Store, indexer: Indexer, log: Callable[[str, str, str], None]
    ) -> None:
        self._store = store
        self._indexer = indexer
        self._log = log
        self._read_at = 0
        self._installed: set[str] = set()

    def tick(self) -> None:
        """Look whether the application was replaced."""
        version = self._store.map_version(tables.ENDPOINTS)
        if version == self._read_at or version > self._store.committed:
            return
        self._read_at = version
        wanted = self._wanted()
        for name in sorted(self._installed - wanted.keys()):
            self._indexer.uninstall(name)
            self._installed.discard(name)
        for name, one in wanted.items():
            try:
                if self._indexer.install(one.make()):
                    self._installed.add(name)
            except LocalError as e:
                # The application goes on without: endpoints that need it say so.
                self._log("fail", "index", f"{name} and what comes after it: {e.message}")
                return

    def _wanted(self) -> dict[str, declared.Declared]:
        found: dict[str, declared.Declared] = {}
        for _, raw in self._store.committed_tx().map(tables.ENDPOINTS).foreach():
            try:
                row = load_json(raw)
                named = declared.parse(row.get("indexes") if isinstance(row, dict) else None)
            except ValueError:
                continue
            for one in named.values():
                found.setdefault(one.name, one)
        return found
