"""What clients and handlers of a Python application can do wrong, against a node in a process."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.wire import TXID, World, request

APP = """
import itertools
import re
import threading
import time

import msgspec
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.errors import LocalError

app = App(title="bad", version="1.0.0", max_execution_time_ms=600)
rows = Table("public:bad", key=int, value=str)


class Entry(msgspec.Struct):
    id: int
    msg: str


class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("secret")


@app.get("/good")
def good(ctx: AppContext) -> str:
    rows(ctx).get(1)
    return "good"


@app.post("/entry")
def entry(ctx: AppContext, body: Entry) -> bool:
    return True


@app.get("/typed/{id}")
def typed(ctx: AppContext, path: dict[str, int], query: dict[str, int]) -> int:
    return path["id"]


def recurse():
    return recurse()


FAILURES = {
    "KeyError": lambda: {}["secret"],
    "AssertionError": lambda: (_ for _ in ()).throw(AssertionError("secret")),
    "recursion": recurse,
    "hostile text": lambda: (_ for _ in ()).throw(Hostile()),
    "SystemExit": lambda: (_ for _ in ()).throw(SystemExit(3)),
    "StopIteration": lambda: next(iter(())),
    "MemoryError": lambda: bytearray(1 << 62),
    "UnicodeError": lambda: "\\ud800".encode(),
    "generator": lambda: (_ for _ in ()),
    "object": lambda: object(),
    "lone surrogate": lambda: "\\ud800",
    "bad status": lambda: Reply(99999),
    "status that announces another": lambda: Reply(100),
    "status text": lambda: Reply("x"),
    "body number": lambda: Reply(200, 5),
    "header name": lambda: Reply(200, None, {"a b": "c"}),
    "header number": lambda: Reply(200, None, {"a": 5}),
    "own error": lambda: (_ for _ in ()).throw(LocalError("this may be told")),
}


@app.post("/fail/{kind}")
def fail(ctx: AppContext, path: dict[str, str]) -> object:
    rows(ctx).set(1, "written")
    return FAILURES[path["kind"].replace("%20", " ")]()


def endless():
    while True:
        pass


def stubborn():
    while True:
        try:
            endless()
        except Exception:
            continue


def again_and_again():
    while True:
        rows(CTX[0]).set(2, "written")


ENDLESS = {
    "loop": endless,
    "loop that goes on after errors": stubborn,
    "loop over tables": again_and_again,
    "sleep": lambda: time.sleep(1000),
    "pattern": lambda: re.match("(a*)*b", "a" * 100),
    "generator": lambda: sum(1 for _ in itertools.count()),
    "lock": lambda: [lock.acquire() for lock in [threading.Lock()] for _ in range(2)],
}
CTX = [None]


@app.post("/endless/{kind}")
def never(ctx: AppContext, path: dict[str, str]) -> None:
    CTX[0] = ctx
    rows(ctx).set(1, "written")
    ENDLESS[path["kind"].replace("%20", " ")]()


@app.post("/ordered")
def ordered(ctx: AppContext) -> None:
    rows(ctx).set(3, "written")
    ctx.when_ordered(lambda txid: endless())


@app.post("/governed")
def governed(ctx: AppContext) -> None:
    rows(ctx).set(1, "written")
    ctx.kv("public:ccf.gov.members.info").set(b"x", b"y")
"""
FAILURES = (
    "KeyError",
    "AssertionError",
    "header name",
    "header number",
    "recursion",
    "hostile text",
    "SystemExit",
    "StopIteration",
    "MemoryError",
    "UnicodeError",
    "generator",
    "object",
    "lone surrogate",
    "bad status",
    "status text",
    "body number",
    "own error",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("bad_python")
    (folder / "bad_app.py").write_text(APP)
    made = World(folder, "--app", "bad_app:app", actions=[])
    with made.node:
        yield made
        assert made.node.stop() == 0
        assert made.node.err.read_text() == ""


@pytest.fixture
def unharmed(world: World) -> Iterator[World]:
    """The node, which must be none the worse afterwards."""
    before = world.settled("/app/good")
    yield world
    assert world.node.process.poll() is None
    after = world.get("/app/good")
    assert (after.status, after.body) == (200, b'"good"')
    assert after.headers[TXID] == before, "something was written"


BODIES: dict[str, bytes] = {
    "no JSON": b"{",
    "empty": b"",
    "another type": b"[]",
    "missing member": b'{"id":1}',
    "wrong member": b'{"id":"1","msg":"x"}',
    "fraction": b'{"id":1.5,"msg":"x"}',
    "null": b'{"id":null,"msg":"x"}',
    "not UTF-8": b'{"id":1,"msg":"\xff"}',
    "lone surrogate": b'{"id":1,"msg":"\\ud800"}',
    "another alphabet": '{"id":1,"msg":"x"}'.encode("utf-16"),
    "followed by more": b'{"id":1,"msg":"x"}{}',
    "deep": b'{"id":' + b"[" * 200_000,
    "NaN": b'{"id":NaN,"msg":"x"}',
    "infinite": b'{"id":1e999,"msg":"x"}',
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_do_not_fit_are_refused(unharmed: World, name: str) -> None:
    answer = unharmed.exchange(request("POST", "/app/entry", BODIES[name]))
    assert (answer.status, answer.code) == (400, "InvalidInput"), answer.body


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/app/typed/x", "InvalidInput"),
        ("/app/typed/1?a=b", "InvalidQueryParameterValue"),
        ("/app/typed/1e400", "InvalidInput"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(unharmed: World, target: str, code: str) -> None:
    answer = unharmed.get(target)
    assert (answer.status, answer.code) == (400, code), answer.body


@pytest.mark.parametrize(
    "kind",
    [
        "loop",
        "loop that goes on after errors",
        "loop over tables",
        "sleep",
        "pattern",
        "generator",
        "lock",
    ],
)
def test_a_handler_that_does_not_end_is_ended(unharmed: World, kind: str) -> None:
    before = len(unharmed.node.out.read_text())
    answer = unharmed.exchange(request("POST", f"/app/endless/{kind.replace(' ', '%20')}"))
    assert (answer.status, answer.code) == (500, "InternalError"), answer.body
    assert b"Internal error." in answer.body
    told = unharmed.node.out.read_text()[before:]
    assert "TookTooLong: It took longer than 600 ms (" in told
    assert ("re/__init__.py:" if kind == "pattern" else "bad_app.py:") in told


def test_what_is_told_last_ends_too(world: World) -> None:
    before = len(world.node.out.read_text())
    answer = world.exchange(request("POST", "/app/ordered"))
    assert (answer.status, answer.code) == (500, "InternalError"), answer.body
    assert "TookTooLong" in world.node.out.read_text()[before:]
    assert world.get("/app/good").status == 200


@pytest.mark.parametrize("kind", FAILURES)
def test_a_handler_that_fails_fails_alone(unharmed: World, kind: str) -> None:
    answer = unharmed.exchange(request("POST", f"/app/fail/{kind.replace(' ', '%20')}"))
    assert (answer.status, answer.code) == (500, "InternalError"), answer.body
    message = json.loads(answer.body)["error"]["message"]
    assert "secret" not in message
    assert ("this may be told" in message) == (kind == "own error")


def test_a_handler_cannot_write_governance(unharmed: World) -> None:
    answer = unharmed.exchange(request("POST", "/app/governed"))
    assert (answer.status, answer.code) == (500, "InternalError")
