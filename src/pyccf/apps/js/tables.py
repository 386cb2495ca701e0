"""Which tables hold a JavaScript application: governance's, or others under a prefix."""

from __future__ import annotations

import msgspec

from pyccf.service import tables


class JsTables(msgspec.Struct, frozen=True):
    """Names of the tables of one application (spec: js-runtime.md §1.3)."""

    endpoints: str = tables.ENDPOINTS
    modules: str = tables.MODULES
    modules_version: str = tables.MODULES_VERSION
    modules_bytecode: str = tables.MODULES_BYTECODE
    interpreter_flush: str = tables.INTERPRETER_FLUSH
    runtime_options: str = tables.JS_RUNTIME_OPTIONS


GOVERNED = JsTables()
"""Of the application that members install."""


def under(prefix: str) -> JsTables:
    """Of an application that users of another application install (spec: kv-and-tables.md §6)."""
    return JsTables(
        endpoints=f"{prefix}.metadata",
        modules=f"{prefix}.modules",
        modules_version=f"{prefix}.modules_quickjs_version",
        modules_bytecode=f"{prefix}.modules_quickjs_bytecode",
        interpreter_flush=f"{prefix}.interpreter_flush",
        runtime_options=f"{prefix}.runtime_options",
    )
