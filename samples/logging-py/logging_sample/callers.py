"""Who calls: several policies for one endpoint, one of this application's own, signed content."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import msgspec

from logging_sample.model import app
from pyccf.apps.auth import AuthFailure
from pyccf.apps.context import Caller, Context
from pyccf.apps.python import AppContext
from pyccf.errors import RpcError

AGE_MIN = 16


class Identity(msgspec.Struct):
    policy: str
    id: str | None
    data: Any


class ByHeaders:
    """A policy of this application's own: callers say who they are, and must be old enough.

    Nobody should do this. It shows how a policy looks at a request, names the caller or refuses.
    """

    name: ClassVar = "custom_auth"
    challenge: ClassVar = None
    scheme: ClassVar = None

    def authenticate(self, ctx: Context) -> Caller:
        headers = ctx.request.headers
        if "x-custom-auth-explode" in headers:
            raise ValueError(headers["x-custom-auth-explode"])
        for name in ("x-custom-auth-name", "x-custom-auth-age"):
            if name not in headers:
                raise AuthFailure(f"Missing required header {name}")
        name, age = headers["x-custom-auth-name"], headers["x-custom-auth-age"]
        if not name:
            raise AuthFailure("Caller name must not be empty")
        if not (age.isascii() and age.isdigit() and len(age) <= 3):
            raise AuthFailure("Caller age must be a number")
        if int(age) < AGE_MIN:
            raise AuthFailure(f"Caller age must be at least {AGE_MIN}")
        return Caller(self.name, name, {"name": name, "age": int(age)})


@app.get("/custom_auth", auth=[ByHeaders()], forwarding="always")
def custom_auth(ctx: AppContext) -> Any:
    """What the custom policy found out about the caller"""
    assert ctx.caller is not None, "the policy names a caller"
    data = ctx.caller.data
    assert isinstance(data, dict), "the policy says so"
    return {**data, "description": f"Your name is {data['name']} and you are {data['age']}"}


@app.get("/whoami", auth=["user_cert", "member_cert", "any_cert", "no_auth"])
def whoami(ctx: AppContext) -> Identity:
    """Who the service takes the caller for"""
    assert ctx.caller is not None, "the policy names a caller"
    return Identity(ctx.caller.policy, ctx.caller.id, ctx.caller.data)


def _party(caller: Caller, title: str, kind: str) -> list[str]:
    return [
        title,
        f"The caller is a {kind} with ID: {caller.id}",
        f"The caller's {kind} data is: {json.dumps(caller.data, indent=2, ensure_ascii=False)}",
        "The caller's cert is:",
        caller.cert_pem or "",
    ]


def describe(caller: Caller) -> list[str]:
    """A caller in words, whatever the policy."""
    if caller.all_of:
        parts = [line for part in caller.all_of for line in describe(part)]
        return [f"Conjoined auth policy: {caller.policy}", *parts]
    match caller.policy:
        case "user_cert":
            return _party(caller, "User TLS cert", "user")
        case "member_cert":
            return _party(caller, "Member TLS cert", "member")
        case "any_cert":
            return ["Any TLS cert", "The caller's cert is:", caller.cert_pem or ""]
        case "jwt":
            assert caller.jwt is not None, "the policy read a token"
            return [
                "JWT",
                f"The caller is identified by a JWT issued by: {caller.jwt.key_issuer}",
                f"The JWT header is:\n{json.dumps(caller.jwt.header, indent=2)}",
                f"The JWT payload is:\n{json.dumps(caller.jwt.payload, indent=2)}",
            ]
        case "user_cose_sign1":
            assert caller.cose is not None, "the policy read a signed message"
            signed = "The caller is identified by a COSE Sign1"
            return [
                "User COSE Sign1",
                f"{signed} signed by kid: {caller.id}",
                f"{signed} with content of size: {len(caller.cose.content)}",
            ]
        case _:
            return ["Unauthenticated", "The caller did not provide any authenticated identity"]


@app.post(
    "/multi_auth",
    auth=[
        {"all_of": ["user_cert", "jwt"]},
        "user_cert",
        "member_cert",
        "jwt",
        "user_cose_sign1",
        "any_cert",
        "no_auth",
    ],
    produces="text/plain",
)
def multi_auth(ctx: AppContext) -> str:
    """Who the caller is, by the first policy that knows"""
    assert ctx.caller is not None, "one of the policies welcomes everybody"
    return "\n".join(describe(ctx.caller))


@app.post("/log/cose_signed_content", auth=["member_cose_sign1"], produces="text/plain")
def cose_signed_content(ctx: AppContext) -> str:
    """What a member signed, as text"""
    assert ctx.caller is not None, "the policy names a caller"
    assert ctx.caller.cose is not None, "the policy read a signed message"
    try:
        return ctx.caller.cose.content.decode()
    except UnicodeDecodeError:
        raise RpcError(400, "InvalidInput", "The signed content is no text in UTF-8") from None


@app.get("/log/request_query", forwarding="always", produces="text/plain")
def request_query(ctx: AppContext) -> str:
    """The query of the request, decoded"""
    return ctx.request.query
