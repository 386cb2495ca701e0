"""The interpreter in which a file of tests runs, and what its `@pyccf/test` can do.

The tests' own `ccf` is that of a read-write endpoint over the tables of a `MemoryService`. What a
test wrote is committed before the application is called and before tables are looked at, so that
everybody sees the same rows. Modules come from the folder of the application; names that are not
there are looked up in its bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final, NoReturn

from pyccf.appdev.callers import parse_caller
from pyccf.appdev.dispatch import APP_PREFIX
from pyccf.appdev.memory import Answer, MemoryService
from pyccf.apps.context import Context
from pyccf.apps.js.engine import OTHER, UNDEFINED, Interpreter, JsThrow
from pyccf.apps.js.host import rows
from pyccf.apps.js.host.historical import state_object
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.host.row import Row, Scope
from pyccf.apps.router import Endpoint
from pyccf.codec.text import load_json
from pyccf.errors import LocalError, RpcError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.maps import AccessContext
from pyccf.kv.tx import MapHandle, Tx
from pyccf.types import SeqNo, TxID

LIBRARY: Final = "@pyccf/test"
RUNNER: Final = "@pyccf/runner"
_HARNESS = files("pyccf.appdev") / "harness"
_NATIVES = "__pyccf_test"

_RUNNER_SOURCE = f"""
import * as library from "{LIBRARY}";
export {{ begin, ended, planned }} from "{LIBRARY}/suites.js";
Object.assign(globalThis, library);
""".encode()


def library_types() -> str:
    """TypeScript declarations of `@pyccf/test`."""
    return (_HARNESS / "index.d.ts").read_text(encoding="utf-8")


class LiveMap:
    """A table in whatever transaction the tests are at: a script may keep a handle of it."""

    __slots__ = ("_bench", "_name")

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self._name = name

    def _now(self) -> MapHandle:
        return self._bench.current().map(self._name)

    def has(self, key: bytes) -> bool:
        return self._now().has(key)

    def get(self, key: bytes) -> bytes | None:
        return self._now().get(key)

    def previous_version(self, key: bytes) -> SeqNo | None:
        return self._now().previous_version(key)

    def foreach(self) -> Iterator[tuple[bytes, bytes]]:
        return self._now().foreach()

    def size(self) -> int:
        return self._now().size()

    def set(self, key: bytes, value: bytes) -> None:
        self._now().set(key, value)

    def delete(self, key: bytes) -> None:
        self._now().delete(key)

    def clear(self) -> None:
        self._now().clear()


class Bench(Host):
    """The host of one test file's interpreter."""

    __slots__ = ("_modules", "_staged", "folder", "loaded", "missing", "service")

    def __init__(self, service: MemoryService, folder: Path, modules: Mapping[str, str]) -> None:
        super().__init__(AccessContext.APP_RW)
        self.service = service
        self.folder = folder.resolve()
        self.loaded: dict[str, bytes] = {}
        """Every module that was asked for and found."""
        self.missing: str | None = None
        """The last one that was not found."""
        self._modules = modules
        self._staged: dict[str, dict[bytes, bytes | None]] = {}
        self.load = self.find
        self.machine = service.node
        self.begin()

    # -- transactions ---------------------------------------------------------------------------

    def begin(self) -> None:
        """A new transaction; what the one before wrote is forgotten."""
        self.tx = self.service.store.tx()
        self.said = 0
        request = Request("TEST", APP_PREFIX)
        session = Session(1, "test")
        endpoint = Endpoint(verb="TEST", path="", execute=_not_called)
        self.ctx = Context(request, session, self.tx, self.service.node, endpoint)

    def current(self) -> Tx:
        """The transaction that the tests are at."""
        assert self.tx is not None, "a bench always has one"
        return self.tx

    def settle(self) -> None:
        """Commit what the tests wrote."""
        self.service.commit(self.current())
        self.begin()

    def open_map(self, space: object, name: str) -> tuple[MapHandle, int]:
        """As for an endpoint, but the handle outlives the transaction."""
        handle, granted = super().open_map(space, name)  # type: ignore[arg-type]
        if space is not None:
            return handle, granted
        return LiveMap(self, name), granted  # type: ignore[return-value]

    # -- modules --------------------------------------------------------------------------------

    def find(self, name: str) -> bytes | None:
        """The text of a module; None, and its name in `missing`, if there is none."""
        found = self._find(name)
        if found is None:
            self.missing = name
        else:
            self.loaded[name] = found
        return found

    def _find(self, name: str) -> bytes | None:
        if name == LIBRARY:
            return (_HARNESS / "index.js").read_bytes()
        if name.startswith(LIBRARY + "/"):
            part = _HARNESS / name.removeprefix(LIBRARY + "/")
            return part.read_bytes() if part.is_file() else None
        path = self.folder / name.lstrip("/")
        if path.resolve().is_relative_to(self.folder) and path.is_file():
            return path.read_bytes()
        bundled = self._modules.get(name.lstrip("/"))
        return None if bundled is None else bundled.encode()

    # -- what `@pyccf/test` calls -----------------------------------------------------------------

    def call(
        self, verb: str, target: str, headers: str, body: bytes, caller: str
    ) -> dict[str, object]:
        """One request; `headers` and `caller` are JSON."""
        self.settle()
        named = load_json(headers)
        assert isinstance(named, dict), "the library makes it"
        path = target if target.startswith("/") else "/" + target
        request = Request(verb, APP_PREFIX + path, {k: str(v) for k, v in named.items()}, body)
        return _told(self.service.call(request, parse_caller(load_json(caller))))

    def read(self, table: str, key: bytes) -> bytes | None:
        """One row of any table."""
        self.settle()
        return self.current().map(table).get(key)

    def rows(self, table: str) -> list[object]:
        """All rows of any table, by key."""
        self.settle()
        return [[key, value] for key, value in self.current().map(table).foreach()]

    def tables(self) -> list[object]:
        """Names of the tables that were written and are not those of the node."""
        self.settle()
        names = sorted(self.service.store.maps)
        return [name for name in names if not name.startswith("public:ccf.")]

    def write(self, table: str, key: bytes, value: bytes | None) -> None:
        """Write or remove one row of any table."""
        self.settle()
        handle = self.current().map(table)
        if value is None:
            handle.delete(key)
        else:
            handle.set(key, value)

    def stage(self, table: str, key: bytes, value: bytes | None) -> None:
        """A row for the next `add`."""
        self._staged.setdefault(table, {})[key] = value

    def add(self) -> str:
        """Commit the staged rows as one transaction; its id."""
        self.settle()
        staged, self._staged = self._staged, {}
        txid = self.service.write(staged)
        self.begin()
        if txid is None:
            raise JsThrow("TypeError", "history.add needs rows: {table: {key: value}}")
        return str(txid)

    def state(self, txid: str) -> dict[str, object]:
        """A past transaction as scripts see it."""
        self.settle()
        parsed = TxID.parse(txid)
        if parsed is None:
            raise JsThrow("RangeError", f"{txid} is no transaction id, such as 2.17")
        try:
            return state_object(self.service.node.historical_state(self.the_request(), parsed))
        except RpcError as e:
            raise JsThrow("RangeError", e.message) from None

    def fetching(self, times: int) -> None:
        """How often the past is not there yet."""
        self.service.node.fetching = max(times, 0)

    def last(self) -> str:
        """The last transaction."""
        self.settle()
        return str(self.service.node.last_committed())


def _not_called(ctx: Context) -> NoReturn:
    raise AssertionError("tests are no endpoint")


def _told(answer: Answer) -> dict[str, object]:
    told: dict[str, object] = {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "txid": None if answer.txid is None else str(answer.txid),
    }
    if answer.claims_digest is not None:
        told["claimsDigest"] = answer.claims_digest
    return told


# -- rows for the engine ---------------------------------------------------------------------------


def _row(name: str, spec: str, minimum: int = -1) -> Row:
    def run(host: Bench, *given: object) -> object:
        # undefined arrives as a marker; natives here want None for it.
        arguments = [None if one is UNDEFINED else one for one in given]
        if OTHER in arguments:
            raise JsThrow("TypeError", f"{name} cannot use this kind of argument")
        method: Callable[..., object] = getattr(host, name)
        try:
            return method(*arguments)
        except LocalError as e:
            raise JsThrow("TypeError", e.message) from None

    return Row(_NATIVES, name, spec, run, minimum=minimum)


_ROWS = tuple(
    row.native()
    for row in (
        _row("call", "ssjbj"),
        _row("read", "sb"),
        _row("rows", "s"),
        _row("tables", ""),
        _row("write", "sbv"),
        _row("stage", "sbv"),
        _row("add", ""),
        _row("state", "s"),
        _row("fetching", "i"),
        _row("last", ""),
    )
)


def furnished(bench: Bench) -> tuple[Interpreter, int]:
    """An interpreter with the library loaded, and the number of the runner's module."""
    interpreter = Interpreter(bench, rows(Scope.APP) + _ROWS)
    interpreter.vm.tell_lines()
    number = interpreter.compile(RUNNER, _RUNNER_SOURCE)
    interpreter.evaluate(number)
    return interpreter, number
