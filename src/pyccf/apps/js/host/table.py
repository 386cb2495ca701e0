"""All rows in the order of the original, and their form for the engine."""

from __future__ import annotations

from functools import cache

from pyccf.apps.js.host import (
    consensus,
    console,
    converters,
    crypto,
    gov,
    historical,
    indexes,
    node,
    rpc,
    snp,
)
from pyccf.apps.js.host.row import Row

ALL: tuple[Row, ...] = (
    *console.ROWS,
    *converters.ROWS,
    *crypto.ROWS,
    *gov.ROWS,
    *consensus.ROWS,
    *historical.ROWS,
    Row("ccf", "kv", "", None),
    *rpc.ROWS,
    *node.ROWS,
    *snp.ROWS,
    *indexes.ROWS,
)


@cache
def rows(scope: int) -> tuple[object, ...]:
    """The native functions of one context, or of several together (`Scope`)."""
    return tuple(row.native() for row in ALL if row.scope & scope)
