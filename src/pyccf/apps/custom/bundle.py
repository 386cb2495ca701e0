"""A bundle of endpoints and modules, and whether it may be installed.

Refused (RpcError 400 `InvalidInput`, saying what is wrong where) is what could not be served: paths
outside the prefix, unusable metadata, modules that are missing or do not compile; and what would
let a script see more than its own tables: indexes, feeds, recorded requests.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pyccf.apps.js.engine import Interpreter, JsError, Limits
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.modules import key_of
from pyccf.apps.js.registry import BadMetadata, parse_metadata
from pyccf.apps.router import compile_template
from pyccf.codec.text import dump_json
from pyccf.errors import RpcError
from pyccf.http.methods import VERBS
from pyccf.kv.maps import AccessContext
from pyccf.types import Json

MODULES_MAX = 200
ENDPOINTS_MAX = 500
SOURCE_MAX = 1 << 20
"""Characters of all modules together."""
COMPILE_MS = 5000
NAME_MAX = 256
"""Characters of a path, of a module's name."""

MEMBERS = frozenset(
    {
        "authn_policies",
        "forwarding_required",
        "interpreter_reuse",
        "js_function",
        "js_module",
        "mode",
        "openapi",
        "openapi_hidden",
        "redirection_strategy",
    }
)
"""What an endpoint's metadata may say; what else there is opens doors to other tables."""

_TEMPLATE = re.compile(r"(?:[A-Za-z0-9/._~:@!&',;=%-]|\{[^{}]*\}(?![{.]))*").fullmatch
"""A path with parameters that matches any text in reasonable time. Outside of braces templates are
patterns, in which a dot is any character; and parameters that nothing certain follows share a text
in very many ways."""

VERBS_SERVED = frozenset(VERBS) - {"OPTIONS", "HEAD", "CONNECT", "TRACE"}


class Module(msgspec.Struct, forbid_unknown_fields=True):
    """One file: its name in imports, its source."""

    name: str
    module: str


class Endpoints(msgspec.Struct, forbid_unknown_fields=True):
    endpoints: dict[str, dict[str, dict[str, Any]]]


class Bundle(msgspec.Struct, forbid_unknown_fields=True):
    """An application as `set_js_app` takes it: metadata by path and verb, and modules."""

    metadata: Endpoints
    modules: list[Module]


class Checked(msgspec.Struct, frozen=True):
    """A bundle as rows of tables."""

    endpoints: dict[bytes, bytes]
    modules: dict[bytes, bytes]


def check(bundle: Bundle, prefix: str) -> Checked:
    """The rows of a bundle that may be installed. Raises RpcError."""
    modules = _modules(bundle.modules)
    rows: dict[bytes, bytes] = {}
    for path, verbs in bundle.metadata.endpoints.items():
        _check_path(path, prefix)
        for verb, members in verbs.items():
            upper = verb.upper()
            where = f"{upper} {path}"
            if upper not in VERBS_SERVED:
                raise _invalid(f"{where}: endpoints cannot have this verb")
            key = where.encode()
            if key in rows:
                raise _invalid(f"{where} is there twice")
            rows[key] = _metadata(where, members, modules)
    if len(rows) > ENDPOINTS_MAX:
        raise _invalid(f"A bundle has at most {ENDPOINTS_MAX} endpoints, not {len(rows)}")
    _compile(modules)
    return Checked(rows, modules)


def _modules(given: list[Module]) -> dict[bytes, bytes]:
    if len(given) > MODULES_MAX:
        raise _invalid(f"A bundle has at most {MODULES_MAX} modules, not {len(given)}")
    if sum(len(one.module) for one in given) > SOURCE_MAX:
        raise _invalid(f"The modules of a bundle have at most {SOURCE_MAX} characters together")
    found: dict[bytes, bytes] = {}
    for one in given:
        if not one.name.strip("/") or len(one.name) > NAME_MAX or "\0" in one.name:
            raise _invalid(f"A module's name has 1 to {NAME_MAX} characters and no NUL")
        key = key_of(one.name).encode()
        if key in found:
            raise _invalid(f"The module {one.name} is there twice")
        found[key] = one.module.encode()
    return found


def _check_path(path: str, prefix: str) -> None:
    if not path.startswith(prefix) or len(path) > NAME_MAX:
        raise _invalid(f"{path}: paths begin with {prefix} and have at most {NAME_MAX} characters")
    if not path.isascii() or not path.isprintable() or " " in path or "?" in path:
        raise _invalid(f"{path!a} is no path: only visible ASCII characters but ?")
    try:
        pattern = compile_template(path)
    except ValueError as e:
        raise _invalid(str(e)) from None
    if pattern is not None and _TEMPLATE(path) is None:
        raise _invalid(
            f"{path}: after a parameter of a path comes neither another one nor a dot, and beside"
            " parameters there are only letters, digits and /._~:@!&',;=%-"
        )


def _metadata(where: str, given: dict[str, Json], modules: dict[bytes, bytes]) -> bytes:
    """The row of an endpoint, as `set_js_app` would write it."""
    unknown = sorted(given.keys() - MEMBERS)
    if unknown:
        raise _invalid(f"{where}: custom endpoints have no {', '.join(unknown)}")
    try:
        members = dict(given)
        stored = members.get("js_module")
        if isinstance(stored, str):
            members["js_module"] = key_of(stored)
        row = dump_json(members)
        found = parse_metadata(row)
    except (BadMetadata, RecursionError) as e:
        raise _invalid(f"{where}: {e}") from None
    if found.module.encode() not in modules:
        raise _invalid(f"{where}: there is no module {stored}")
    if not found.function:
        raise _invalid(f"{where}: js_function is missing")
    return row


def _compile(modules: dict[bytes, bytes]) -> None:
    """Compile every module with all it imports, in so long altogether; nothing is run."""
    host = Host(AccessContext.APP_RO)
    host.load = lambda name: modules.get(key_of(name).encode("utf-8", "surrogatepass"))
    bare = Interpreter(host, ())
    try:
        bare.limit(Limits())
        bare.vm.together(COMPILE_MS)
        for key, source in modules.items():
            name = key.decode()
            try:
                bare.compile(name, source)
            except JsError as e:
                raise _invalid(f"The module {name} does not compile: {e.message}") from None
    finally:
        bare.vm.close()


def _invalid(message: str) -> RpcError:
    return RpcError(400, "InvalidInput", message)
