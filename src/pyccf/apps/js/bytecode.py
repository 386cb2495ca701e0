"""The ledger's table of compiled modules (spec: js-runtime.md §1.5).

The table is kept as the original keeps it: version of the engine, one entry per module, cleared
and rewritten together. It is never executed: the engine does not check bytecode it is given, so
that whoever could write the table could break the node's memory. What a matching table changes is
how modules are named (with a leading slash) and what /node/js_metrics tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyccf.apps.js.engine import VERSION_TEXT, Interpreter, JsError, JsThrow
from pyccf.apps.js.options import runtime_options
from pyccf.kv.changes import UNIT
from pyccf.kv.maps import AccessContext
from pyccf.service import tables

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx


def bytecode_in_use(tx: Tx, version: str = tables.MODULES_VERSION) -> bool:
    """Whether the table was made by this engine."""
    return tx.map(version).get(UNIT) == VERSION_TEXT.encode()


def bytecode_size(tx: Tx) -> int:
    """Bytes of all entries, whatever their version."""
    return sum(len(code) for _, code in tx.map(tables.MODULES_BYTECODE).foreach())


def refresh_bytecode(tx: Tx) -> None:
    """Compile every module of the application and store the result with the engine's version.

    Raises JsThrow when a module does not compile or imports a file that is not there.
    """
    from pyccf.apps.js.host.host import Host

    modules = tx.map(tables.MODULES)
    table = tx.map(tables.MODULES_BYTECODE)
    table.clear()
    tx.map(tables.MODULES_VERSION).set(UNIT, VERSION_TEXT.encode())
    host = Host(AccessContext.APP_RW)
    host.load = lambda name: modules.get(name.encode("utf-8", "surrogatepass"))
    bare = Interpreter(host, ())
    try:
        bare.limit(runtime_options(tx).limits.raised())
        for key, source in list(modules.foreach()):
            name = key.decode("utf-8", "surrogateescape")
            try:
                module = bare.compile(name, source)
                table.set(key, bare.vm.bytecode(module))
            except JsError:
                raise JsThrow(
                    "InternalError",
                    "Failed to refresh bytecode: Unable to serialize bytecode for JS module"
                    f" '{name}'",
                ) from None
    finally:
        bare.vm.close()
