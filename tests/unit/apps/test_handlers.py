"""Media types, signed bodies, conditions, and policies of an application's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec
import pytest

from pyccf.apps.auth import AuthFailure, UserCose
from pyccf.apps.context import Caller, Context
from pyccf.apps.python import App, AppContext, Reply
from pyccf.errors import LocalError, RpcError
from pyccf.types import TxID
from support.node import Person, Service
from support.py_sample import COSE, add_user, refused, signed


class Item(msgspec.Struct):
    id: int


def serve(app: App) -> Service:
    service = Service(app=app)
    service.open_app()
    service.tick()
    return service


class Own:
    """A policy that does as it is told."""

    name: ClassVar = "own"
    challenge: ClassVar = "Own realm"
    scheme: ClassVar = None

    def __init__(self, does: Callable[[Context], object]) -> None:
        self.does = does

    def authenticate(self, ctx: Context) -> Caller:
        return self.does(ctx)  # type: ignore[return-value]


def test_text_and_bytes_of_a_kind() -> None:
    app = App()

    @app.get("/text", produces="text/csv")
    def text(ctx: AppContext) -> str:
        return "a,ü"

    @app.get("/bytes", produces="application/cbor")
    def data(ctx: AppContext) -> bytes | Reply:
        if ctx.request.query:
            return Reply(404, "no")
        return b"\xf6"

    @app.get("/wrong", produces="text/plain")
    def wrong(ctx: AppContext) -> str:
        return 3  # type: ignore[return-value]

    @app.post("/eat", consumes="text/csv", produces="text/csv", description="d", deprecated=True)
    def eat(ctx: AppContext, body: bytes) -> str:
        return body.decode()

    service = serve(app)
    found = service.call("GET", "/app/text", headers={"accept": "text/csv"})
    assert (found.headers["content-type"], found.body.decode()) == ("text/csv", "a,ü")
    found = service.call("GET", "/app/bytes")
    assert (found.headers["content-type"], found.body) == ("application/cbor", b"\xf6")
    assert service.call("GET", "/app/bytes?x").status == 404
    assert service.call("GET", "/app/wrong").status == 500
    assert any("int for an answer that is text/plain" in line.text for line in service.logs)
    kind = {"content-type": "Text/CSV; charset=utf-8"}
    assert service.call("POST", "/app/eat", b"1,2", headers=kind).body == b"1,2"
    for other in ({}, {"content-type": "text/plain"}):
        reply = service.call("POST", "/app/eat", b"1,2", headers=other)
        assert "text/csv" in refused(reply, 415, "UnsupportedContentType")
    (words,) = (e.openapi for e in app.endpoints() if e.path == "/eat")
    assert words is not None
    assert (words["description"], words["deprecated"]) == ("d", True)


def test_media_types_must_fit_the_handler() -> None:
    app = App()
    with pytest.raises(LocalError, match="must return str or bytes"):

        @app.get("/number", produces="text/plain")
        def number(ctx: AppContext) -> int:
            return 1

    with pytest.raises(LocalError, match="must take body: bytes"):

        @app.post("/item", consumes="text/csv")
        def item(ctx: AppContext, body: Item) -> None:
            return None


def test_a_signed_body_is_what_was_signed() -> None:
    app = App()

    @app.post("/one", auth=["user_cose_sign1", "no_auth"])
    def one(ctx: AppContext, body: Item) -> int:
        return body.id

    @app.post("/both", auth=[{"all_of": ["user_cert", "user_cose_sign1"]}])
    def both(ctx: AppContext, body: Item) -> int:
        assert ctx.caller is not None
        assert len(ctx.caller.all_of) == 2
        return body.id

    @app.post("/raw", auth=["user_cose_sign1"])
    def raw(ctx: AppContext, body: bytes) -> int:
        return len(body)

    service = serve(app)
    user = add_user(service, "user")
    message = signed(user, {"id": 7})
    assert service.call("POST", "/app/one", message, headers=COSE).json == 7
    assert service.call("POST", "/app/one", {"id": 8}).json == 8
    assert service.call("POST", "/app/both", message, headers=COSE, caller=user).json == 7
    assert service.call("POST", "/app/raw", message, headers=COSE).json == len(message)
    refused(
        service.call("POST", "/app/both", message, headers=COSE), 401, "InvalidAuthenticationInfo"
    )


def test_a_policy_of_the_application() -> None:
    def judge(ctx: Context) -> Caller:
        name = ctx.request.headers.get("x-name")
        if name is None:
            raise AuthFailure("no name")
        return Caller("own", name, {"length": len(name)})

    app = App()

    @app.get("/who", auth=[Own(judge), "user_cert"])
    def who(ctx: AppContext) -> list[object]:
        assert ctx.caller is not None
        return [ctx.caller.policy, ctx.caller.id, ctx.caller.data]

    @app.get("/both", auth=[{"all_of": [Own(judge), "any_cert"]}])
    def both(ctx: AppContext) -> list[str]:
        assert ctx.caller is not None
        return [part.policy for part in ctx.caller.all_of]

    service = serve(app)
    known = {"x-name": "ada"}
    assert service.call("GET", "/app/who", headers=known).json == ["own", "ada", {"length": 3}]
    reply = service.call("GET", "/app/who")
    refused(reply, 401, "InvalidAuthenticationInfo")
    assert [d["auth_policy"] for d in reply.json["error"]["details"]] == ["own", "user_cert"]
    assert reply.json["error"]["details"][0]["message"] == "no name"
    stranger = Person("stranger", service.entropy)
    found = service.call("GET", "/app/both", headers=known, caller=stranger)
    assert found.json == ["any_cert", "own"]
    reply = service.call("GET", "/app/both", caller=stranger)
    assert reply.json["error"]["details"][0]["message"] == "own:no name"


@pytest.mark.parametrize(
    "harm",
    [AssertionError("secret"), SystemExit(3), RecursionError("secret"), ValueError("secret")],
)
def test_a_policy_that_fails_harms_only_its_request(harm: BaseException) -> None:
    def judge(ctx: Context) -> Caller:
        raise harm

    app = App()

    @app.get("/who", auth=[Own(judge)])
    def who(ctx: AppContext) -> None:
        return None

    service = serve(app)
    for _ in range(2):
        reply = service.call("GET", "/app/who")
        assert "secret" not in refused(reply, 500, "InternalError")
    assert not service.stopped
    assert any(type(harm).__name__ in line.text for line in service.logs)


class Wordless(LocalError):
    def __str__(self) -> str:
        raise RuntimeError("secret")


class Hollow(RpcError):
    def __init__(self) -> None:
        """What the errors of the package have is not made."""


UNSENDABLE: list[Callable[[], Exception]] = [
    lambda: RpcError(400, "InvalidInput", "\ud800"),
    lambda: RpcError(400, "\ud800", "m"),
    lambda: RpcError(400, "InvalidInput", "m", details=["\ud800"]),
    lambda: RpcError(400, "InvalidInput", ValueError("secret")),  # type: ignore[arg-type]
    lambda: RpcError(99, "InvalidInput", "m"),
    lambda: RpcError(101, "InvalidInput", "m"),
    lambda: RpcError("x", "InvalidInput", "m"),  # type: ignore[arg-type]
    lambda: RpcError(400, "InvalidInput", "m", headers={"a b": "c"}),
    lambda: RpcError(400, "InvalidInput", "m", headers={5: "c"}),  # type: ignore[dict-item]
    lambda: LocalError("\ud800"),
    lambda: LocalError(ValueError("secret")),  # type: ignore[arg-type]
    lambda: Wordless("m"),
    Hollow,
]


@pytest.mark.parametrize("harm", UNSENDABLE)
def test_a_refusal_that_cannot_be_sent_harms_only_its_request(
    harm: Callable[[], Exception],
) -> None:
    app = App()

    @app.get("/now")
    def now(ctx: AppContext) -> None:
        raise harm()

    @app.post("/ordered")
    def ordered(ctx: AppContext) -> None:
        def finish(txid: TxID) -> None:
            raise harm()

        ctx.kv("rows").set(b"k", b"v")
        ctx.when_ordered(finish)

    service = serve(app)
    for method, target in (("GET", "/app/now"), ("POST", "/app/ordered")):
        assert "secret" not in refused(service.call(method, target), 500, "InternalError")
        assert any(f"{method} {target} failed" in line.text for line in service.logs)


def test_a_policy_whose_reason_cannot_be_sent_harms_only_its_request() -> None:
    def judge(ctx: Context) -> Caller:
        raise AuthFailure("\ud800")

    app = App()

    @app.get("/who", auth=[Own(judge)])
    def who(ctx: AppContext) -> None:
        return None

    refused(serve(app).call("GET", "/app/who"), 500, "InternalError")


def test_a_policy_may_refuse_in_its_own_words() -> None:
    def judge(ctx: Context) -> Caller:
        raise RpcError(403, "AuthorizationFailed", "Not on Sundays")

    app = App()

    @app.get("/who", auth=[Own(judge), Own(lambda ctx: None)])
    def who(ctx: AppContext) -> None:
        return None

    @app.get("/nobody", auth=[Own(lambda ctx: None)])
    def nobody(ctx: AppContext) -> None:
        return None

    service = serve(app)
    assert refused(service.call("GET", "/app/who"), 403, "AuthorizationFailed") == "Not on Sundays"
    refused(service.call("GET", "/app/nobody"), 500, "InternalError")
    assert any("found a NoneType" in line.text for line in service.logs)


@pytest.mark.parametrize(
    "spec",
    [
        "nobody",
        {"all_of": []},
        {"any_of": ["jwt"]},
        {"all_of": ["jwt", "jwt"]},
        {"all_of": ["jwt"], "x": []},
        object(),
        7,
    ],
)
def test_what_is_no_policy(spec: object) -> None:
    with pytest.raises(ValueError, match=r"policy|all_of"):
        App().endpoint("GET", "/x", auth=[spec])  # type: ignore[list-item]


def test_conditions_and_tags() -> None:
    app = App()

    @app.put("/doc")
    def put(ctx: AppContext) -> bool:
        return ctx.is_unchanged("v1")

    @app.get("/doc")
    def get(ctx: AppContext) -> str | Reply:
        ctx.set_etag("v1")
        return Reply(304) if ctx.is_unchanged("v1") else "doc"

    service = serve(app)
    assert service.call("PUT", "/app/doc", headers={"if-match": '"v1"'}).json is False
    refused(
        service.call("PUT", "/app/doc", headers={"if-match": '"v2"'}), 412, "PreconditionFailed"
    )
    found = service.call("GET", "/app/doc", headers={"if-none-match": '"v1"'})
    assert (found.status, found.body, found.headers["etag"]) == (304, b"", '"v1"')
    assert service.call("GET", "/app/doc").headers["etag"] == '"v1"'


def test_the_answer_made_when_ordered_may_be_a_reply() -> None:
    app = App()

    @app.post("/add")
    def add(ctx: AppContext) -> Reply:
        ctx.kv("t").set(b"k", b"v")

        def ordered(txid: TxID) -> Reply:
            return Reply(201, str(txid))

        ctx.when_ordered(ordered)
        return Reply(200)

    reply = serve(app).call("POST", "/app/add")
    assert (reply.status, reply.body.decode()) == (201, reply.txid)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "Missing app.msg.type, expected app.msg.type to be order"),
        (
            {"app__msg__type": "other", "app__msg__created_at": 1},
            "Found app.msg.type set to other, expected app.msg.type to be order",
        ),
        ({"app__msg__type": "order"}, "Missing app.msg.created_at"),
        ({"app__msg__type": "order", "app__msg__created_at": 1}, ""),
    ],
)
def test_messages_signed_for_a_purpose(fields: dict[str, str | int], reason: str) -> None:
    app = App()

    @app.post("/order", auth=[UserCose("order", names="app.msg")])
    def order(ctx: AppContext, body: Item) -> int:
        return body.id

    service = serve(app)
    message = signed(add_user(service, "user"), {"id": 7}, **fields)
    reply = service.call("POST", "/app/order", message, headers=COSE)
    if not reason:
        assert reply.json == 7
        return
    refused(reply, 401, "InvalidAuthenticationInfo")
    (detail,) = reply.json["error"]["details"]
    assert (detail["auth_policy"], detail["message"]) == ("typed_user_cose_sign1", reason)


class Fussy(msgspec.Struct):
    """A type with code of its own."""

    n: int

    def __post_init__(self) -> None:
        assert self.n > 0
        if self.n > 9:
            raise SystemExit(3)
        if self.n > 8:
            raise ValueError("too many")


@pytest.mark.parametrize("given", ["body", "query"])
def test_types_with_code_of_their_own_fail_alone(given: str) -> None:
    app = App()

    @app.post("/body")
    def take_body(ctx: AppContext, body: Fussy) -> int:
        return body.n

    @app.post("/query")
    def take_query(ctx: AppContext, query: Fussy) -> int:
        return query.n

    service = serve(app)

    def ask(n: int) -> int:
        if given == "query":
            return service.call("POST", f"/app/query?n={n}").status
        return service.call("POST", "/app/body", b'{"n":%d}' % n).status

    assert [ask(n) for n in (1, -1, 9, 10, 2)] == [200, 500, 400, 500, 200]
