"""pyccf.cli.bundle: which application a folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf.cli.bundle import JsBundle, PythonApp, find_app, runnable_app
from pyccf.errors import LocalError

SERVED = {"forwarding_required": "sometimes", "authn_policies": ["no_auth"]}


def write(folder: Path, **files: object) -> Path:
    """Write files named by path with `__` for `/` and `_dot_` for `.`."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def metadata(module: object) -> object:
    return {"endpoints": {"/x": {"get": {**SERVED, "js_module": module, "js_function": "f"}}}}


def test_metadata_and_sources(tmp_path: Path) -> None:
    write(tmp_path, app_dot_json=metadata("a/b.js"), src__a__b_dot_js="1", src__data_dot_json="{}")
    app = find_app(tmp_path)
    assert isinstance(app, JsBundle)
    assert app.modules == [
        {"name": "a/b.js", "module": "1"},
        {"name": "data.json", "module": "{}"},
    ]
    assert app.as_json()["metadata"] == metadata("a/b.js")
    assert not app.compiles


def test_packed_bundle(tmp_path: Path) -> None:
    bundle = {"metadata": metadata("a.js"), "modules": [{"name": "a.js", "module": "1"}]}
    write(tmp_path, bundle_dot_json=bundle)
    app = find_app(tmp_path)
    assert isinstance(app, JsBundle)
    assert app.as_json() == bundle
    assert app.compiles


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    bundle = {"metadata": metadata("a.js"), "modules": [{"name": "a.js", "module": "1"}]}
    action = {"name": "set_js_app", "args": {"bundle": bundle, "disable_bytecode_cache": False}}
    other = {"actions": [action, {"name": "remove_js_app"}]}
    write(tmp_path, b_dot_json=bundle, p_dot_json={"actions": [action]}, o_dot_json=other)
    for name in ("b.json", "p.json"):
        app = find_app(tmp_path / name)
        assert isinstance(app, JsBundle)
        assert app.as_json() == bundle
    with pytest.raises(LocalError, match=r"o\.json is not a bundle: metadata and modules"):
        find_app(tmp_path / "o.json")


def test_declarations_beside_modules_stay_behind(tmp_path: Path) -> None:
    write(tmp_path, dist__app_dot_json=metadata("a.js"), dist__src__a_dot_js="1")
    for name in ("a.d.ts", "a.d.ts.map", "b.d.mts"):
        (tmp_path / "dist" / "src" / name).write_text("export declare function f(): number;")
    app = find_app(tmp_path)
    assert isinstance(app, JsBundle)
    assert [module["name"] for module in app.modules] == ["a.js"]
    assert app.compiles


def test_a_build_wins_over_its_sources(tmp_path: Path) -> None:
    write(
        tmp_path,
        app_dot_json=metadata("a.js"),
        src__a_dot_ts="",
        package_dot_json={},
        dist__app_dot_json=metadata("a.js"),
        dist__src__a_dot_js="built",
    )
    app = find_app(tmp_path)
    assert isinstance(app, JsBundle)
    assert app.modules == [{"name": "a.js", "module": "built"}]


def test_python(tmp_path: Path) -> None:
    write(tmp_path, app_dot_py="")
    assert find_app(tmp_path) == PythonApp(tmp_path.resolve(), "app:app")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no application in"),
        ({"package_dot_json": {}, "app_dot_json": {}, "src__a_dot_ts": ""}, "not built yet"),
        ({"app_dot_json": "{", "src__a_dot_js": ""}, "is not JSON"),
        ({"app_dot_json": "[]", "src__a_dot_js": ""}, "does not hold a JSON object"),
        ({"app_dot_json": {}, "src__a_dot_js": ""}, "endpoints are missing"),
        ({"app_dot_json": metadata("b.js"), "src__a_dot_js": ""}, "'b.js', which is not in"),
        ({"app_dot_json": metadata(["b.js"]), "src__a_dot_js": ""}, r"\['b.js'\], which is not in"),
        ({"bundle_dot_json": {"metadata": {}}}, "not a bundle"),
        ({"bundle_dot_json": {"metadata": {}, "modules": [1]}}, "not an object"),
        ({"bundle_dot_json": {"metadata": {}, "modules": [{"name": "a"}]}}, "name and its text"),
    ],
)
def test_refusals(tmp_path: Path, files: dict[str, object], problem: str) -> None:
    with pytest.raises(LocalError, match=problem):
        find_app(write(tmp_path, **files))


def test_no_such_folder_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="There is no folder"):
        find_app(tmp_path / "none")
    write(tmp_path, app_dot_json=metadata("a.js"))
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.js").write_bytes(b"\xff")
    with pytest.raises(LocalError, match="not UTF-8"):
        find_app(tmp_path)


def test_what_cannot_run_is_not_sent(tmp_path: Path) -> None:
    source = "export const g = () => ({});"
    place = write(tmp_path, app_dot_json=metadata("a.js"), src__a_dot_js=source)
    with pytest.raises(LocalError, match=r"a\.js does not export f") as caught:
        runnable_app(place)
    assert "Nothing was sent" in caught.value.explain()
    (place / "src" / "a.js").write_text("export const f = () => ({});")
    assert isinstance(runnable_app(place), JsBundle)


def test_modules_are_named_as_the_constitution_compares_them(tmp_path: Path) -> None:
    place = write(tmp_path, app_dot_json=metadata("/a.js"), src__a_dot_js="1")
    with pytest.raises(LocalError, match=r"names the module '/a\.js', which is not in the bundle"):
        find_app(place)
