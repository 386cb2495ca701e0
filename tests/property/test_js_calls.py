"""Random calls of everything a script can reach, with little memory: the interpreter survives.

What is looked for is memory corruption of the C extension, so this is the test to run with the
extension built under the sanitizers (`make sanitize-js`).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.types import Json
from support.js_app import JsBench

_APP = r"""
const STRANGE = [
  () => undefined, () => null, () => true, () => 0, () => -1, () => 1.5, () => NaN,
  () => 2 ** 31, () => 2 ** 53, () => -Infinity, () => 7n, () => -(1n << 70n), () => Symbol("s"),
  () => "", () => "a\0b", () => "\ud83d", () => "\u20ac".repeat(300), () => "x".repeat(1e5),
  () => '{"a": [1, null]}', () => "public:t", () => "SHA-256", () => "AES-GCM",
  () => "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
  () => new ArrayBuffer(0), () => new ArrayBuffer(33), () => new ArrayBuffer(1e5),
  () => new SharedArrayBuffer(8), () => new ArrayBuffer(8, {maxByteLength: 64}),
  () => { const b = new ArrayBuffer(8); b.transfer(); return b },
  () => new Uint8Array([1, 2, 3]), () => new Float64Array(9),
  () => new DataView(new ArrayBuffer(9)),
  () => {
    const b = new ArrayBuffer(8, {maxByteLength: 64}), a = new Uint8Array(b, 4);
    b.resize(2);
    return a;
  },
  () => [], () => [1, [2, ["x"]]], () => new Array(1e6), () => ({length: 1e9}), () => ({}),
  () => ({name: "AES-GCM", iv: new ArrayBuffer(12), hash: "SHA-256", saltLength: 3}),
  () => ({name: "RSA-OAEP", label: {}}), () => ({name: "RSA-OAEP", label: new ArrayBuffer(1)}),
  () => ({get name() { throw 1 }}), () => ({toString() { throw {} }}),
  () => ({toString: () => "t", valueOf: () => 3}), () => ({toJSON: () => undefined}),
  () => { const o = {}; o.o = o; return o }, () => () => 1, () => function () { throw this },
  () => class { static get length() { throw 1 } }, () => function* () { yield 1 },
  () => async () => 1,
  () => new Proxy({}, {}), () => new Proxy({}, {get() { throw 1 }, ownKeys: () => ["a"]}),
  () => { const r = Proxy.revocable({}, {}); r.revoke(); return r.proxy },
  () => new Map([[1, 2]]), () => new Set([1]), () => new WeakMap(), () => Promise.reject(1),
  () => new Error("e"), () => new Date(0), () => /x/g, () => globalThis, () => Atomics,
  () => ccf.kv, () => ccf.kv["t"], () => ccf.kv["public:t"], () => ccf.rpc, () => ccf,
];

function reach() {
  const seen = new Set(), found = [];
  function look(o, depth) {
    if ((typeof o !== "object" && typeof o !== "function") || o === null || seen.has(o)) return;
    seen.add(o);
    if (typeof o === "function" && o !== STRANGE) found.push(o);
    if (depth === 0 || o === ccf.kv) return;
    for (const key of Reflect.ownKeys(o)) {
      const d = Reflect.getOwnPropertyDescriptor(o, key);
      for (const part of [d.value, d.get, d.set]) look(part, depth - 1);
    }
    look(Object.getPrototypeOf(o), depth - 1);
  }
  for (const o of [ccf, console, ccf.kv["t"], snp_attestation]) look(o, 3);
  const ours = found.length;
  look(globalThis, 4);
  return [found, ours];
}

export function run(request) {
  let {seed, calls, result} = request.body.json();
  function dice(n) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >>> 8) % n;
  }
  for (const slow of ["generateRsaKeyPair", "generateEcdsaKeyPair", "generateEddsaKeyPair"])
    ccf.crypto[slow] = () => 1;
  const [found, ours] = reach(), made = [request, request.body, request.headers, request.caller];
  function value() {
    return dice(4) ? STRANGE[dice(STRANGE.length)]() : made[dice(made.length)];
  }
  const kept = [];
  for (let i = 0; i < calls; i++) {
    const f = dice(3) ? found[dice(ours)] : found[dice(found.length)];
    if (f === run) continue;
    const args = Array(dice(5)).fill().map(value);
    try { made.push(dice(9) ? Reflect.apply(f, value(), args) : Reflect.construct(f, args)); }
    catch (e) { kept.push(e); try { String(e && e.stack) } catch {} }
    if (made.length > 40) made.splice(4, 20);
  }
  globalThis.left = made;
  if (result) return {body: value(), headers: value(), statusCode: value()};
  return {statusCode: 200};
}
let n = 0;
export function count() { return {body: ++n}; }
"""


def _bench(*, reuse: bool) -> JsBench:
    made = JsBench()
    extra: dict[str, Json] = {"interpreter_reuse": {"key": "k"}} if reuse else {}
    made.install(
        {"a.js": _APP},
        {
            "POST /run/{id}": {"js_module": "a.js", "js_function": "run", **extra},
            "POST /count": {"js_module": "a.js", "js_function": "count"},
        },
    )
    made.write({"t": {b"k": b"v"}, "public:t": {b"k": b"v"}})
    return made


@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "shared"])
@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    calls=st.integers(1, 120),
    heap=st.integers(270_000, 800_000) | st.sampled_from([4_000_000, 50_000_000]),
    stack=st.sampled_from([4_000, 30_000, 1_048_576]),
    result=st.booleans(),
)
def test_random_calls(
    reuse: bool, seed: int, calls: int, heap: int, stack: int, result: bool
) -> None:
    bench = _bench(reuse=reuse)
    bench.options(max_execution_time_ms=300, max_heap_bytes=heap, max_stack_bytes=stack)
    for dice in (seed, seed + 1):  # the second one finds what the first one left, if shared
        body = f'{{"seed": {dice}, "calls": {calls}, "result": {str(result).lower()}}}'
        answer = bench.call("POST", "/run/7", body.encode(), {"host": "h", "x-a": "b"})
        assert isinstance(answer.body, bytes)
    bench.options()
    assert bench.call("POST", "/count").body == b"1"
