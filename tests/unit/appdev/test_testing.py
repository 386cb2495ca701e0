"""pyccf.appdev.testing: what becomes of tests, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyccf.appdev.bench import library_types
from pyccf.appdev.testing import CaseResult, FileResult, run_file
from pyccf.types import Json

APP = """
import { key } from "./lib.js";
export function put(request) {
  ccf.kv.t.set(key(request.params.id), request.body.arrayBuffer());
  console.log("put by", request.caller.id);
  ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", request.body.arrayBuffer()));
  return { statusCode: 204 };
}
export function get(request) {
  const found = ccf.kv.t.get(key(request.params.id));
  return found ? { body: ccf.bufToStr(found) } : { statusCode: 404 };
}
export function past() {
  return { body: ccf.bufToStr(ccf.historicalState.kv.t.get(key("1"))) };
}
export function range() {
  const { seqno } = ccf.consensus.getLastCommittedTxId();
  const states = ccf.historical.getStateRange(1, seqno, seqno, 9);
  return states ? { body: states[0].transactionId } : { statusCode: 202 };
}
export function echo(request) {
  const { method, path, query, headers, caller } = request;
  return { body: { method, path, query, headers, caller, text: request.body.text() } };
}
export function fail() { throw new TypeError("on purpose"); }
"""
LIB = "export const key = (id) => ccf.strToBuf(String(id));"
MODULES = {"app.js": APP, "lib.js": LIB}


def endpoint(function: str, mode: str = "readwrite", *policies: Json) -> dict[str, Json]:
    return {
        "js_module": "app.js",
        "js_function": function,
        "mode": mode,
        "forwarding_required": "sometimes",
        "authn_policies": list(policies) or ["no_auth"],
    }


ENDPOINTS: dict[str, Json] = {
    "/x/{id}": {
        "put": endpoint("put", "readwrite", "user_cert"),
        "get": endpoint("get", "readonly"),
    },
    "/past": {"get": endpoint("past", "historical")},
    "/range": {"get": endpoint("range", "readonly")},
    "/echo": {
        "post": endpoint(
            "echo", "readwrite", {"all_of": ["user_cert", "jwt"]}, "user_cert", "no_auth"
        )
    },
    "/fail": {"get": endpoint("fail")},
}

IMPORTS = """
import {
  afterAll, afterEach, app, beforeAll, beforeEach, describe, expect, fn, history, it, kv, test,
} from "@pyccf/test"; import { key } from "../src/lib.js";
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "test").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "src" / name).write_text(text)
    return tmp_path


def run(folder: Path, body: str, *, wanted: str = "", timeout_ms: int = 5000) -> FileResult:
    (folder / "test" / "a.test.js").write_text(IMPORTS + body)
    return run_file(
        folder, "test/a.test.js", MODULES, ENDPOINTS, wanted=wanted, timeout_ms=timeout_ms
    )


def results(folder: Path, body: str, **options: str | int) -> list[CaseResult]:
    result = run(folder, body, **options)  # type: ignore[arg-type]
    assert result.error is None, result.error
    return result.tests


def passes(folder: Path, body: str) -> None:
    """All of some statements hold, as one test."""
    (only,) = results(folder, f"it('t', async () => {{ {body} }});")
    assert only.status == "passed", only.error


def told(results: list[CaseResult]) -> list[tuple[str, str]]:
    return [(" > ".join(one.path), one.status) for one in results]


# -- the application ------------------------------------------------------------------------------


def test_requests_go_the_way_of_a_service(folder: Path) -> None:
    passes(
        folder,
        """
        const alice = app.as({ policy: "user_cert", id: "alice" });
        const put = alice.put("/x/1", { body: "hello" });
        expect(put).toHaveStatus(204);
        expect(put.txid).toMatch(/^2\\.\\d+$/);
        expect(put.headers["x-ms-ccf-transaction-id"]).toBe(put.txid);
        expect(put.claimsDigest).toEqual(ccf.crypto.digest("SHA-256", ccf.strToBuf("hello")));
        const got = app.get("/x/1");
        expect([got.ok, got.text(), got.txid]).toEqual([true, "hello", null]);
        expect(app.put("/x/1", { body: "x" })).toHaveStatus(401);
        expect(app.put("/x/1", { caller: "member_cert" }).json().error.details[0].message)
          .toMatch("member_cert");
        expect(app.get("/nowhere")).toHaveStatus(404);
        const wrong = app.delete("/x/1");
        expect([wrong.status, wrong.headers.allow]).toEqual([405, "OPTIONS, GET, PUT"]);
        expect(app.get("/fail").json().error.message).toBe("Exception thrown while executing.");
        """,
    )


def test_a_request_arrives_as_it_was_given(folder: Path) -> None:
    passes(
        folder,
        """
        const jwt = { keyIssuer: "me", header: { kid: "1" }, payload: { sub: "a" } };
        const all = { policy: ["user_cert", "jwt"], user_cert: { id: "u", data: 1 }, jwt: { jwt } };
        const { caller, ...rest } = app.post("/echo?a=1", {
          caller: all, query: { b: "x y", c: 2 }, body: { deep: [1] }, headers: { "X-One": 1 },
        }).json();
        expect(rest).toEqual({
          method: "POST", path: "/app/echo", query: "a=1&b=x y&c=2", text: '{"deep":[1]}',
          headers: { "content-length": "12", "content-type": "application/json", "x-one": "1" },
        });
        expect(caller.policy).toEqual(["jwt", "user_cert"]);
        expect([caller.jwt.jwt, caller.user_cert.id, caller.user_cert.data]).toEqual([jwt, "u", 1]);
        expect(app.post("/echo").json().caller).toEqual({ policy: "no_auth" });
        expect(app.post("/echo", { body: new Uint8Array([65]) }).json().text).toBe("A");
        expect(() => app.post("/echo", { caller: 3 })).toThrow("name of a policy");
        expect(() => app.post("/echo", { caller: { id: "x" } })).toThrow("caller.policy");
        """,
    )


def test_the_past(folder: Path) -> None:
    passes(
        folder,
        """
        const id = history.add({ t: { 1: "was" } });
        const headers = { "x-ms-ccf-transaction-id": id };
        expect(app.get("/past", { headers }).text()).toBe("was");
        expect(app.get("/past")).toHaveStatus(404);
        expect(app.get("/past",
          { headers: { "x-ms-ccf-transaction-id": "2.99" } })).toHaveStatus(404);
        expect(app.get("/range").text()).toBe(id);
        history.fetching(2);
        expect([1, 2, 3].map(() => app.get("/range").status)).toEqual([202, 202, 200]);
        history.fetching(1);
        expect([1, 2].map(() => app.get("/past", { headers }).status)).toEqual([202, 200]);
        expect(ccf.bufToStr(history.state(id).kv.t.get(key(1)))).toBe("was");
        expect(history.state(id).receipt.is_signature_transaction).toBe(false);
        expect(history.last()).toBe(id);
        expect(() => history.state("2.99")).toThrow(RangeError);
        expect(() => history.add({})).toThrow("needs rows");
        """,
    )


def test_tables_are_seen_by_all_sides(folder: Path) -> None:
    passes(
        folder,
        """
        ccf.kv.t.set(key("1"), key("mine"));
        const handle = ccf.kv.t;
        expect(app.get("/x/1").text()).toBe("mine");
        expect(handle.size).toBe(1);
        kv.set("t", "2", { a: [1] });
        expect(kv.get("t", "2")).toEqual({ a: [1] });
        expect(ccf.bufToJsonCompatible(handle.get(key("2")))).toEqual({ a: [1] });
        expect(kv.entries("t")).toEqual([[1, "mine"], [2, { a: [1] }]]);
        expect([kv.size("t"), kv.has("t", "2"), kv.tables()]).toEqual([2, true, ["t"]]);
        kv.delete("t", "2");
        expect(kv.get("t", "2")).toBeUndefined();
        kv.set("t", "b", new Uint8Array([255, 0]));
        expect(kv.raw("t", "b")).toEqual(new Uint8Array([255, 0]).buffer);
        const seen = [];
        handle.forEach((value, k) => { seen.push(ccf.bufToStr(k)); handle.delete(k); });
        expect([seen, handle.size]).toEqual([["1", "b"], 0]);
        kv.set("public:ccf.gov.users.info", "u", { user_data: 1 });
        expect(kv.get("public:ccf.gov.users.info", "u")).toEqual({ user_data: 1 });
        expect(() => ccf.kv["public:ccf.gov.users.info"].clear()).toThrow("read-only");
        expect(() => ccf.kv["ccf.x"]).toThrow;
        expect(typeof __pyccf_test).toBe("undefined");
        """,
    )


def test_output_belongs_to_its_test_and_failures_of_endpoints_are_in_it(folder: Path) -> None:
    one, two = results(
        folder,
        """
        it("one", () => { console.log("a"); app.put("/x/1", { caller: { policy: "user_cert",
          id: "u" } }); });
        it("two", () => { expect(app.get("/fail")).toHaveStatus(200); });
        """,
    )
    assert [line.text for line in one.output] == ["a", "put by u"]
    assert one.status == "passed"
    assert two.error is not None
    assert "Exception thrown while executing" in two.error.message
    assert two.output[0].text == "TypeError: on purpose\n    at fail (app.js:25)\n"


# -- between tests --------------------------------------------------------------------------------


def test_tables_go_back_to_what_they_were(folder: Path) -> None:
    found = results(
        folder,
        """
        const names = () => kv.entries("t").map(([k]) => k).join("");
        describe("outer", () => {
          beforeAll(() => { kv.set("t", "a", "1"); });
          beforeEach(() => { ccf.kv.t.set(key("b"), key("1")); });
          it("one", () => { kv.set("t", "c", "1"); expect(names()).toBe("abc"); });
          it("two", () => { expect(names()).toBe("ab"); });
          describe("inner", () => {
            beforeAll(() => { kv.set("t", "d", "1"); });
            it("three", () => { expect(names()).toBe("abd"); });
          });
          it("four", () => { expect(names()).toBe("ab"); });
        });
        it("five", () => { expect(names()).toBe(""); });
        """,
    )
    assert [status for _, status in told(found)] == ["passed"] * 5


def test_hooks_run_in_order(folder: Path) -> None:
    found = results(
        folder,
        """
        const order = [];
        beforeAll(async () => { await null; order.push("A"); });
        beforeEach(() => { order.push("b"); });
        afterEach(() => { order.push("e"); });
        afterAll(() => { console.log(order.join("")); });
        describe("in", () => {
          beforeAll(() => { order.push("I"); });
          beforeEach(() => { order.push("i"); });
          afterEach(() => { order.push("j"); });
          afterAll(() => { order.push("J"); });
          it("t", () => { order.push("t"); throw Error("x"); });
        });
        it("u", () => { expect(order.join("")).toBe("AIbitjeJb"); });
        """,
    )
    assert told(found) == [("in > t", "failed"), ("u", "passed")]


def test_a_hook_that_fails(folder: Path) -> None:
    found = results(
        folder,
        """
        describe("a", () => { beforeAll(() => { null.x; }); it("one", () => {}); describe("deep",
          () => {
          it("two", () => {}); }); it.skip("three", () => {}); afterAll(() => {
            throw Error("not run"); }); });
        describe("b", () => { afterAll(() => { throw Error("late"); }); it("four", () => {}); });
        describe("c", () => { beforeAll(() => { throw Error("nobody needs it"); });
          it.skip("five"); });
        """,
    )
    assert told(found) == [
        ("a > (beforeAll)", "failed"),
        ("a > one", "failed"),
        ("a > deep > two", "failed"),
        ("a > three", "skipped"),
        ("b > four", "passed"),
        ("b > (afterAll)", "failed"),
        ("c > five", "skipped"),
    ]


def test_only_skip_todo_each_and_names(folder: Path) -> None:
    body = """
        it.each([[1, 2], [3, { a: 1 }]])("%s and %j", (a, b) => { expect(a).toBeLessThan(4); });
        describe("s", () => { it("x", () => {}); it.todo("later"); });
        describe.skip("off", () => { it("y", () => {}); });
        test("z", () => {});
    """
    found = told(results(folder, body))
    assert found == [
        ("1 and 2", "passed"),
        ('3 and {"a":1}', "passed"),
        ("s > x", "passed"),
        ("s > later", "todo"),
        ("off > y", "skipped"),
        ("z", "passed"),
    ]
    assert told(results(folder, body, wanted="S X")) == [("s > x", "passed")]
    only = body + "describe.only('o', () => { it('p', () => {}); }); it.only('q', () => {});"
    ran = [name for name, status in told(results(folder, only)) if status == "passed"]
    assert ran == ["o > p", "q"]


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message", "line"),
    [
        ("throw new RangeError('far')", "RangeError: far", True),
        ("throw {a: 1}", '{"a":1}', False),
        ("throw 'plain'", "plain", False),
        ("for (;;);", "Took longer than 1000 ms", True),
        ("const spin = async () => { for (;;) await null; }; return spin();", "Took longer", False),
        ("return new Promise(() => {})", "nothing will ever settle", False),
        ("const f = () => f() + 1; f()", "stack overflow", True),
        ("const a = []; for (;;) a.push(new ArrayBuffer(1e9));", "out of memory", True),
        ("describe('x', () => {})", "while the file is loaded", True),
        ("expect.assertions(2); expect(1).toBe(1);", "has 1 expectations, not 2", False),
        ("expect.hasAssertions();", "has no expectations", False),
        ("expect.fail('so')", "so", True),
    ],
)
def test_a_test_fails_with_a_reason_and_the_next_one_runs(
    folder: Path, body: str, message: str, line: bool
) -> None:
    # Only what never ends is cut short: the machine may be busy.
    limit = 1000 if message.startswith("Took") else 60_000
    bad, good = results(
        folder, f"it('bad', () => {{ {body} }}); it('good', () => {{}});", timeout_ms=limit
    )
    assert (bad.status, good.status) == ("failed", "passed")
    assert bad.error is not None
    assert message in bad.error.message
    assert ("test/a.test.js:5" in bad.error.trace) == line, bad.error.trace
    assert "@pyccf/" not in bad.error.trace


def test_an_engine_stopped_by_force_ends_the_file(folder: Path) -> None:
    body = "it('bad', () => { [...'x'.repeat(3e7)].sort().reverse(); }); it('next', () => {});"
    found = results(folder, body, timeout_ms=1)
    assert found[0].status == "failed"
    assert len(found) in (1, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("it('x' () => {});", "SyntaxError"),
        ("throw Error('at the top');", "at the top"),
        ("import 'left-pad';", "There is no module left-pad."),
        ("import '../src/gone.js';", "There is no module src/gone.js."),
        ("import '../../../../etc/passwd';", "outside of the application"),
        ("import { nope } from '../src/lib.js';", "nope"),
        ("import '../src/broken.js';", "(in src/broken.js)"),
        ("it('x');", "needs a function"),
        ("Array.prototype.map = null; it('x', () => {});", "library cannot go on: TypeError"),
        ("describe('x', async () => {});", "must not be asynchronous"),
    ],
)
def test_a_file_that_cannot_be_loaded(folder: Path, body: str, message: str) -> None:
    (folder / "src" / "broken.js").write_text("let let = 1;")
    result = run(folder, body)
    assert result.failed
    assert result.error is not None
    assert message in result.error.message
    assert result.tests == []


def test_a_file_that_is_not_there(folder: Path) -> None:
    result = run_file(folder, "test/none.test.js", MODULES, ENDPOINTS)
    assert result.error is not None
    assert result.error.message == "test/none.test.js is not there"


# -- matchers -------------------------------------------------------------------------------------

HOLDS = """
expect(1).toBe(1); expect(NaN).toBe(NaN); expect(0).not.toBe(-0);
expect({ a: undefined, b: [1, { c: new Map([[1, new Set([[2]])]]) }] })
  .toEqual({ b: [1, { c: new Map([[1, new Set([[2]])]]) }] });
expect({ a: undefined }).not.toStrictEqual({}); expect([1]).toStrictEqual([1]);
class P { constructor() { this.a = 1; } }
expect(new P()).toEqual({ a: 1 }); expect(new P()).not.toStrictEqual({ a: 1 });
expect(new Uint8Array([1]).buffer).toEqual(new Uint8Array([1]).buffer);
expect(new Uint8Array([1])).not.toEqual(new Uint8Array([2]));
expect(new Date(5)).toEqual(new Date(5)); expect(/a/g).not.toEqual(/a/);
expect(Error("a")).toEqual(Error("a")); expect([1, 2]).not.toEqual([1]);
const loop = { x: 1 }; loop.self = loop; const other = { x: 1 }; other.self = other;
expect(loop).toEqual(other);
expect(null).toBeNull(); expect(undefined).toBeUndefined(); expect(0).toBeDefined();
expect("a").toBeTruthy(); expect("").toBeFalsy(); expect(NaN).toBeNaN();
expect(2).toBeGreaterThan(1); expect(2).toBeGreaterThanOrEqual(2); expect(1n).toBeLessThan(2);
expect(2).toBeLessThanOrEqual(2); expect(0.1 + 0.2).toBeCloseTo(0.3, 10);
  expect(1).not.toBeCloseTo(2);
expect([]).toBeInstanceOf(Array); expect("").toBeTypeOf("string"); expect(2).toBeOneOf([1, 2]);
expect("abc").toContain("b"); expect([1, 2]).toContain(2); expect(new Set([3])).toContain(3);
expect([{ a: 1 }]).toContainEqual({ a: 1 }); expect("abc").toHaveLength(3);
expect({ a: { b: [1] } }).toHaveProperty("a.b[0]", 1); expect({ a: 1 }).not.toHaveProperty("b");
expect({ "a.b": 1 }).toHaveProperty(["a.b"]); expect("abc").toMatch(/b/);
  expect("abc").toMatch("bc");
expect({ a: { b: 1, c: 2 }, d: [1] }).toMatchObject({ a: { b: 1 }, d: [expect.any(Number)] });
expect(() => { throw new TypeError("bad thing"); }).toThrow();
for (const wanted of ["bad", /thing$/, TypeError, Error("bad thing"),
  expect.objectContaining({ message: "bad thing" })])
  expect(() => { throw new TypeError("bad thing"); }).toThrow(wanted);
expect(() => 1).not.toThrow(); expect(() => { throw Error("x"); }).not.toThrow("y");
expect({ a: 1, b: "text" }).toEqual({ a: expect.anything(), b: expect.stringMatching("^te") });
expect([1, 2, 3]).toEqual(expect.arrayContaining([3, 1]));
  expect("abc").toEqual(expect.stringContaining("b"));
const f = fn((a) => a + 1); expect(f(1)).toBe(2); expect(f).toHaveBeenCalled();
expect(f).toHaveBeenCalledTimes(1); expect(f).toHaveBeenCalledWith(1); f.mockReset();
expect(f).not.toHaveBeenCalled(); expect(f.mockReturnValue(7)()).toBe(7);
expect(f.mockImplementation((a) => a)(9)).toBe(9);
await expect(Promise.resolve(1)).resolves.toBe(1); await expect(async () => 2).resolves.not.toBe(1);
await expect(Promise.reject(Error("no"))).rejects.toThrow("no");
await expect(Promise.reject(Error("no"))).rejects.toBeInstanceOf(Error);
await expect(Promise.reject(3)).rejects.not.toBe(1);
"""


def test_matchers_that_hold(folder: Path) -> None:
    passes(folder, HOLDS)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("expect(1).toBe(2)", "expected 1 to be 2"),
        ("expect(-0).toBe(0)", "expected -0 to be 0"),
        ("expect(1).not.toBe(1)", "expected 1 not to be 1"),
        (
            "expect({a: [1n, 'x', undefined, Symbol('s')]}).toEqual({b: () => 1})",
            'expected { a: [1n, "x", undefined, Symbol(s)] } to equal { b: [function b] }',
        ),
        (
            "expect(new Map([[1, new Set()]])).toEqual(new Uint8Array([1, 255]))",
            "expected Map {1 => Set {}} to equal Uint8Array(2) 0x01ff",
        ),
        (
            "const a = [new Date(0), /x/]; a.push(a); expect(a).toEqual([Error('e')])",
            "expected [1970-01-01T00:00:00.000Z, /x/, [circular]] to equal [[Error: e]]",
        ),
        ("expect(Array(60).fill(0)).toHaveLength(1)", "… 10 more"),
        ("expect('abc').toMatch(/x/)", 'expected "abc" to match /x/'),
        (
            "expect(() => 1).toThrow('x')",
            'expected the function to throw "x", but nothing was thrown',
        ),
        (
            "expect(() => { throw Error('y'); }).toThrow('x')",
            'expected the function to throw "x", but [Error: y] was thrown',
        ),
        ("expect(1).toThrow()", "TypeError: expect(...).toThrow needs a function to call"),
        ("expect(() => 1).toHaveBeenCalled()", "need a function made by fn()"),
        (
            "await expect(Promise.resolve(1)).rejects.toBe(1)",
            "expected a promise that is rejected, it resolved to 1",
        ),
        (
            "await expect(Promise.reject(Error('e'))).resolves.toBe(1)",
            "expected a promise that resolves, it was rejected with [Error: e]",
        ),
        ("await expect(Promise.reject(Error('e'))).rejects.toThrow('x')", 'to throw "x"'),
        ("expect({a: 1}).toEqual({a: expect.any(String)})", "{ a: any String }"),
        ("expect(fn()).toHaveBeenCalledWith(1)", "to have been called with [1]"),
    ],
)
def test_matchers_that_do_not_hold(folder: Path, expression: str, message: str) -> None:
    (only,) = results(folder, f"it('t', async () => {{ {expression} }});")
    assert only.error is not None
    assert message in only.error.message


def test_the_types_name_what_the_library_exports(folder: Path) -> None:
    types = library_types()
    (only,) = results(
        folder,
        "import * as all from '@pyccf/test';"
        "it('t', () => { console.log(Object.keys(all).join(' ')); "
        "console.log(Object.keys(expect(1)).concat(Object.keys(expect)).join(' ')); "
        "console.log([app, kv, history].flatMap(Object.keys).join(' ')); });",
    )
    for line in only.output:
        for name in line.text.split():
            assert f" {name}(" in types or f" {name}:" in types, name
