"""What the name of a table says: who may see it in the ledger, and what scripts may do with it.

A name starting with `public:` is written to the ledger in clear, every other one encrypted. What
follows decides the category: `ccf.internal.`, `ccf.gov.`, any other `ccf.` (reserved), application.
Category and execution context together give the access a script has. Comparison is exact:
`Public:x` and `public:CCF.gov.x` are ordinary application tables.
(spec: kv-and-tables.md §2, js-runtime.md §4.3)

Refuses (`LocalError`) names a script may not even mention, see `access`.
"""

from __future__ import annotations

from enum import Enum, Flag
from functools import lru_cache

from pyccf.errors import LocalError

PUBLIC_PREFIX = "public:"
INTERNAL_PREFIX = "ccf.internal."
GOVERNANCE_PREFIX = "ccf.gov."
RESERVED_PREFIX = "ccf."

ACCESS_CACHE_MAX = 4096
"""How many (name, context) answers are remembered."""
CACHED_NAME_MAX = 256
"""Characters of the names they are remembered for: scripts may ask for names of any length."""

_DOCUMENTATION = "https://microsoft.github.io/CCF/main/audit/read_write_restrictions.html"


class Category(Enum):
    """Whom a table belongs to."""

    INTERNAL = "internal"
    GOVERNANCE = "governance"
    RESERVED = "reserved"
    APPLICATION = "application"


class Access(Flag):
    """What a script may do with a table. The empty flag means: nothing at all."""

    ILLEGAL = 0
    READ = 1
    WRITE = 2
    READ_WRITE = 3


class AccessContext(Enum):
    """In which of the four situations a script runs; the value is its name in messages."""

    APP_RW = "application"
    APP_RO = "read-only application"
    GOV_RW = "read-write governance"
    GOV_RO = "read-only governance"

    # Members are compared by identity; the hash of Enum costs a call of Python's.
    __hash__ = object.__hash__


READ_METHODS = frozenset({"has", "get", "forEach", "size", "getVersionOfPreviousWrite"})
WRITE_METHODS = frozenset({"set", "delete", "clear"})


def is_public(name: str) -> bool:
    """Whether the table is written to the ledger in clear."""
    return name.startswith(PUBLIC_PREFIX)


def category(name: str) -> Category:
    """Whom the table belongs to, by what follows one optional `public:`."""
    rest = name.removeprefix(PUBLIC_PREFIX)
    if not rest.startswith(RESERVED_PREFIX):
        return Category.APPLICATION
    if rest.startswith(INTERNAL_PREFIX):
        return Category.INTERNAL
    if rest.startswith(GOVERNANCE_PREFIX):
        return Category.GOVERNANCE
    return Category.RESERVED


_RW, _R, _W, _NO = Access.READ_WRITE, Access.READ, Access.WRITE, Access.ILLEGAL

_COLUMNS = (AccessContext.APP_RW, AccessContext.APP_RO, AccessContext.GOV_RW, AccessContext.GOV_RO)

_TABLE: dict[tuple[bool, Category], tuple[Access, Access, Access, Access]] = {
    (False, Category.APPLICATION): (_RW, _R, _NO, _NO),
    (False, Category.INTERNAL): (_NO, _NO, _NO, _NO),
    (False, Category.GOVERNANCE): (_NO, _NO, _NO, _NO),
    (True, Category.INTERNAL): (_R, _R, _R, _R),
    (True, Category.GOVERNANCE): (_R, _R, _RW, _R),
    (True, Category.APPLICATION): (_RW, _R, _W, _NO),
}


def access(name: str, context: AccessContext) -> Access:
    """What a script running in `context` may do with the table `name`.

    Raises LocalError, with the text a request is refused with, for a reserved name.
    """
    found = category(name)
    if found is Category.RESERVED:
        rest = name.removeprefix(PUBLIC_PREFIX)
        raise LocalError(
            f"Map name '{rest}' includes disallowed reserved prefix '{RESERVED_PREFIX}'"
        )
    return _TABLE[is_public(name), found][_COLUMNS.index(context)]


@lru_cache(maxsize=ACCESS_CACHE_MAX)
def _rights(name: str, context: AccessContext) -> int:
    return access(name, context).value


def rights(name: str, context: AccessContext) -> int:
    """`access` as the number of its flags, for who asks often."""
    if len(name) > CACHED_NAME_MAX:
        return access(name, context).value
    return _rights(name, context)


def allows(granted: Access, method: str) -> bool:
    """Whether `method` (its name in scripts) may be called under the access granted."""
    assert method in READ_METHODS or method in WRITE_METHODS, method
    return bool(granted & (_R if method in READ_METHODS else _W))


def refusal(method: str, name: str, context: AccessContext, *, historical: bool = False) -> str:
    """The message of the TypeError a forbidden call throws.

    `historical` is for the tables of a historical state, where nothing can be written. For `size`
    the message ends, with a blank, after the table's name (recorded behaviour).
    """
    head = f'Cannot call "{method}" on table named {name}. '
    if method == "size":
        return head
    granted = access(name, context)
    if historical and granted is not _NO:
        return head + "All tables are read-only during historical transaction."
    kind = {_R: "read-only", _W: "write-only"}.get(granted, "inaccessible")
    return (
        f"{head}This table is {kind} in current ({context.value}) execution context. "
        f"See {_DOCUMENTATION} for more detail."
    )
