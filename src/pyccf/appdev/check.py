"""What is wrong with scripts, found before a service is asked to take them.

A service says of a module that does not compile that it "could not be serialized", and of a
function that is not there nothing until somebody calls it. Here each problem comes with file and
line. Nothing is judged that depends on requests or tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pyccf.apps.js.engine import Interpreter, JsError
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.registry import BadMetadata, parse_metadata
from pyccf.codec.text import dump_json
from pyccf.kv.maps import AccessContext
from pyccf.types import Json

SCRIPTS = (".js", ".mjs")

_PLACE = re.compile(r":(\d+):\d+$")
"""Where in a source: line and column, at the end of the first line of a stack."""


class NoScript(Exception):
    """A source does not compile; `line` is where, if that is known."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def compile_script(name: str, source: str) -> None:
    """See that a script of governance compiles, which can import nothing. Raises NoScript."""
    modules = _Modules({name: source})
    try:
        modules.compile(name)
    except NoScript:
        if modules.asked:
            raise NoScript(f"It imports {modules.asked[0]}, and can import nothing", None) from None
        raise
    finally:
        modules.close()


def problems(modules: Mapping[str, str], endpoints: Mapping[str, Json]) -> list[str]:
    """What is wrong with an application: modules by name, endpoints as in app.json.

    Modules that do not compile, imports of what is not there, endpoints whose metadata cannot be
    used or whose function is not exported.
    """
    named = {name.lstrip("/"): text for name, text in modules.items()}
    return [*_of_modules(named), *_of_endpoints(named, endpoints)]


def _of_modules(named: Mapping[str, str]) -> Iterator[str]:
    for name in named:
        if not name.endswith(SCRIPTS):
            continue
        modules = _Modules(named)
        try:
            modules.link(name)
        except NoScript as error:
            missing = [other for other in modules.asked if other not in named]
            if error.line is not None:
                yield f"{name}:{error.line}: {error.message}"
            elif missing:
                yield f"{name} imports {missing[0]}, which is not in the bundle"
            elif modules.linking:
                yield f"{name}: {error.message}"
            # Else a module that it imports does not compile, which is told of that one.
        finally:
            modules.close()


def _of_endpoints(named: Mapping[str, str], endpoints: Mapping[str, Json]) -> Iterator[str]:
    for url, verbs in endpoints.items():
        for verb, metadata in verbs.items() if isinstance(verbs, dict) else ():
            try:
                read = parse_metadata(dump_json(metadata))
            except BadMetadata as error:
                yield f"{verb.upper()} {url}: {error}"
                continue
            name, function = read.module.lstrip("/"), read.function
            modules = _Modules(named)
            try:
                exported = name not in named or modules.exports(name, function)
            except NoScript:
                exported = True  # told of the module
            finally:
                modules.close()
            if not exported:
                yield f"{verb.upper()} {url}: {name} does not export {function or 'anything'}"


class _Modules:
    """An engine that knows some modules and nothing else: neither `ccf` nor `console`."""

    def __init__(self, named: Mapping[str, str]) -> None:
        self._named = named
        self.asked: list[str] = []
        """Modules that were imported."""
        self.linking = False
        """Whether all is compiled."""
        host = Host(AccessContext.APP_RW)
        host.load = self._load
        self._engine = Interpreter(host, ())

    def close(self) -> None:
        self._engine.vm.close()

    def _load(self, name: str) -> bytes | None:
        plain = name.lstrip("/")
        self.asked.append(plain)
        return self._source(plain) if plain in self._named else None

    def _source(self, name: str) -> bytes:
        return self._named[name].encode("utf-8", "surrogatepass")

    def compile(self, name: str) -> int:
        """Number of a module that compiles, with all it imports. Raises NoScript."""
        try:
            return self._engine.compile(name, self._source(name))
        except JsError as error:
            place = _PLACE.search((error.exact_trace or "").partition("\n")[0])
            raise NoScript(error.message, None if place is None else int(place[1])) from None

    def link(self, name: str) -> int:
        """The same, of one whose imports are exported where they come from. Raises NoScript.

        Its body runs; what it throws, without `ccf`, tells nothing.
        """
        module = self.compile(name)
        self.linking = True
        try:
            self._engine.evaluate(module)
        except JsError as error:
            if not error.timed_out:
                raise NoScript(error.message, None) from None
        return module

    def exports(self, name: str, function: str) -> bool:
        """Whether a module exports something of this name. Raises NoScript."""
        return self._engine.parameters(self.link(name), function) is not None
