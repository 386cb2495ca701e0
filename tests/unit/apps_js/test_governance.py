"""The constitution's interpreter: results, failures, tables, what `apply` may do."""

from __future__ import annotations

import time
from typing import Literal

import pytest

from pyccf.apps.js.engine import (
    TIMED_OUT,
    Interpreter,
    JsError,
    JsResult,
    JsSetupError,
    JsThrow,
    Limits,
)
from pyccf.apps.js.governance import COMPILED_MAX, run
from pyccf.apps.js.host import gov
from pyccf.errors import LocalError, RpcError
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.types import Json, SeqNo
from support.js_app import FakeServices

Access = Literal["GOV_RO", "GOV_RW"]


class Hands:
    """Governance operations that only remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def trigger_ledger_rekey(self, tx: Tx) -> None:
        raise LocalError("Could not rekey ledger")

    def transition_service_to_open(self, tx: Tx, previous: str | None, following: str) -> None:
        self.asked.append(("open", previous, following))

    def trigger_recovery_shares_refresh(self, tx: Tx) -> None:
        self.asked.append(("shares",))

    def trigger_ledger_chunk(self, tx: Tx) -> None:
        self.asked.append(("chunk",))

    def trigger_snapshot(self, tx: Tx) -> None:
        self.asked.append(("snapshot",))

    def latest_ledger_secret_seqno(self, tx: Tx) -> SeqNo:
        return 7

    def generate_endorsed_certificate(self, csr_pem: str, valid_from: str, days: int) -> str:
        return f"{csr_pem} {valid_from} {days}"

    def generate_network_certificate(self, valid_from: str, days: int) -> str:
        return f"{valid_from} {days}"

    def set_jwt_public_signing_keys(self, tx: Tx, issuer: str, metadata: Json, jwks: Json) -> None:
        self.asked.append(("keys", issuer, metadata, jwks))

    def remove_jwt_public_signing_keys(self, tx: Tx, issuer: str) -> None:
        self.asked.append(("no keys", issuer))


def _run(
    text: str,
    *args: Json,
    access: Access = "GOV_RO",
    hands: Hands | None = None,
    tx: Tx | None = None,
    limit_ms: int = 60_000,
) -> JsResult:
    store = Store(2)
    return run(
        f"export function f(...args) {{ {text} }}",
        "constitution",
        "f",
        list(args),
        tx=tx or store.tx(),
        access=access,
        operations=hands,
        limits=Limits(time_ms=limit_ms),
        machine=FakeServices(store),
    )


def test_results_are_described() -> None:
    store = Store(2)
    source = """
    export function validate(input) {
      const actions = JSON.parse(input);
      return {valid: actions.length, description: "checked", nested: {n: 1}};
    }
    """
    wanted = ("description", "valid", "nested", "none")
    found = run(source, "c", "validate", ["[1]"], tx=store.tx(), access="GOV_RO", wanted=wanted)
    assert found.is_object
    assert found.truthy
    assert tuple(found.fields) == wanted
    assert found.fields["valid"].truthy
    assert found.fields["description"].text == "checked"
    assert not found.fields["none"].truthy
    # What is no text has none, and is not made to tell one.
    assert found.fields["valid"].text == found.fields["nested"].text == ""


@pytest.mark.parametrize(
    "value",
    [
        "Object.create({valid: true, description: 'd'})",
        "new class { get valid() { return true; } get description() { return 'd'; } }",
        "Object.assign(Object.create(null), {valid: 1, description: 'd'})",
        "{valid: [], description: 'd', get other() { throw new Error('read'); }}",
        "{valid: true, description: 'd', toString() { throw new Error('told'); }}",
        "new Proxy({valid: true, description: 'd'}, {ownKeys() { throw new Error('listed'); }})",
    ],
)
def test_only_wanted_members_are_looked_at(value: str) -> None:
    source = f"export function validate() {{ return {value}; }}"
    wanted = ("description", "valid")
    found = run(source, "c", "validate", [], tx=Store(2).tx(), access="GOV_RO", wanted=wanted)
    assert (found.fields["valid"].truthy, found.fields["description"].text) == (True, "d")


@pytest.mark.parametrize(
    "value",
    ["Object.create(null)", "Symbol('x')", "{get x() { throw 1; }, toString() { throw 2; }}"],
)
def test_a_result_that_is_not_wanted_is_left_alone(value: str) -> None:
    source = f"export function f() {{ return {value}; }}"
    found = run(source, "c", "f", [], tx=Store(2).tx(), access="GOV_RO", wanted=None)
    assert found.truthy
    assert (found.text, found.fields) == ("", {})


@pytest.mark.parametrize(
    ("value", "truthy", "text"),
    [
        ("true", True, "true"),
        ("0", False, "0"),
        ("''", False, ""),
        ("'Open\\0x'", True, "Open"),
        ("undefined", False, "undefined"),
        ("({toString() { return 'Open'; }})", True, "Open"),
        ("({toString() { throw 'x'; }})", True, ""),
        ("Symbol('a')", True, ""),
    ],
)
def test_scalars(value: str, truthy: bool, text: str) -> None:
    store = Store(2)
    source = f"export function resolve() {{ return {value}; }}"
    found = run(source, "c", "resolve", [], tx=store.tx(), access="GOV_RO")
    assert (found.truthy, found.text) == (truthy, text)


def test_arguments_arrive_as_data() -> None:
    store = Store(2)
    source = "export function f(...a) { return JSON.stringify(a); }"
    args: list[Json | bytes] = ["t", 1, True, None, [{"member_id": "m", "vote": False}]]
    found = run(source, "c", "f", args, tx=store.tx(), access="GOV_RO")
    assert found.text == '["t",1,true,null,[{"member_id":"m","vote":false}]]'


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("export function f( {", "Failed to compile c"),
        ("import 'x.js'; export function f() {}", "Failed to compile c"),
        ("export function g() {}", "Failed to find export 'f' in module 'c'"),
        ("export const f = 1;", "Export 'f' of module 'c' is not a function"),
    ],
)
def test_scripts_that_cannot_be_run(source: str, text: str) -> None:
    with pytest.raises(JsSetupError) as caught:
        run(source, "c", "f", [], tx=Store(2).tx(), access="GOV_RO")
    assert caught.value.text == text


def test_a_script_that_throws_tells_where() -> None:
    with pytest.raises(JsError) as caught:
        _run("throw new RangeError('r');")
    assert caught.value.message == "RangeError: r"
    assert caught.value.trace == "    at f (constitution)\n"
    assert not caught.value.timed_out
    with pytest.raises(JsError) as caught:
        _run("throw {a: 1};")
    assert (caught.value.message, caught.value.trace) == ('{"a":1}', None)


def test_a_script_that_does_not_end() -> None:
    with pytest.raises(JsError) as caught:
        _run("try { for (;;); } finally { return 1; }", limit_ms=200)
    assert caught.value.timed_out
    assert TIMED_OUT == "Operation took too long to complete."


SLOW = {
    "called": "export function f() { for (;;); }",
    "loaded": "for (;;); export function f() {}",
    "both": """
        const until = Date.now() + 60;
        while (Date.now() < until);
        export function f() { const end = Date.now() + 60; while (Date.now() < end); }""",
    "compiled": "export function f() { return [" + "[1,2,{a:b=>c}]," * 600_000 + "] }",
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_script_ends_within_its_share_of_time(kind: str) -> None:
    began = time.process_time()  # on a busy machine nobody knows when that is
    with pytest.raises(JsError) as caught:
        run(SLOW[kind], "c", "f", [], tx=Store(2).tx(), access="GOV_RO", keep=False, within_ms=100)
    assert caught.value.timed_out
    assert time.process_time() - began < 2
    source = "export function f() { return 1; }"
    found = run(source, "c", "f", [], tx=Store(2).tx(), access="GOV_RO", keep=False, within_ms=0)
    assert found.text == "1"


def test_calls_do_not_share_state() -> None:
    store = Store(2)
    source = (
        "let n = 0; export function f() { globalThis.m = (globalThis.m || 0) + 1; return ++n + m; }"
    )
    seen = [run(source, "c", "f", [], tx=store.tx(), access="GOV_RO").text for _ in range(3)]
    assert seen == ["2", "2", "2"]


def test_many_ballots() -> None:
    store = Store(2)
    for i in range(3 * COMPILED_MAX):
        source = f"export function vote() {{ return {i}; }}"
        assert run(source, "b", "vote", [], tx=store.tx(), access="GOV_RO").text == str(i)


def test_tables_by_phase() -> None:
    write = "ccf.kv['public:ccf.gov.x'].set(ccf.strToBuf('k'), ccf.strToBuf('v'));"
    with pytest.raises(JsError, match="read-only in current \\(read-only governance\\)"):
        _run(write)
    store = Store(2)
    tx = store.tx()
    _run(
        write + "ccf.kv['public:app'].set(ccf.strToBuf('k'), ccf.strToBuf('v'));",
        access="GOV_RW",
        tx=tx,
    )
    assert set(tx.writes) == {"public:ccf.gov.x", "public:app"}
    with pytest.raises(RpcError, match="disallowed reserved prefix"):
        _run("ccf.kv['ccf.x']")


def test_hands_only_in_apply() -> None:
    assert _run("return typeof ccf.node + typeof ccf.network").text == "undefinedundefined"
    hands = Hands()
    _run(
        """
        ccf.node.triggerLedgerChunk(); ccf.node.triggerSnapshot(1, 2);
        ccf.node.triggerRecoverySharesRefresh();
        ccf.node.transitionServiceToOpen(undefined, ccf.strToBuf("pem"));
        ccf.setJwtPublicSigningKeys("i", {issuer: "i"}, {keys: []});
        ccf.removeJwtPublicSigningKeys("i");
        if (ccf.network.getLatestLedgerSecretSeqno() !== 7) throw 1;
        if (ccf.network.generateEndorsedCertificate("c", "t", 3) !== "c t 3") throw 2;
        if (ccf.network.generateNetworkCertificate("t", "4") !== "t 4") throw 3;
        """,
        access="GOV_RW",
        hands=hands,
    )
    assert hands.asked == [
        ("chunk",),
        ("snapshot",),
        ("shares",),
        ("open", None, "pem"),
        ("keys", "i", {"issuer": "i"}, {"keys": []}),
        ("no keys", "i"),
    ]


@pytest.mark.parametrize("letter", ["n", "ö"])
def test_errors_of_natives_are_cut_off_as_in_the_original(letter: str) -> None:
    source = """
    export function validate(name) {
      const key = ccf.strToBuf("k");
      try { ccf.kv["public:ccf.gov." + name].set(key, key); }
      catch (e) { return e.message; }
    }
    """
    text = run(source, "c", "validate", [letter * 300], tx=Store(2).tx(), access="GOV_RO").text
    assert text.startswith(f'Cannot call "set" on table named public:ccf.gov.{letter * 100}')
    assert len(text.rstrip("\ufffd").encode()) in (254, 255)


def test_what_the_node_refuses_is_thrown() -> None:
    with pytest.raises(JsError, match="InternalError: Could not rekey ledger"):
        _run("ccf.node.triggerLedgerRekey()", access="GOV_RW", hands=Hands())


def test_console_of_governance() -> None:
    lines: list[tuple[str, str, str]] = []
    run(
        "export function f() { console.warn('a', {b: 1}); }",
        "c",
        "f",
        [],
        tx=Store(2).tx(),
        access="GOV_RO",
        log=lambda *line: lines.append(line),
    )
    assert lines == [("fail", "gov", 'a {"b":1}')]


def test_without_a_machine_there_is_no_chance() -> None:
    with pytest.raises(JsError, match="Not available in this context"):
        run(
            "export function f() { Math.random(); }",
            "c",
            "f",
            [],
            tx=Store(2).tx(),
            access="GOV_RO",
        )


def test_bytecode_is_refreshed_in_apply() -> None:
    store = Store(2)
    tx = store.tx()
    tx.map(tables.MODULES).set(b"/a.js", b"import {x} from './b.js'; export const y = x;")
    tx.map(tables.MODULES).set(b"/b.js", b"export const x = 1;")
    tx.map(tables.MODULES_BYTECODE).set(b"/gone.js", b"old")
    _run("ccf.refreshAppBytecodeCache()", access="GOV_RW", tx=tx)
    assert {k for k, _ in tx.map(tables.MODULES_BYTECODE).foreach()} == {b"/a.js", b"/b.js"}
    tx.map(tables.MODULES).set(b"/c.js", b"export {")
    with pytest.raises(JsError, match=r"Unable to serialize bytecode for JS module '/c\.js'"):
        _run("ccf.refreshAppBytecodeCache()", access="GOV_RW", tx=tx)


def test_limits_are_never_below_the_defaults() -> None:
    store = Store(2)
    tx = store.tx()
    tx.map(tables.JS_RUNTIME_OPTIONS).set(bytes(8), b'{"max_heap_bytes": 1, "max_stack_bytes": 1}')
    source = "export function f() { return new ArrayBuffer(50000000).byteLength; }"
    assert run(source, "c", "f", [], tx=tx, access="GOV_RO").text == "50000000"


def test_scripts_that_run_once_share_nothing() -> None:
    store = Store(2)
    source = "let n = 0; globalThis.m = (globalThis.m || 0) + 1; Array.prototype.at = null;"
    for i in range(3):
        text = f"{source} export function vote() {{ return ++n + m + {i}; }}"
        found = run(text, f"b{i}", "vote", [], tx=store.tx(), access="GOV_RO", keep=False)
        assert found.text == str(2 + i)
    untouched = "export function vote() { return [7].at(0); }"
    assert run(untouched, "b", "vote", [], tx=store.tx(), access="GOV_RO", keep=False).text == "7"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("export function vote( {", JsSetupError),
        ("export const vote = 1;", JsSetupError),
        ("export function vote() { throw 1; }", JsError),
        ("export function vote() { while (true) {} }", JsError),
        ("export function vote() { const a = []; while (true) a.push(new Array(1e6)); }", JsError),
        ("export function vote() { return vote(); }", JsError),
    ],
)
def test_after_a_failure_the_next_script_runs_as_ever(source: str, error: type[Exception]) -> None:
    store = Store(2)
    limits = Limits(time_ms=50, heap_bytes=1 << 22)
    for _ in range(2):
        with pytest.raises(error):
            run(source, "b", "vote", [], tx=store.tx(), access="GOV_RO", limits=limits, keep=False)
        after = "export function vote() { return 'fine'; }"
        found = run(after, "b", "vote", [], tx=store.tx(), access="GOV_RO", keep=False)
        assert found.text == "fine"


def test_a_proposed_constitution_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its body may take as long as a script may: once, not for each function."""
    made: list[Interpreter] = []

    class Counted(Interpreter):
        __slots__ = ()

        def evaluate(self, module: int) -> None:
            made.append(self)
            super().evaluate(module)

    monkeypatch.setattr(gov, "Interpreter", Counted)
    names = ("apply(a, b)", "resolve(a, b, c)", "validate(a)")
    gov.validate_constitution("".join(f"export function {name} {{}}" for name in names))
    assert len(made) == 1
    with pytest.raises(JsThrow, match="does not export a function named validate"):
        gov.validate_constitution("".join(f"export function {name} {{}}" for name in names[:2]))
    assert len(made) == 2
