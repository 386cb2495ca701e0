"""What a handler gets of a request's body: text, JSON or bytes, each as often as it asks."""

from __future__ import annotations

import sys

import pytest

from support.js_app import JsBench

SOURCE = """
export function text(request) { return {body: [request.body.text(), request.body.text()]}; }
export function json(request) { return {body: request.body.json()}; }
export function bytes(request) {
  const found = request.body.arrayBuffer();
  return {body: [found instanceof ArrayBuffer, Array.from(new Uint8Array(found))]};
}
export function argument(request) {
  try {
    return {body: request.body.arrayBuffer(1)};
  } catch (e) {
    return {body: `${e}`};
  }
}
"""


@pytest.fixture
def bench() -> JsBench:
    made = JsBench()
    names = ("text", "json", "bytes", "argument")
    made.install({"a.js": SOURCE}, {f"POST /{name}": f"a.js:{name}" for name in names})
    return made


def test_text_can_be_asked_for_twice(bench: JsBench) -> None:
    answer = bench.call("POST", "/text", "grün".encode())
    assert answer.json() == ["grün", "grün"]


def test_bytes_come_as_an_array_buffer(bench: JsBench) -> None:
    answer = bench.call("POST", "/bytes", b"\x00\xff\x80")
    assert answer.json() == [True, [0, 255, 128]]


def test_no_body_is_an_empty_array_buffer(bench: JsBench) -> None:
    assert bench.call("POST", "/bytes").json() == [True, []]


def test_what_is_no_json_is_an_exception(bench: JsBench) -> None:
    answer = bench.call("POST", "/json", b"{")
    assert answer.status == 500
    assert bench.call("POST", "/json", b'{"a": [1]}').json() == {"a": [1]}


def test_arguments_are_refused(bench: JsBench) -> None:
    answer = bench.call("POST", "/argument", b"x")
    assert b"TypeError: Passed 1 arguments, but expected none" in answer.body


@pytest.mark.parametrize("name", ["text", "argument", "json"])
def test_a_body_is_not_kept_when_its_request_is_over(bench: JsBench, name: str) -> None:
    """Each module has an interpreter of its own, and bodies may be large."""
    body = b"no JSON" * 1000
    before = sys.getrefcount(body)
    bench.call("POST", f"/{name}", body)
    assert sys.getrefcount(body) == before
