"""Bundles of custom endpoints: whatever is sent is installed or refused, and says why."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.apps.custom import bundle as bundles
from pyccf.apps.custom.bundle import MEMBERS, Bundle, Endpoints, Module, check
from pyccf.apps.custom.endpoints import CustomEndpoints
from pyccf.errors import RpcError

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["a.js", "/a.js", "f", "always", "never", "readwrite", "historical", "none"]),
    st.text(max_size=8),
    st.lists(
        st.sampled_from(["user_cert", "no_auth", "x", 3, {"all_of": ["jwt"]}, {}]), max_size=3
    ),
    st.dictionaries(st.sampled_from(["key", "x"]), st.text(max_size=3), max_size=2),
)
METADATA = st.dictionaries(st.sampled_from(sorted(MEMBERS)), VALUES)
USUAL = {
    "js_module": "a.js",
    "js_function": "f",
    "forwarding_required": "always",
    "authn_policies": ["no_auth"],
}
PATHS = st.one_of(
    st.sampled_from(["/custom/a", "/custom/{b}", "/custom/{b}/{b}", "/custom/{", "/x"]),
    st.text(max_size=12).map(lambda text: "/custom/" + text),
)
SOURCES = st.one_of(
    st.sampled_from(
        [
            "export function f() {}",
            'import "./a.js";',
            'import "b.js"; export const f = 1;',
            "await 1",
            "(" * 20_000,
            "x" * 50_000 + "(",
            "[" * 5_000 + "]" * 5_000,
        ]
    ),
    st.text(max_size=40),
)
BUNDLES = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {
                "endpoints": st.dictionaries(
                    PATHS,
                    st.dictionaries(
                        st.sampled_from(["get", "POST", "head", "x", ""]),
                        st.one_of(METADATA, METADATA.map(lambda more: {**USUAL, **more})),
                        max_size=2,
                    ),
                    max_size=3,
                )
            }
        ),
        "modules": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["a.js", "/a.js", "b.js", "", "/", "é.js", "../a.js"]),
                    "module": SOURCES,
                }
            ),
            max_size=3,
        ),
    }
)


def test_paths_with_parameters_that_may_be_installed() -> None:
    paths = ("/custom/{a}", "/custom/{a}/x.y/{b-c}", "/custom/{a}:act", "/custom/v1.0/{a}-{b};{c}")
    value = {
        "metadata": {"endpoints": {path: {"get": USUAL} for path in paths}},
        "modules": [{"name": "a.js", "module": "export function f() {}"}],
    }
    bundle = msgspec.json.decode(json.dumps(value), type=Bundle)
    assert set(check(bundle, "/custom/").endpoints) == {f"GET {path}".encode() for path in paths}


@settings(max_examples=150, deadline=None)
@given(BUNDLES)
def test_any_bundle_is_taken_or_refused(value: Any) -> None:
    bundle = msgspec.json.decode(json.dumps(value), type=Bundle)
    try:
        rows = check(bundle, "/custom/")
    except RpcError as e:
        refused = (e.status, e.code, bool(e.message))
    else:
        refused = None
    if refused is not None:
        assert refused == (400, "InvalidInput", True)
        return
    for key, row in rows.endpoints.items():
        verb, path = key.decode().split(" ")
        assert verb in ("GET", "POST")
        assert path.startswith("/custom/")
        assert json.loads(row)["js_module"].encode() in rows.modules


@pytest.mark.parametrize(
    ("prefix", "paths", "tables"),
    [
        ("public:custom.own", "/custom/", ("public:custom.",)),
        ("public:x", "custom/", ("custom.",)),
        ("public:x", "/custom", ("custom.",)),
        ("public:x", "/custom/", ("",)),
    ],
)
def test_what_an_application_must_not_do(prefix: str, paths: str, tables: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError):
        CustomEndpoints(prefix, paths=paths, tables=tables)


def test_all_modules_have_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them could be made to take as long to compile as one may."""
    names = ",".join(f"a{i}" for i in range(8000))
    slow = f"function f() {{ let {names}; {names.replace(',', ';')} }}"
    modules = [Module(f"m{i}.js", slow) for i in range(4)]
    monkeypatch.setattr(bundles, "COMPILE_MS", 60_000)
    assert len(check(Bundle(Endpoints({}), modules), "/custom/").modules) == len(modules)
    monkeypatch.setattr(bundles, "COMPILE_MS", 1)
    with pytest.raises(RpcError, match=r"The module /m\d\.js does not compile: .*interrupted"):
        check(Bundle(Endpoints({}), modules), "/custom/")
