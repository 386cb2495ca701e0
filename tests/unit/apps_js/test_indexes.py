"""`pyccf.index`: offered to endpoints that name indexes, and to no others."""

from __future__ import annotations

import pytest

from pyccf.apps.index import SeqnosByKey
from pyccf.apps.js.registry import BadMetadata
from pyccf.types import Json
from support.js_app import JsBench

APP = """
export function ask(request) {
  const [name, key, ...rest] = request.body.json();
  try {
    return {body: {seqnos: pyccf.index.seqnosOfKey(name, ccf.strToBuf(key), ...rest)}};
  } catch (e) {
    return {body: {threw: `${e.name}: ${e.message}`}};
  }
}
export function how_far() { return {body: pyccf.index.watermark("by_id")}; }
export function look() { return {body: typeof globalThis.pyccf}; }
"""

INDEXES: Json = {"by_id": {"map": "records"}}


def metadata(function: str, **more: Json) -> dict[str, Json]:
    return {"js_module": "app.js", "js_function": function, **more}


@pytest.fixture
def bench() -> JsBench:
    made = JsBench()
    made.install(
        {"app.js": APP},
        {
            "POST /ask": metadata("ask", indexes=INDEXES),
            "POST /shared": metadata("ask", indexes=INDEXES, interpreter_reuse={"key": "x"}),
            "GET /how_far": metadata("how_far", indexes=INDEXES),
            "GET /plain": metadata("look"),
            "GET /plain_shared": metadata("look", interpreter_reuse={"key": "x"}),
            "GET /wrong": metadata("look", indexes={"by_id": {"map": "m", "kind": "?"}}),
        },
    )
    return made


def indexed(bench: JsBench) -> SeqnosByKey:
    index = SeqnosByKey("records")
    for i in range(4):
        txid = bench.write({"records": {b"a" if i % 2 else b"b": b"v"}})
        index.handle(bench.services.states[txid.seqno])
    bench.services.indexes.install(index)
    return index


def ask(bench: JsBench, body: str, path: str = "/ask") -> Json:
    return bench.call("POST", path, body.encode()).json()


@pytest.mark.parametrize("path", ["/ask", "/shared"])
def test_seqnos_of_a_key(bench: JsBench, path: str) -> None:
    assert ask(bench, '["by_id", "a", 1, 2]', path) == {"seqnos": None}
    index = indexed(bench)
    last = index.watermark.seqno
    assert ask(bench, f'["by_id", "a", 1, {last}]', path) == {"seqnos": [last - 2, last]}
    assert ask(bench, f'["by_id", "a", 1, {last}, 1]', path) == {"seqnos": [last - 2]}
    assert ask(bench, f'["by_id", "?", 1, {last}]', path) == {"seqnos": []}
    assert ask(bench, f'["by_id", "a", 1, {last + 1}]', path) == {"seqnos": None}
    assert bench.call("GET", "/how_far").json() == last


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            '["other", "a", 1, 2]',
            "RangeError: No index other in the metadata",
        ),
        (
            '["by_id", "a", 2, 1]',
            "RangeError: Invalid range of transactions: end 1",
        ),
        ('["by_id", "a", -1, 1]', "RangeError: Invalid seqno: cannot be negative"),
        ('["by_id", "a", 1, 2, 0]', "RangeError: Invalid maximum: must be a positive integer"),
        ('["by_id", "a", 1, 2, "x"]', "RangeError: Invalid maximum: must be a positive integer"),
        ('["by_id", "a", 1]', "TypeError: Passed 3 arguments, but expected 5"),
    ],
)
def test_questions_that_make_no_sense(bench: JsBench, body: str, error: str) -> None:
    indexed(bench)
    threw = ask(bench, body)
    assert isinstance(threw, dict)
    assert str(threw["threw"]).startswith(error)


@pytest.mark.parametrize("path", ["/plain", "/plain_shared"])
def test_who_names_none_sees_nothing(bench: JsBench, path: str) -> None:
    ask(bench, '["by_id", "a", 1, 2]')
    ask(bench, '["by_id", "a", 1, 2]', "/shared")
    assert bench.call("GET", path).body == b"undefined"


def test_indexes_that_cannot_be_made_are_told(bench: JsBench) -> None:
    with pytest.raises(BadMetadata, match="index by_id cannot be of kind"):
        bench.call("GET", "/wrong")
