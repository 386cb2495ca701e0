"""The TypeScript sample as esbuild leaves it: its tests pass, its failures name its sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyccf.apps.js.traces import inline_map
from pyccf.cli.bundle import JsBundle, find_app
from pyccf.cli.main import main
from support.js_app import JsBench
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
