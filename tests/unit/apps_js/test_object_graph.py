"""Nothing of the host is within a script's reach.

A script walks everything it can get at: own members by text and symbol, getters and what they give,
prototypes, what functions return that build others. What it finds beyond the bare language must be
on a list, text must not tell of the machine, and no module of the host can be imported.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal

import pytest

from pyccf.apps.js import governance
from pyccf.apps.js.engine import Interpreter
from pyccf.apps.js.host.host import Host
from pyccf.kv.maps import AccessContext
from support.js_app import JsBench

WALK = r"""
export function walk(roots) {
  const seen = new Map();
  const texts = new Set();
  const waiting = Object.entries(roots).map(([name, value]) => [name, value]);
  const note = (path, value) => {
    if (typeof value === "string") texts.add(value);
    if (value === null || (typeof value !== "object" && typeof value !== "function")) return;
    if (!seen.has(value)) { seen.set(value, path); waiting.push([path, value]); }
  };
  for (const [name, value] of waiting.splice(0)) note(name, value);
  while (waiting.length) {
    const [path, value] = waiting.shift();
    note(`${path}.[[Prototype]]`, Reflect.getPrototypeOf(value));
    for (const key of Reflect.ownKeys(value)) {
      const at = `${path}.${String(key)}`;
      const found = Reflect.getOwnPropertyDescriptor(value, key);
      if (!found) continue;
      note(at, found.value);
      if (typeof key === "string") texts.add(key);
      note(`${at}.[[Get]]`, found.get);
      note(`${at}.[[Set]]`, found.set);
      if (!found.get) continue;
      try {
        note(at, Reflect.apply(found.get, value, []));
      } catch (e) {
        note(`${at}.[[Threw]]`, e);
      }
    }
    if (typeof value === "function") texts.add(Function.prototype.toString.call(value));
  }
  const tell = (value) => {
    if (typeof value === "function") return "function";
    return Object.prototype.toString.call(value);
  };
  return JSON.stringify({
    found: [...seen].map(([value, path]) => [path, tell(value)]),
    texts: [...texts],
  });
}
// Objects that no member leads to: they come out of syntax.
export function syntax() {
  const made = { closure: () => 0, list: [], regexp: /x/g, iterator: [][Symbol.iterator]() };
  made.generator = (function* () {})();
  made.generatorFunction = function* () {};
  made.asyncFunction = async () => {};
  made.asyncGenerator = (async function* () {})();
  made.promise = made.asyncFunction();
  made.arguments = (function () { return arguments; })(1);
  made.module = import.meta;
  made.indirect = (0, eval)("this");
  made.constructed = Function("return this")();
  made.deep = made.closure.constructor("return this")();
  made.asyncDeep = made.asyncFunction.constructor;
  made.proxy = new Proxy(() => {}, {});
  made.matched = /(?<a>x)/d.exec("x");
  made.strings = String.raw`x`;
  made.map= new Map([[1, 1]]).entries();
  made.match= "x".matchAll(/x/g);
  made.segment = "x"[Symbol.iterator]();
  made.bigint = Object(1n);
  made.symbol = Object(Symbol("s"));
  made.buffer = new ArrayBuffer(1);
  made.errors = [];
  for (const fail of [
    () => null.x, () => missing, () => JSON.parse("{"), () => eval("("), () => new Array(-1),
    () => decodeURI("%"), () => made.f(), () => { throw new AggregateError([]); },
  ]) {
    try { fail(); } catch (e) { made.errors.push(e); }
  }
  return made;
}
"""


def words(text: str) -> list[str]:
    """Words of a text."""
    return text.split()


LANGUAGE = words(
    """
    AggregateError Array ArrayBuffer Atomics BigInt BigInt64Array BigUint64Array Boolean
    DataView Date Error EvalError Float32Array Float64Array Function Infinity
    Int16Array Int32Array Int8Array InternalError JSON Map Math NaN Number Object
    Promise Proxy RangeError ReferenceError Reflect RegExp Set SharedArrayBuffer String
    Symbol SyntaxError TypeError URIError Uint16Array Uint32Array Uint8Array
    Uint8ClampedArray WeakMap WeakSet decodeURI decodeURIComponent encodeURI
    encodeURIComponent escape eval globalThis isFinite isNaN parseFloat parseInt undefined
    unescape
    """
)
"""Global names of the language itself, which have nothing to do with a host."""

CRYPTO = words(
    """
    digest eddsaJwkToPem eddsaPemToJwk generateAesKey generateEcdsaKeyPair
    generateEddsaKeyPair generateRsaKeyPair isValidX509CertBundle isValidX509CertChain
    jwkToPem pemToJwk pubEddsaJwkToPem pubEddsaPemToJwk pubJwkToPem pubPemToJwk
    pubRsaJwkToPem pubRsaPemToJwk rsaJwkToPem rsaPemToJwk sign unwrapKey verifySignature
    wrapKey
    """
)

EVERYWHERE = {
    *(f"console.{name}" for name in ("log", "info", "warn", "error")),
    *(f"ccf.crypto.{name}" for name in CRYPTO),
    *("ccf", "console", "snp_attestation", "ccf.crypto", "ccf.gov", "ccf.kv"),
    *("ccf.strToBuf", "ccf.bufToStr", "ccf.jsonCompatibleToBuf", "ccf.bufToJsonCompatible"),
    *("ccf.enableUntrustedDateTime", "ccf.enableMetricsLogging", "ccf.pemToId"),
    *("ccf.tcbHexToPolicy", "ccf.gov.validateConstitution"),
    "snp_attestation.verifySnpAttestation",
}
APP = {
    *("ccf.rpc", "ccf.rpc.setApplyWrites", "ccf.rpc.setClaimsDigest"),
    *("ccf.consensus", "ccf.consensus.getLastCommittedTxId"),
    *("ccf.consensus.getStatusForTxId", "ccf.consensus.getViewForSeqno"),
    *("ccf.historical", "ccf.historical.getStateRange", "ccf.historical.dropCachedStates"),
}
APPLY = {
    *("ccf.node", "ccf.node.triggerLedgerRekey", "ccf.node.transitionServiceToOpen"),
    *("ccf.node.triggerRecoverySharesRefresh", "ccf.node.triggerLedgerChunk"),
    *("ccf.node.triggerSnapshot", "ccf.network", "ccf.network.getLatestLedgerSecretSeqno"),
    *("ccf.network.generateEndorsedCertificate", "ccf.network.generateNetworkCertificate"),
    *("ccf.refreshAppBytecodeCache", "ccf.setJwtPublicSigningKeys"),
    "ccf.removeJwtPublicSigningKeys",
}
HANDLE = {"_map_name", "has", "get", "forEach", "getVersionOfPreviousWrite", "set", "delete"} | {
    "clear",
    "size",
}

BARE_WALK = WALK + "\nexport function run() { return walk({ globalThis, syntax: syntax() }); }\n"


def bare() -> dict[str, str]:
    """What the language alone leads to."""
    interpreter = Interpreter(Host(AccessContext.APP_RO), ())
    number = interpreter.compile("walk.js", BARE_WALK.encode())
    interpreter.evaluate(number)
    told = json.loads(interpreter.vm.call(number, "run", (), ())[2])
    interpreter.vm.close()
    return dict(told["found"])


class Walked:
    """What a script found."""

    def __init__(self, text: str) -> None:
        told = json.loads(text)
        self.found: dict[str, str] = dict(told["found"])
        self.texts: list[str] = told["texts"]

    def beyond(self) -> set[str]:
        """Paths from the global object that the language alone does not lead to.

        Every function of ours has a prototype of the language's, so nothing hangs below them.
        """
        extra = set(self.found) - set(bare())
        return {path.removeprefix("globalThis.") for path in extra}


def app_walk(mode: str, bytecode: bool) -> Walked:
    """From a handler of an application, and from the scope of its module."""
    code = (
        WALK
        + """
    const atModuleScope = { globalThis, ccf: globalThis.ccf, meta: import.meta };
    export function run(request) {
      return { body: walk({ globalThis, syntax: syntax(), request, atModuleScope,
        handle: ccf.kv.t, past: ccf.historicalState }) };
    }
    """
    )
    bench = JsBench()
    bench.past = bench.services.states[bench.write({"t": {b"k": b"v"}}).seqno]
    row = {"js_module": "walk.js", "js_function": "run", "mode": mode}
    bench.install({"walk.js": code}, {"POST /walk": dict(row)}, bytecode=bytecode)
    answer = bench.call("POST", "/walk", b'{"a": 1}', {"host": "h"})
    assert answer.status == 200, answer.body
    return Walked(
        answer.json() if answer.headers["content-type"] != "text/plain" else answer.body.decode()
    )


def gov_walk(access: Literal["GOV_RO", "GOV_RW"]) -> Walked:
    """From the constitution."""
    source = (
        WALK
        + "export function run() {"
        + " return { text: walk({ globalThis, syntax: syntax(), handle: ccf.kv.t }) }; }"
    )
    bench = JsBench()
    made = governance.run(
        source,
        "constitution",
        "run",
        [],
        tx=bench.store.tx(),
        access=access,
        machine=bench.services,
        wanted=("text",),
    )
    return Walked(made.fields["text"].text)


def judge(walked: Walked, allowed: set[str], *others: str) -> None:
    """Whether everything found is allowed; `others` are roots beside the global object."""
    beyond = {p for p in walked.beyond() if p.partition(".")[0] not in others}
    assert beyond == allowed, (sorted(beyond - allowed), sorted(allowed - beyond))
    for path, kind in walked.found.items():
        if path.partition(".")[0] in others:
            plain = ("function", "[object Object]", "[object Array]", "[object Error]")
            assert kind in plain, (path, kind)


def test_the_language_is_what_it_should_be() -> None:
    names = {path.split(".")[1] for path in bare() if path.startswith("globalThis.")}
    values = {"Infinity", "NaN", "undefined", "globalThis"}
    assert names - {"[[Prototype]]"} == set(LANGUAGE) - values


@pytest.mark.parametrize("bytecode", [False, True])
def test_application(bytecode: bool) -> None:
    walked = app_walk("readwrite", bytecode)
    judge(walked, EVERYWHERE | APP, "request", "atModuleScope", "handle")
    request = {p for p in walked.found if p.startswith("request.")}
    members = {p.split(".")[1] for p in request} - {"[[Prototype]]"}
    assert members <= {"headers", "params", "body", "caller", "hostname"}
    check_handle(walked, "handle")


def test_historical_application() -> None:
    walked = app_walk("historical", False)
    past = {p for p in walked.found if p.startswith(("past.", "ccf.historicalState"))}
    judge(
        walked,
        EVERYWHERE
        | APP
        | {p.removeprefix("globalThis.") for p in walked.found if ".historicalState" in p},
        "request",
        "atModuleScope",
        "handle",
        "past",
    )
    assert {p.split(".")[1] for p in past} <= {"receipt", "kv", "[[Prototype]]"}


def test_constitution() -> None:
    walked = gov_walk("GOV_RO")
    judge(walked, set(EVERYWHERE), "handle")
    check_handle(walked, "handle")


def test_constitution_that_applies() -> None:
    judge(gov_walk("GOV_RW"), EVERYWHERE | APPLY, "handle")


def check_handle(walked: Walked, root: str) -> None:
    members = {p.split(".")[1] for p in walked.found if p.startswith(root + ".")}
    assert members <= HANDLE | {"[[Prototype]]"}


def test_no_text_tells_of_the_machine() -> None:
    here = [os.getcwd(), str(Path(__file__).parent), sys.prefix, sys.executable, str(Path.home())]
    signs = [sign for sign in here if len(sign) > 3] + [".py", "site-packages", "0x", "/usr/"]
    for walked in (app_walk("readwrite", False), gov_walk("GOV_RW")):
        assert len(walked.texts) > 500
        for text in walked.texts:
            if (
                text.startswith(("export ", "(", "function ", "walk"))
                and "[native code]" not in text
            ):
                continue  # the walker's own source
            assert not any(sign in text for sign in signs), text


@pytest.mark.parametrize(
    "name",
    [
        "std",
        "os",
        "qjs:std",
        "qjs:os",
        "bjson",
        "node:fs",
        "fs",
        "process",
        "/etc/passwd",
        "../../etc/passwd",
        "file:///etc/passwd",
        "https://example.org/x.js",
        "data:text/javascript,1",
    ],
)
def test_nothing_of_the_host_can_be_imported(name: str) -> None:
    bench = JsBench()
    code = f"import * as found from {json.dumps(name)}; export function run() {{ return {{}}; }}"
    late = f"""export function run() {{
      import({json.dumps(name)}).then((m) => {{ globalThis.got = m; }});
      return {{ body: typeof got }};
    }}"""
    bench.install(
        {"m.js": code, "late.js": late}, {"GET /m": "m.js:run", "GET /late": "late.js:run"}
    )
    answer = bench.call("GET", "/m")
    assert answer.status == 500
    assert b"Failed to compile module" in answer.body
    assert bench.call("GET", "/late").body == b"undefined"


def test_names_of_hosts_are_unknown() -> None:
    names = words(
        """
        process require module exports global window self navigator print load loadScript
        read readFile write scriptArgs std os bjson gc console.trace fetch XMLHttpRequest
        Worker WebAssembly setTimeout setInterval queueMicrotask performance WeakRef
        FinalizationRegistry python pyccf __pyccf_test __import__ builtins document location
        crypto structuredClone
        """
    )
    code = "export function run() { return { body: ["
    code += ", ".join(f"typeof {name}" for name in names) + "] }; }"
    bench = JsBench()
    bench.install({"m.js": code}, {"GET /m": "m.js:run"})
    assert bench.call("GET", "/m").json() == ["undefined"] * len(names)
