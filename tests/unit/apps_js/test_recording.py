"""pyccf.apps.js.recording: requests kept with what they wrote, where an endpoint asks for it."""

from __future__ import annotations

import json

import pytest

from pyccf.apps.js.recording import KEY, TABLE
from pyccf.apps.js.registry import BadMetadata
from pyccf.http.message import Request
from pyccf.types import Json
from support.js_app import JsBench

CODE = """
export function put(request) {
  if (request.query !== "nothing") { ccf.kv.t.set(ccf.strToBuf("k"), ccf.strToBuf("v")); }
  return { statusCode: request.query === "bad" ? 400 : 200 };
}
"""


def bench(**more: Json) -> JsBench:
    made = JsBench()
    row: dict[str, Json] = {"js_module": "m.js", "js_function": "put", **more}
    made.install({"m.js": CODE}, {"PUT /x": row})
    return made


def kept(bench: JsBench) -> bytes | None:
    return bench.store.tx().map(TABLE).get(KEY)


def test_nothing_is_kept_unless_asked_for() -> None:
    for made in (bench(), bench(record_request=False)):
        made.call("PUT", "/x")
        assert kept(made) is None


def test_the_last_request_that_wrote_is_kept_without_its_token() -> None:
    made = bench(record_request=True)
    answer = made.call("PUT", "/x", b"\x00\xff", {"Authorization": "Bearer x", "a": "b"})
    assert answer.status == 200
    row = kept(made)
    assert row is not None
    assert json.loads(row) == {
        "method": "PUT",
        "path": "/app/x",
        "headers": {"a": "b"},
        "body_base64": "AP8=",
        "caller": {"policy": "no_auth"},
    }
    made.run(Request("PUT", "/app/x?nothing"), "/x")
    made.run(Request("PUT", "/app/x?bad"), "/x")
    assert kept(made) == row


def test_a_request_that_writes_nothing_makes_no_transaction() -> None:
    made = bench(record_request=True)
    before = made.store.version
    made.run(Request("PUT", "/app/x?nothing"), "/x")
    assert made.store.version == before


def test_the_field_is_a_boolean() -> None:
    made = bench(record_request="yes")
    with pytest.raises(BadMetadata, match="record_request is not a boolean"):
        made.call("PUT", "/x")
