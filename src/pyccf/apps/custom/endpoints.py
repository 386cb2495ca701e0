"""Custom endpoints in their tables, and served from there.

One set of tables holds one application; installing another replaces it. A `CustomEndpoints` belongs
to one node: it keeps interpreters for the tables that it saw.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.custom import bundle
from pyccf.apps.js.confined import ConfinedHost
from pyccf.apps.js.engine import HEAP_DEFAULT, STACK_DEFAULT, TIME_DEFAULT_MS
from pyccf.apps.js.modules import key_of
from pyccf.apps.js.options import INTERPRETERS_DEFAULT
from pyccf.apps.js.registry import JsApp
from pyccf.apps.js.tables import under
from pyccf.codec.text import dump_json, load_json
from pyccf.errors import RpcError
from pyccf.kv.changes import UNIT
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.apps.python import AppContext
    from pyccf.apps.router import Endpoint
    from pyccf.kv.tx import Tx

PREFIX = "public:custom_endpoints"
PATHS = "/custom/"
TABLES = ("public:custom.", "custom.")

HEAP_MIN = 1 << 20
STACK_MIN = 1 << 14
TIME_MIN_MS = 10


class Options(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Runtime options to change; what is left out stays as it is."""

    max_heap_bytes: int | None = None
    max_stack_bytes: int | None = None
    max_execution_time_ms: int | None = None
    max_cached_interpreters: int | None = None
    log_exception_details: bool | None = None
    return_exception_details: bool | None = None


BOUNDS: dict[str, tuple[int, int]] = {
    "max_heap_bytes": (HEAP_MIN, HEAP_DEFAULT),
    "max_stack_bytes": (STACK_MIN, STACK_DEFAULT),
    "max_execution_time_ms": (TIME_MIN_MS, TIME_DEFAULT_MS),
    "max_cached_interpreters": (0, INTERPRETERS_DEFAULT),
}
"""Users may lower what their scripts may use, and raise it again to what members allow."""


class CustomEndpoints:
    """Endpoints that users installed: a `Dynamic` of a Python application."""

    def __init__(
        self, prefix: str = PREFIX, *, paths: str = PATHS, tables: tuple[str, ...] = TABLES
    ) -> None:
        """`prefix` names the tables that hold the endpoints, `paths` is what theirs begin with,
        `tables` what the names of tables begin with that their scripts may use."""
        assert paths.startswith("/"), "paths of an application begin with a slash"
        assert paths.endswith("/"), "a prefix of whole segments"
        assert not prefix.startswith(tables), "scripts must not install scripts"
        self.paths = paths
        self.names = under(prefix)
        self._js = JsApp(names=self.names, make_host=partial(ConfinedHost, prefixes=tuple(tables)))

    # -- for the application ---------------------------------------------------------------------

    def lookup(self, tx: Tx, verb: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint and its raw path parameters; None for other paths."""
        return self._js.lookup(tx, verb, path) if path.startswith(self.paths) else None

    def verbs(self, tx: Tx, path: str) -> set[str]:
        """Verbs under which the path is known."""
        return self._js.verbs(tx, path) if path.startswith(self.paths) else set()

    # -- for its handlers ------------------------------------------------------------------------

    def install(self, ctx: AppContext, given: bundle.Bundle) -> None:
        """Replace all endpoints and modules. Raises RpcError for what cannot be installed."""
        rows = bundle.check(given, self.paths)
        self.remove(ctx)
        modules, endpoints = ctx.kv(self.names.modules), ctx.kv(self.names.endpoints)
        for key, source in rows.modules.items():
            modules.set(key, source)
        for key, row in rows.endpoints.items():
            endpoints.set(key, row)

    def remove(self, ctx: AppContext) -> None:
        """Remove all endpoints and modules. Options stay."""
        for name in (
            self.names.endpoints,
            self.names.modules,
            self.names.modules_bytecode,
            self.names.modules_version,
        ):
            ctx.kv(name).clear()
        ctx.kv(self.names.interpreter_flush).set(UNIT, b"true")

    def endpoints(self, ctx: AppContext) -> dict[str, dict[str, Json]]:
        """Metadata by path and verb."""
        found: dict[str, dict[str, Json]] = {}
        for key, row in ctx.kv(self.names.endpoints).items():
            verb, _, path = key.decode().partition(" ")
            found.setdefault(path, {})[verb] = load_json(row)
        return found

    def endpoint(self, ctx: AppContext, verb: str, path: str) -> Json:
        """Metadata of one endpoint. Raises RpcError 404."""
        row = ctx.kv(self.names.endpoints).get(f"{verb.upper()} {path}".encode())
        if row is None:
            raise _missing(f"There is no custom endpoint {verb.upper()} {path}")
        return load_json(row)

    def modules(self, ctx: AppContext) -> list[str]:
        """Names of all modules."""
        return [key.decode() for key, _ in ctx.kv(self.names.modules).items()]

    def module(self, ctx: AppContext, name: str) -> str:
        """Source of one module. Raises RpcError 404."""
        source = ctx.kv(self.names.modules).get(key_of(name).encode())
        if source is None:
            raise _missing(f"There is no module {name}")
        return source.decode()

    def options(self, ctx: AppContext) -> dict[str, Json]:
        """All options in force."""
        raw = ctx.kv(self.names.runtime_options).get(UNIT)
        stored = {} if raw is None else load_json(raw)
        assert isinstance(stored, dict), "only `change_options` writes this row"
        return {**_DEFAULTS, **stored}

    def change_options(self, ctx: AppContext, given: Options) -> dict[str, Json]:
        """Change some options; all that are in force then. Raises RpcError for what is out of
        bounds."""
        changed: dict[str, Json] = {
            name: value
            for name, value in msgspec.structs.asdict(given).items()
            if value is not None
        }
        for name, (least, most) in BOUNDS.items():
            value = changed.get(name)
            if isinstance(value, int) and not least <= value <= most:
                raise RpcError(
                    400, "InvalidInput", f"{name} must be from {least} to {most}, not {value}"
                )
        options = {**self.options(ctx), **changed}
        ctx.kv(self.names.runtime_options).set(UNIT, dump_json(options))
        return options


_DEFAULTS: dict[str, Json] = {
    **{name: most for name, (_, most) in BOUNDS.items()},
    "log_exception_details": False,
    "return_exception_details": False,
}


def _missing(message: str) -> RpcError:
    return RpcError(404, "ResourceNotFound", message)
