"""pyccf.cli.source_maps: maps beside modules come to lie inside them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pyccf.apps.js.traces import inline_map
from pyccf.cli.bundle import JsBundle, find_app
from pyccf.cli.source_maps import with_maps
from pyccf.errors import LocalError

MAP = json.dumps({"version": 3, "sources": ["a.ts"], "sourcesContent": ["!"], "mappings": "AAAA"})
INLINE = "data:application/json;base64," + base64.b64encode(MAP.encode()).decode()


def modules(**texts: str) -> list[dict[str, str]]:
    return [{"name": n.replace("__", "/"), "module": text} for n, text in texts.items()]


def only(found: list[dict[str, str]]) -> str:
    assert len(found) == 1
    return found[0]["module"]


@pytest.mark.parametrize(
    "given",
    [
        {"lib/a.js": "f()\n//# sourceMappingURL=a.js.map\n", "lib/a.js.map": MAP},
        {"lib/a.js": "f()\n//# sourceMappingURL=other%20.map\n", "lib/other .map": MAP},
        {"lib/a.js": "f()", "lib/a.js.map": MAP},
        {"lib/a.js": f"f()\n//# sourceMappingURL={INLINE}"},
    ],
)
def test_the_map_is_inside_and_without_the_sources(given: dict[str, str]) -> None:
    listed = [{"name": name, "module": text} for name, text in given.items()]
    text = only(with_maps(listed))
    raw = inline_map(text.encode())
    assert raw is not None
    assert json.loads(raw) == {"version": 3, "sources": ["a.ts"], "mappings": "AAAA"}
    assert text.startswith("f()\n//#")
    assert "sourceMappingURL" not in only(with_maps(listed, keep=False))


def test_what_is_no_map_stays() -> None:
    listed = [
        {"name": "a.js", "module": "// see sourceMappingURL\n//# sourceMappingURL=gone.map"},
        {"name": "data.map", "module": "treasure"},
        {"name": "b.js", "module": "x//# sourceMappingURL=data:text/plain,hm"},
        {"name": "c.js", "module": "x//# sourceMappingURL=data:application/json;base64,!"},
    ]
    assert with_maps(listed) == listed


@pytest.mark.parametrize("bad", ["no", "[]"])
def test_a_map_that_is_none_is_named(bad: str) -> None:
    with pytest.raises(LocalError, match=r"a\.js\.map"):
        with_maps([{"name": "a.js", "module": "f()"}, {"name": "a.js.map", "module": bad}])


def test_a_bundle_with_maps_still_compiles(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    endpoints = {"/x": {"get": {"js_module": "a.js", "js_function": "f"}}}
    (tmp_path / "app.json").write_text(json.dumps({"endpoints": endpoints}))
    (tmp_path / "src" / "a.js").write_text("f()\n//# sourceMappingURL=a.js.map")
    (tmp_path / "src" / "a.js.map").write_text(MAP)
    found = find_app(tmp_path)
    assert isinstance(found, JsBundle)
    assert found.compiles
    assert inline_map(found.modules[0]["module"].encode()) is not None
