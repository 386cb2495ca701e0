"""The samples as files: complete, alike, and free of what belongs to one machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pyccf.cli.bundle import JsBundle, PythonApp, find_app
from support.samples import SAMPLES, python_app

POLICIES = {"user_cert", "member_cert", "any_cert", "jwt", "user_cose_sign1", "no_auth"}
PRIMARY_IN_PYTHON = ("/count", "/custom_auth")
"""The native sample, which the Python one follows, has the primary answer these."""
EXPORT = re.compile(r"^export const (?:\{([^}]*)\}|(\w+)) =", re.MULTILINE)

Row = tuple[str, str, str, tuple[str, ...]]


def metadata(name: str) -> dict[str, Any]:
    found = json.loads((SAMPLES / name / "app.json").read_text())
    assert isinstance(found, dict)
    return found


def alternatives(endpoint: dict[str, Any]) -> list[str]:
    """Names of the policies of an endpoint, of which one must hold; all of several have none."""
    return [policy for policy in endpoint["authn_policies"] if isinstance(policy, str)]


def javascript_rows(name: str) -> dict[tuple[str, str], Row]:
    return {
        (url, verb.upper()): (
            endpoint["mode"],
            endpoint["forwarding_required"],
            endpoint["redirection_strategy"],
            tuple(alternatives(endpoint)),
        )
        for url, verbs in metadata(name)["endpoints"].items()
        for verb, endpoint in verbs.items()
    }


def python_rows() -> dict[tuple[str, str], Row]:
    return {
        (endpoint.path, endpoint.verb): (
            endpoint.mode.value,
            endpoint.forwarding.value,
            endpoint.redirection.value,
            tuple(policy.name for policy in endpoint.auth),
        )
        for endpoint in python_app("logging-py").endpoints()
    }


def test_the_three_offer_the_same_endpoints() -> None:
    rows = javascript_rows("logging")
    assert len(rows) == 29
    assert javascript_rows("logging-ts") == rows
    python = python_rows()
    for key, (mode, forwarding, redirection, policies) in rows.items():
        found = python[key]
        assert found[0] == mode, key
        if not key[0].endswith(PRIMARY_IN_PYTHON):
            assert found[1:3] == (forwarding, redirection), key
        assert set(policies) - {"no_auth"} <= set(found[3]), key


def test_readme_names_every_endpoint() -> None:
    text = (SAMPLES / "README.md").read_text()
    for url, _ in javascript_rows("logging"):
        tail = re.sub(r"^/log/(private|public)", "", url)
        assert f"{url}`" in text or f"{url} " in text or f"…{tail}" in text, url


def test_javascript_bundle_is_complete() -> None:
    bundle = find_app(SAMPLES / "logging")
    assert isinstance(bundle, JsBundle)
    assert bundle.compiles
    exports = {}
    for module in bundle.modules:
        names = {plain for _, plain in EXPORT.findall(module["module"])}
        exports[module["name"]] = names
        for target in re.findall(r'from "\./([^"]+)"', module["module"]):
            assert target in {m["name"] for m in bundle.modules}
    for verbs in metadata("logging")["endpoints"].values():
        for endpoint in verbs.values():
            assert endpoint["js_function"] in exports[endpoint["js_module"]]
            assert set(alternatives(endpoint)) <= POLICIES
            assert endpoint["openapi"]["summary"]


def test_python_app_is_found() -> None:
    assert find_app(SAMPLES / "logging-py") == PythonApp(SAMPLES / "logging-py")


def test_typescript_source_exports_what_its_metadata_names() -> None:
    source = SAMPLES / "logging-ts" / "src"
    names: set[str] = set()
    for path in (source / "private.ts", source / "public.ts", source / "caller.ts"):
        for renamed, plain in EXPORT.findall(path.read_text()):
            names |= set(re.findall(r": (\w+)", renamed)) | {plain}
    for verbs in metadata("logging-ts")["endpoints"].values():
        for endpoint in verbs.values():
            assert endpoint["js_module"] == "logging.js"
            assert endpoint["js_function"] in names


def test_lock_file_names_versions_and_digests_but_no_hosts() -> None:
    text = (SAMPLES / "logging-ts" / "package-lock.json").read_text()
    assert "http" not in text
    packages = json.loads(text)["packages"]
    wanted = json.loads((SAMPLES / "logging-ts" / "package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for name, package in packages.items():
        assert "resolved" not in package
        if name:
            assert package["integrity"].startswith("sha512-"), name


@pytest.mark.parametrize("name", ["logging", "logging-ts", "logging-py", "programmable-py"])
def test_texts_are_tidy(name: str) -> None:
    for path in sorted((SAMPLES / name).rglob("*")):
        hidden = {"node_modules", "dist", "__pycache__"} & set(path.parts)
        if path.is_file() and not hidden and path.suffix in (".js", ".ts", ".mjs", ".py"):
            _tidy(path)


def _tidy(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for number, line in enumerate(text.splitlines(), 1):
        assert line == line.rstrip(), f"{path}:{number}"
        assert len(line) <= 100, f"{path}:{number}"
    first = text.splitlines()[0]
    assert first.startswith(("//", '"""')), f"{path} does not say what it is"
