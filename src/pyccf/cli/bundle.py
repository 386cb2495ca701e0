"""Finding an application in a folder, and packing a JavaScript one for `set_js_app`.

A folder holds one of (first match wins):

    app.py                     a Python application: the object `app` in it
    dist/                      what a TypeScript build left, laid out as below
    bundle.json                {"metadata": ..., "modules": [{"name", "module"}]}
    app.json, src/**           endpoint metadata, and every file under src as one module, but for
                               tests (*.test.js, *.test.mjs) and declarations (*.d.ts)

Instead of a folder, its bundle.json may be given, or a file with a proposal of `set_js_app`.

Source maps beside the modules travel inside them, see `source_maps`.

Spec: js-runtime.md §1.1. Refuses folders that are none of these, metadata that is not JSON, files
that are not UTF-8 text, and endpoints whose module is not there.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pyccf.appdev.discover import SUFFIXES
from pyccf.cli.reading import parse_json, read_text
from pyccf.cli.source_maps import with_maps
from pyccf.errors import LocalError
from pyccf.types import Json

PROBLEMS_SHOWN = 10
"""Problems of an application that are told at once."""

DECLARATIONS = (".d.ts", ".d.mts", ".d.cts")
"""Ends of the names of files that say nothing to an engine."""

PYTHON_APP = "app:app"
"""Object that a Python application's folder must define: `app` in app.py."""


class JsBundle(msgspec.Struct, frozen=True):
    """A JavaScript application as `set_js_app` takes it."""

    metadata: dict[str, Json]
    modules: list[dict[str, str]]

    @property
    def compiles(self) -> bool:
        """Whether every module is JavaScript, so that bytecode can be kept of it."""
        return all(module["name"].endswith((".js", ".mjs")) for module in self.modules)

    def as_json(self) -> dict[str, Json]:
        """The `bundle` argument of `set_js_app`."""
        return {"metadata": self.metadata, "modules": [dict(module) for module in self.modules]}


class PythonApp(msgspec.Struct, frozen=True):
    """A Python application: where it lies and which object it is."""

    folder: Path
    target: str = PYTHON_APP


def find_app(folder: Path, *, source_maps: bool = True) -> JsBundle | PythonApp:
    """The application in a folder or file. Raises LocalError naming what is missing or wrong."""
    found = _find(folder)
    if isinstance(found, JsBundle):
        modules = with_maps(found.modules, keep=source_maps)
        return msgspec.structs.replace(found, modules=modules)
    return found


def runnable_app(folder: Path, *, source_maps: bool = True) -> JsBundle | PythonApp:
    """The same, if a service can run it. Raises LocalError that tells where it cannot."""
    found = find_app(folder, source_maps=source_maps)
    if isinstance(found, JsBundle) and (wrong := problems_of(found)):
        raise LocalError(
            f"The application in {folder} cannot run: {wrong[0]}",
            hint="; ".join(wrong[1:PROBLEMS_SHOWN]) or "Nothing was sent to a service.",
        )
    return found


def problems_of(bundle: JsBundle) -> list[str]:
    """What is wrong with an application, with file and line where it is known."""
    from pyccf.appdev import check

    endpoints = bundle.metadata["endpoints"]
    assert isinstance(endpoints, dict), "find_app checked this"
    return check.problems({m["name"]: m["module"] for m in bundle.modules}, endpoints)


def _find(folder: Path) -> JsBundle | PythonApp:
    if folder.is_file():
        return _packed(folder)
    if not folder.is_dir():
        raise LocalError(f"There is no folder {folder}", hint="Give the folder of an application.")
    if (folder / "app.py").is_file():
        return PythonApp(folder.resolve())
    for place in (folder / "dist", folder):
        if (place / "bundle.json").is_file():
            return _packed(place / "bundle.json")
        if (place / "app.json").is_file() and _sources(place):
            return _unpacked(place)
    if (folder / "package.json").is_file():
        raise LocalError(
            f"The application in {folder} is not built yet",
            hint=f"Build it first: cd {folder} && npm install && npm run build",
        )
    raise LocalError(
        f"There is no application in {folder}",
        hint="Expected app.py, or app.json with src/, or a built dist/.",
    )


def _sources(place: Path) -> list[Path]:
    """Files under src, in order of their names; none if they still must be built."""
    files = sorted(
        path
        for path in (place / "src").rglob("*")
        if path.is_file()
        and not path.name.removesuffix(".map").endswith((*SUFFIXES, *DECLARATIONS))
    )
    return [] if any(path.suffix == ".ts" for path in files) else files


def _packed(path: Path) -> JsBundle:
    value = _json(path)
    match value.get("actions"):
        case [{"name": "set_js_app", "args": {"bundle": dict(proposed)}}]:
            value = proposed
    metadata, modules = value.get("metadata"), value.get("modules")
    if not isinstance(metadata, dict) or not isinstance(modules, list):
        raise LocalError(f"{path} is not a bundle: metadata and modules are needed")
    found = []
    for module in modules:
        if not isinstance(module, dict):
            raise LocalError(f"{path}: a module is not an object")
        name, text = module.get("name"), module.get("module")
        if not isinstance(name, str) or not isinstance(text, str):
            raise LocalError(f"{path}: a module needs a name and its text")
        found.append({"name": name, "module": text})
    return _checked(JsBundle(metadata, found), path)


def _unpacked(place: Path) -> JsBundle:
    root = place / "src"
    modules = [
        {"name": path.relative_to(root).as_posix(), "module": _text(path)}
        for path in _sources(place)
    ]
    return _checked(JsBundle(_json(place / "app.json"), modules), place / "app.json")


def _checked(bundle: JsBundle, path: Path) -> JsBundle:
    names = {module["name"] for module in bundle.modules}
    endpoints = bundle.metadata.get("endpoints")
    if not isinstance(endpoints, dict):
        raise LocalError(f"{path}: endpoints are missing")
    for url, methods in endpoints.items():
        for method, endpoint in methods.items() if isinstance(methods, dict) else ():
            module = endpoint.get("js_module") if isinstance(endpoint, dict) else None
            if not isinstance(module, str) or module not in names:
                raise LocalError(
                    f"{path}: {method.upper()} {url} names the module {module!r}, which is not"
                    " in the bundle",
                    hint=f"Modules: {', '.join(sorted(names)[:PROBLEMS_SHOWN])}",
                )
    return bundle


def _json(path: Path) -> dict[str, Json]:
    value = parse_json(_text(path), str(path))
    if not isinstance(value, dict):
        raise LocalError(f"{path} does not hold a JSON object")
    return value


def _text(path: Path) -> str:
    return read_text(str(path))
