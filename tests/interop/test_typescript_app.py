"""The TypeScript sample as esbuild leaves it: its tests pass, its failures name its sources."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pyccf.apps.js.traces import inline_map
from pyccf.cli.bundle import JsBundle, find_app
from pyccf.cli.main import main
from support.js_app import JsBench
from support.programs import program
from support.samples import sample


@pytest.fixture(scope="module")
def folder() -> Path:
    return sample("logging-ts")


def test_its_tests_pass(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "test", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] >= 9


def test_a_stack_trace_names_its_sources(folder: Path) -> None:
    app = find_app(folder)
    assert isinstance(app, JsBundle)
    (module,) = app.modules
    assert inline_map(module["module"].encode()) is not None
    assert "sourcesContent" not in module["module"]
    bench = JsBench()
    bench.install(
        {module["name"]: module["module"]},
        {"POST /x": f"{module['name']}:writeWithCertificatePrivate"},
    )
    bench.options(return_exception_details=True)
    # Without a certificate, which the endpoint's metadata would demand, the function fails.
    answer = bench.call("POST", "/x", b'{"id": 1, "msg": "m"}').json()
    (detail,) = answer["error"]["details"]  # type: ignore[index,call-overload]
    private = (folder / "src" / "private.ts").read_text().split("\n")
    line = next(n for n, text in enumerate(private, 1) if "pemToId" in text)
    assert f"(src/private.ts:{line})" in detail["trace"], detail["trace"]  # type: ignore[index]
    assert "(src/answers.ts:" in detail["trace"]  # type: ignore[index]


def test_the_bundle_that_the_package_makes_is_the_same(folder: Path, tmp_path: Path) -> None:
    """`ccf-build-bundle` of @microsoft/ccf-app, which many applications are built with."""
    shutil.copytree(folder / "dist", tmp_path / "dist")
    tool = folder / "node_modules" / ".bin" / "ccf-build-bundle"
    command = [program("node"), str(tool), str(tmp_path / "dist")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "dist" / "bundle.json").exists()
    assert find_app(tmp_path) == find_app(folder)
    assert find_app(tmp_path / "dist") == find_app(folder)
