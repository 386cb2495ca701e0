"""Endpoints that users install while the service runs: served, kept in, and written down."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from pyccf.apps import openapi
from pyccf.kv.changes import UNIT
from pyccf.types import Json
from support.node import STARTED, Person, Reply, Service
from support.py_sample import COSE, TXID_HEADER, add_user, refused, serve, settle, signed
from support.samples import fresh_python_app

ORDER = int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16)
"""Of the group P-384."""
ROOT = "/app/custom_endpoints"
PREFIX = "public:custom_endpoints"

COUNTER = """
import { table } from "./lib/names.js";
const key = ccf.strToBuf("count");
export function add(request) {
  const counts = ccf.kv[table];
  const before = counts.has(key) ? Number(ccf.bufToStr(counts.get(key))) : 0;
  counts.set(key, ccf.strToBuf(String(before + 1)));
  return { body: { count: before + 1, by: request.caller.policy, at: request.params.at } };
}
export function read(request) {
  const counts = ccf.kv[table];
  return { body: counts.has(key) ? ccf.bufToStr(counts.get(key)) : "none" };
}
"""
NAMES = 'export const table = "public:custom.counts";'


def endpoint(function: str = "add", module: str = "counter.js", **more: Json) -> dict[str, Json]:
    return {
        "js_module": module,
        "js_function": function,
        "forwarding_required": "always",
        "authn_policies": ["user_cert", "no_auth"],
        "mode": "readwrite",
        "openapi": {},
        **more,
    }


def bundle(
    endpoints: Json = None, modules: dict[str, str] | None = None
) -> dict[str, dict[str, Json] | list[dict[str, str]]]:
    sources = {"counter.js": COUNTER, "lib/names.js": NAMES} if modules is None else modules
    served: Json = {
        "/custom/{at}/count": {"post": endpoint()},
        "/custom/count": {"get": endpoint("read", mode="readonly")},
    }
    return {
        "metadata": {"endpoints": served if endpoints is None else endpoints},
        "modules": [{"name": name, "module": text} for name, text in sources.items()],
    }


def script(text: str, **more: Json) -> dict[str, Any]:
    """A bundle of one endpoint, /custom/x, of a module with this text."""
    return bundle({"/custom/x": {"post": endpoint("f", "x.js", **more)}}, {"x.js": text})


class Story:
    """A service, somebody who may, somebody who may not."""

    def __init__(self) -> None:
        self.app = fresh_python_app("programmable-py")
        self.service: Service = serve("programmable-py", self.app)
        self.admin = add_user(self.service, "admin", {"isAdmin": True})
        self.user = add_user(self.service, "user", {"isAdmin": "yes", "roles": ["writer", 3]})

    def call(self, verb: str, path: str, body: object = b"", who: Person | None = None) -> Reply:
        return self.service.call(verb, path, body, caller=who or self.admin)

    def install(self, given: object) -> Reply:
        return self.call("PUT", ROOT, given)

    def send(self, verb: str, path: str, body: bytes) -> Reply:
        """A signed message, sent by anybody."""
        return self.service.call(verb, path, body, headers=COSE)

    def rows(self, name: str) -> dict[bytes, bytes]:
        return dict(self.service.node.store.tx().map(f"{PREFIX}.{name}").foreach())

    def unchanged(self, before: dict[str, dict[bytes, bytes]]) -> bool:
        return self.tables() == before

    def tables(self) -> dict[str, dict[bytes, bytes]]:
        names = ("metadata", "modules", "runtime_options", "recent_actions")
        return {name: self.rows(name) for name in (*names, "audit.info", "audit.input")}


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture(scope="module")
def standing() -> Story:
    """For tests that change nothing but what they say."""
    return Story()


def message(
    who: Person, payload: object, kind: str = "set_custom_endpoints", at: int = STARTED
) -> bytes:
    return signed(who, payload, app__msg__type=kind, app__msg__created_at=at)


def test_endpoints_come_change_and_go(story: Story) -> None:
    refused(story.call("POST", "/app/custom/here/count"), 404, "ResourceNotFound")
    assert story.install(bundle()).status == 204
    first = story.call("POST", "/app/custom/here/count")
    assert first.json == {"count": 1, "by": "user_cert", "at": "here"}
    assert story.service.call("POST", "/app/custom/x/count").json["by"] == "no_auth"
    assert story.call("GET", "/app/custom/count").body == b"2"
    refused(story.call("DELETE", "/app/custom/count"), 405, "UnsupportedHttpVerb")
    changed = bundle(
        modules={"counter.js": COUNTER, "lib/names.js": 'export const table="custom.b"'}
    )
    assert story.install(changed).status == 204
    assert story.call("GET", "/app/custom/count").body == b"none"
    assert story.call("DELETE", ROOT).status == 204
    refused(story.call("GET", "/app/custom/count"), 404, "ResourceNotFound")
    assert story.call("GET", ROOT).json == {"endpoints": {}}
    assert not story.rows("modules")


def test_shared_interpreters_are_those_of_the_bundle(story: Story) -> None:
    text = "let n = 0; export function f() { n += 1; return { body: `%s${n}` }; }"
    reuse = {"key": "k"}
    assert story.install(script(text % "a", interpreter_reuse=reuse)).status == 204
    assert [story.call("POST", "/app/custom/x").body for _ in range(2)] == [b"a1", b"a2"]
    assert story.install(script(text % "b", interpreter_reuse=reuse)).status == 204
    assert story.call("POST", "/app/custom/x").body == b"b1"


def test_what_is_installed_can_be_looked_at(story: Story) -> None:
    assert story.install(bundle()).status == 204
    stored = {**endpoint(), "js_module": "/counter.js"}
    found = story.call("GET", ROOT, who=story.user).json["endpoints"]
    assert found["/custom/{at}/count"] == {"POST": stored}
    one = f"{ROOT}/endpoint?verb=post&path=/custom/%7Bat%7D/count"
    assert story.call("GET", one).json == stored
    refused(story.call("GET", f"{ROOT}/endpoint?verb=get&path=/x"), 404, "ResourceNotFound")
    assert story.call("GET", f"{ROOT}/modules").json == ["/counter.js", "/lib/names.js"]
    for name in ("lib/names.js", "/lib/names.js"):
        read = story.call("GET", f"{ROOT}/module?module_name={name}")
        assert (read.headers["content-type"], read.body.decode()) == ("text/javascript", NAMES)
    refused(story.call("GET", f"{ROOT}/module?module_name=x"), 404, "ResourceNotFound")
    for path in ("", "/modules", "/runtime_options", "/audit"):
        reply = story.service.call("GET", ROOT + path)
        refused(reply, 401, "InvalidAuthenticationInfo")


def test_only_those_who_may(story: Story) -> None:
    tries: list[tuple[str, str, object]] = [
        ("PUT", ROOT, bundle()),
        ("DELETE", ROOT, b""),
        ("PATCH", f"{ROOT}/runtime_options", {"max_execution_time_ms": 100}),
    ]
    before = story.tables()
    for verb, path, body in tries:
        refused(story.call(verb, path, body, who=story.user), 403, "AuthorizationFailed")
        refused(story.service.call(verb, path, body), 401, "InvalidAuthenticationInfo")
    assert story.unchanged(before)
    tx = story.service.node.store.tx()
    tx.map("public:programmability.roles.writer").set(b'"set_custom_endpoints"', UNIT)
    story.service.node.commit(tx)
    assert story.call("PUT", ROOT, bundle(), who=story.user).status == 204
    refused(story.call("DELETE", ROOT, who=story.user), 403, "AuthorizationFailed")


def test_a_signed_bundle_is_installed_once(story: Story) -> None:
    body = message(story.admin, bundle())
    assert story.send("PUT", ROOT, body).status == 204
    assert story.call("POST", "/app/custom/a/count").json["count"] == 1
    refused(story.send("PUT", ROOT, body), 400, "ActionReplayed")
    # Another signature over the same content, which needs no key to make.
    half = len(ORDER.to_bytes(48, "big"))
    mirrored = (ORDER - int.from_bytes(body[-half:], "big")).to_bytes(half, "big")
    again = body[:-half] + mirrored
    assert again != body
    refused(story.send("PUT", ROOT, again), 400, "ActionReplayed")
    assert story.send("PUT", ROOT, message(story.admin, bundle(), at=STARTED + 1)).status == 204


def test_old_messages_are_refused_and_the_window_is_bounded(story: Story) -> None:
    path = f"{ROOT}/runtime_options"
    for number in range(105):
        body = message(
            story.admin, {"max_execution_time_ms": 100}, "set_runtime_options", STARTED + number
        )
        assert story.send("PATCH", path, body).status == 200
    keys = sorted(story.rows("recent_actions"))
    assert len(keys) == 100
    assert keys[0].startswith(str(STARTED + 5).encode())
    old = message(story.admin, {"max_heap_bytes": 2 << 20}, "set_runtime_options", STARTED + 54)
    refused(story.send("PATCH", path, old), 400, "ActionCreatedTooLongAgo")
    first = message(story.admin, {"max_execution_time_ms": 100}, "set_runtime_options", STARTED)
    refused(story.send("PATCH", path, first), 400, "ActionCreatedTooLongAgo")
    new = message(story.admin, {"max_heap_bytes": 2 << 20}, "set_runtime_options", STARTED + 55)
    assert story.send("PATCH", path, new).json["max_heap_bytes"] == 2 << 20


def test_messages_that_do_not_say_what_and_when(story: Story) -> None:
    who, given = story.admin, bundle()
    before = story.tables()
    for body in (
        signed(who, given),
        signed(who, given, app__msg__type="set_custom_endpoints"),
        signed(who, given, app__msg__created_at=STARTED),
        signed(who, given, ccf__msg__type="set_custom_endpoints", ccf__msg__created_at=STARTED),
        message(who, given, "set_runtime_options"),
        message(story.service.members[0], given),
        message(who, given)[:-1] + b"\0",
    ):
        refused(story.send("PUT", ROOT, body), 401, "InvalidAuthenticationInfo")
    for at in (10**10, STARTED + 10**6):
        refused(story.send("PUT", ROOT, message(who, given, at=at)), 400, "InvalidCreatedAt")
    reply = story.send("PUT", ROOT, message(story.user, given))
    refused(reply, 403, "AuthorizationFailed")
    assert story.unchanged(before)


X = "export function f() { return {}; }"

HOSTILE: dict[str, tuple[object, str]] = {
    "no JSON": (b"{", "truncated"),
    "a list": ([], "Expected `object`"),
    "no modules": ({"metadata": {"endpoints": {}}}, "modules"),
    "more members": ({**bundle(), "x": 1}, "unknown field `x`"),
    "path of the application": (bundle({"/notes/a": {"get": endpoint()}}), "begin with /custom/"),
    "path of the service": (bundle({"/commit": {"get": endpoint()}}), "begin with /custom/"),
    "path beside": (bundle({"/custom_endpoints": {"put": endpoint()}}), "begin with /custom/"),
    "path with a line feed": (bundle({"/custom/a\nb": {"get": endpoint()}}), "is no path"),
    "path with a query": (bundle({"/custom/a?b": {"get": endpoint()}}), "is no path"),
    "path too long": (bundle({"/custom/" + "a" * 300: {"get": endpoint()}}), "at most 256"),
    "open brace": (bundle({"/custom/{a": {"get": endpoint()}}), "closing curly bracket"),
    "endless pattern": (bundle({"/custom/{a}/(x+x+)+y": {"get": endpoint()}}), "only letters"),
    "parameters that share": (bundle({"/custom/{a}{b}/x": {"get": endpoint()}}), "another one"),
    "sharing by a dot": (bundle({"/custom/{a}.{b}/x": {"get": endpoint()}}), "nor a dot"),
    "name twice": (bundle({"/custom/{a}/{a}": {"get": endpoint()}}), "Duplicate"),
    "no verb": (bundle({"/custom/a": {"fetch": endpoint()}}), "cannot have this verb"),
    "verb twice": (bundle({"/custom/a": {"get": endpoint(), "GET": endpoint()}}), "twice"),
    "an index": (script(X, indexes={"i": {"map": "notes"}}), "have no indexes"),
    "a feed": (script(X, feed={"map": "notes"}), "have no feed"),
    "recorded": (script(X, record_request=True), "have no record_request"),
    "unknown mode": (script(X, mode="all"), "Mode"),
    "unknown policy": (script(X, authn_policies=["root"]), "Unknown auth policy"),
    "no policies": (bundle({"/custom/x": {"post": {"js_module": "x.js"}}}, {"x.js": X}), "Missing"),
    "module missing": (bundle(modules={"other.js": X}), "no module counter.js"),
    "module no text": (script(X, js_module=3), "js_module"),
    "no function": (script(X, js_function=""), "js_function is missing"),
    "import missing": (script('import "./gone.js"; export function f() {}'), "does not compile"),
    "syntax": (script("export function f( {"), "does not compile"),
    "module twice": (bundle(modules={"a.js": X, "/a.js": X}), "is there twice"),
    "module without name": (bundle(modules={"/": X}), "name has 1 to 256"),
    "module named NUL": (bundle(modules={"a\0b": X}), "name has 1 to 256"),
    "too many modules": (bundle(modules={f"{i}.js": X for i in range(201)}), "at most 200"),
    "too much": (script("//" + "x" * (1 << 20)), "characters together"),
    "too many endpoints": (
        bundle({f"/custom/{i}": {"get": endpoint()} for i in range(501)}),
        "at most 500",
    ),
    "deep": (b'{"metadata": {"endpoints": {"/custom/x": {"get": {"openapi": ' + b"[" * 100_000, ""),
    "half a surrogate": (
        b'{"metadata": {"endpoints": {}}, "modules": [{"name": "a", "module": "\\ud800"}]}',
        "",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_change_nothing(standing: Story, name: str) -> None:
    assert standing.install(bundle()).status == 204
    before = standing.tables()
    given, words = HOSTILE[name]
    assert words in refused(standing.install(given), 400, "InvalidInput")
    assert standing.unchanged(before)
    assert standing.call("POST", "/app/custom/a/count").status == 200


@pytest.mark.parametrize(
    "table",
    [
        "notes",
        "custom",
        "public:custom",
        "public:custom_endpoints.modules",
        "public:custom_endpoints.recent_actions",
        "public:programmability.roles.writer",
        "public:ccf.gov.users.certs",
        "public:ccf.gov.modules",
        "ccf.internal.x",
        "Custom.x",
        " custom.x",
    ],
)
def test_scripts_see_their_tables_only(standing: Story, table: str) -> None:
    assert standing.call("PUT", "/app/notes/a", {"text": "secret"}).status == 204
    text = """
    export function f(request) {
      const map = ccf.kv[request.body.text()];
      const key = ccf.strToBuf('"a"');
      const said = [];
      for (const act of [
        () => map.get(key), () => map.has(key), () => map.forEach(() => 0), () => map.size,
        () => map.set(key, key), () => map.delete(key), () => map.clear(),
        () => map.getVersionOfPreviousWrite(key),
      ]) {
        try { act(); said.push("done"); } catch (e) { said.push(e.message); }
      }
      return { body: said };
    }
    """
    assert standing.install(script(text)).status == 204
    reply = standing.call("POST", "/app/custom/x", table.encode())
    assert "secret" not in reply.body.decode()
    said = reply.json
    assert len(said) == 8
    assert all(f"on table named {table}. Only tables" in words for words in said)
    assert standing.call("GET", "/app/notes/a").json == {"text": "secret"}
    own = standing.call("POST", "/app/custom/x", b"custom.mine").json
    assert own == ["done"] * 8


def test_reserved_names_end_the_request(story: Story) -> None:
    text = 'export function f() { ccf.kv["ccf.x"].size; return {}; }'
    assert story.install(script(text)).status == 204
    refused(story.call("POST", "/app/custom/x"), 500, "InternalError")


def test_scripts_see_their_tables_only_in_the_past(story: Story) -> None:
    then = story.call("PUT", "/app/notes/a", {"text": "secret"}).txid
    text = """
    const look = (kv) => {
      const said = [];
      for (const name of ["notes", "custom.x"]) {
        try { kv[name].forEach((v) => said.push(ccf.bufToStr(v))); said.push("read"); }
        catch (e) { said.push(e.message); }
      }
      return said;
    };
    export function f() {
      const seqno = Number(ccf.historicalState.transactionId.split(".")[1]);
      const range = ccf.historical.getStateRange(1, seqno, seqno, 60);
      return { body: [look(ccf.historicalState.kv), range === null ? null : look(range[0].kv)] };
    }
    """
    assert story.install(script(text, mode="historical", forwarding_required="never")).status == 204
    settle(story.service)
    for _ in range(3):
        reply = story.service.call("POST", "/app/custom/x", headers={TXID_HEADER: then})
        story.service.tick()
    assert "secret" not in reply.body.decode()
    state, ranged = reply.json
    for said in (state, ranged):
        assert said[0].startswith('Cannot call "forEach" on table named notes. Only tables')
        assert said[1] == "read"


def test_scripts_cannot_govern_nor_run_on(story: Story) -> None:
    text = """
    export function f(request) {
      if (request.query === "loop") { for (;;) {} }
      if (request.query === "heap") { const a = []; for (;;) a.push(new Array(1000).fill(1)); }
      if (request.query === "deep") { const g = () => g() + 1; return { body: g() }; }
      return { body: "done" };
    }
    """
    assert story.install(script(text)).status == 204
    limits = {"max_execution_time_ms": 50, "max_heap_bytes": 4 << 20, "max_stack_bytes": 1 << 16}
    assert story.call("PATCH", f"{ROOT}/runtime_options", limits).json["max_heap_bytes"] == 4 << 20
    for query in ("loop", "heap", "deep"):
        refused(story.call("POST", f"/app/custom/x?{query}"), 500, "InternalError")
    enough = {"max_execution_time_ms": 5000}
    assert story.call("PATCH", f"{ROOT}/runtime_options", enough).status == 200
    assert story.call("POST", "/app/custom/x").body == b"done"
    acts = "[ccf.node?.triggerLedgerRekey, ccf.network?.generateNetworkCertificate, ccf.setJwt]"
    text = f"export function f() {{ return {{ body: {acts}.map((act) => typeof act) }}; }}"
    assert story.install(script(text)).status == 204
    assert story.call("POST", "/app/custom/x").json == ["undefined"] * 3


def test_runtime_options(story: Story) -> None:
    path = f"{ROOT}/runtime_options"
    defaults = story.call("GET", path).json
    assert defaults["max_execution_time_ms"] == 5000
    assert defaults["return_exception_details"] is False
    changed = story.call("PATCH", path, {"return_exception_details": True}).json
    assert changed == {**defaults, "return_exception_details": True}
    assert story.call("GET", path).json == changed
    assert story.install(script("export function f() { throw new Error('why'); }")).status == 204
    reply = story.call("POST", "/app/custom/x")
    assert "why" in reply.json["error"]["details"][0]["message"]
    assert story.call("PATCH", path, {}).json == changed
    for bad in (
        {"max_heap_bytes": 0},
        {"max_heap_bytes": 1 << 40},
        {"max_stack_bytes": 1 << 30},
        {"max_execution_time_ms": 5001},
        {"max_execution_time_ms": "5"},
        {"max_execution_time_ms": True},
        {"max_cached_interpreters": 11},
        {"max_cached_interpreters": -1},
        {"return_exception_details": "yes"},
        {"record_requests": True},
        [],
    ):
        refused(story.call("PATCH", path, bad), 400, "InvalidInput")
    assert story.call("GET", path).json == changed


def test_who_did_what_when(story: Story) -> None:
    assert story.call("GET", f"{ROOT}/audit").json == {"entries": [], "next": None}
    body = message(story.admin, bundle())
    by_signature = story.send("PUT", ROOT, body).txid
    assert story.rows("audit.input") == {UNIT: body}
    assert json.loads(story.rows("audit.info")[UNIT]) == {
        "action_name": "set_custom_endpoints",
        "format": "COSE",
        "user_id": story.admin.id,
    }
    options = {"log_exception_details": True}
    by_certificate = story.call("PATCH", f"{ROOT}/runtime_options", options).txid
    removed = story.call("DELETE", ROOT).txid
    settle(story.service)
    found = story.call("GET", f"{ROOT}/audit", who=story.user).json
    assert found["next"] is None
    assert found["entries"] == [
        {
            "transaction_id": txid,
            "user_id": story.admin.id,
            "action_name": action,
            "format": form,
            "created_at": at,
            "digest": sha256(sent).hexdigest(),
        }
        for txid, action, form, at, sent in (
            (by_signature, "set_custom_endpoints", "COSE", STARTED, body),
            (by_certificate, "set_runtime_options", "JSON", None, json.dumps(options).encode()),
            (removed, "remove_custom_endpoints", "JSON", None, b""),
        )
    ]
    later = int(by_certificate.partition(".")[2]) + 1
    rest = story.call("GET", f"{ROOT}/audit?from_seqno={later}", who=story.service.members[0]).json
    assert [entry["transaction_id"] for entry in rest["entries"]] == [removed]
    assert story.call("GET", f"{ROOT}/audit?from_seqno=1000000").json["entries"] == []


def test_the_audit_has_pages(story: Story) -> None:
    path = f"{ROOT}/runtime_options"
    for _ in range(130):
        assert story.call("PATCH", path, {"log_exception_details": True}).status == 200
    settle(story.service)
    found: list[str] = []
    following: int | None = 1
    pages = 0
    while following is not None:
        page = story.call("GET", f"{ROOT}/audit?from_seqno={following}").json
        found += [entry["transaction_id"] for entry in page["entries"]]
        following = page["next"]
        pages += 1
    assert pages == 2
    assert len(set(found)) == 130


def test_the_document_is_valid(story: Story) -> None:
    app = story.app
    made = openapi.document(
        title=app.title,
        description=app.description,
        version=app.version,
        prefix="/app",
        endpoints=app.endpoints(),
        schemas=app.schemas,
    )
    errors = list(OpenAPIV30SpecValidator(made).iter_errors())
    assert not errors, errors[0]
    paths = made["paths"]
    assert isinstance(paths, dict)
    for path, item in paths.items():
        for verb in set(item) - {"parameters"}:
            assert item[verb]["summary"], (path, verb)
