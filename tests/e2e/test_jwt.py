"""Bearer tokens against a real service, with keys fetched from real HTTPS servers of issuers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyccf.client import Client, ServiceError
from support.issuer_server import Authority, IssuerServer, elsewhere, endless
from support.sandbox import Sandbox
from support.tokens import Issuer, bearer

APP = """\
from pyccf.apps.python import App, AppContext, Table

notes = Table("notes", key=str, value=str)
app = App(title="Who", version="1.0.0")

@app.get("/who", auth=["jwt"])
def who(ctx: AppContext) -> list[str]:
    token = ctx.caller.jwt
    return [token.key_issuer, token.payload["sub"]]

@app.post("/note", auth=["jwt"])
def note(ctx: AppContext) -> None:
    notes(ctx).set("last", ctx.caller.jwt.payload["sub"])
"""

PATIENCE_S = 60


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("app")
    (folder / "app.py").write_text(APP)
    with Sandbox(folder, tmp_path_factory.mktemp("workspace"), "--nodes", "2") as one:
        yield one


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def metrics(client: Client) -> tuple[int, int]:
    told = client.get("/node/jwt_keys/refresh/metrics").check().json()
    assert isinstance(told, dict)
    return int(str(told["successes"])), int(str(told["failures"]))


def who(client: Client, token: str) -> object:
    return client.get("/app/who", headers=bearer(token)).check().json()


def refusal(client: Client, token: str) -> str:
    with pytest.raises(ServiceError) as caught:
        who(client, token)
    assert caught.value.status == 401
    return str(caught.value.details)


def register(sandbox: Sandbox, issuer: str, bundle: str) -> None:
    sandbox.govern(
        "set_jwt_issuer",
        {"issuer": issuer, "auto_refresh": True, "ca_cert_bundle_name": bundle},
    )


def test_keys_are_fetched_from_the_issuer_and_follow_it(sandbox: Sandbox, tmp_path: Path) -> None:
    authority = Authority("CA")
    with IssuerServer(tmp_path / "a", authority) as server, sandbox.client() as client:
        old, new = Issuer(server.url, "old"), Issuer(server.url, "new", ec=True)
        server.publish(old.jwks())
        sandbox.govern("set_ca_cert_bundle", {"name": "a", "cert_bundle": authority.cert})
        before, _ = metrics(client)
        register(sandbox, server.url, "a")
        eventually(lambda: metrics(client)[0] == before + 1, sandbox.log())
        assert server.asked == ["/.well-known/openid-configuration", "/keys"]
        assert who(client, old.token(sub="alice")) == [server.url, "alice"]
        assert "not found for kid new" in refusal(client, new.token(sub="alice"))

        server.publish(new.jwks())
        register(sandbox, server.url, "a")
        eventually(lambda: metrics(client)[0] == before + 2, sandbox.log())
        assert who(client, new.token(sub="bob")) == [server.url, "bob"]
        assert "not found for kid old" in refusal(client, old.token(sub="alice"))

        backup = sandbox.info.nodes[1].url
        with Client(backup, sandbox.info.service_cert) as there:
            reply = there.post("/app/note", headers=bearer(new.token(sub="carol")), wait="commit")
            assert reply.check().status == 204
            refused = there.post("/app/note", headers=bearer(old.token(sub="carol")))
            assert refused.status == 401
        sandbox.govern("remove_jwt_issuer", {"issuer": server.url})
        assert "not found for kid new" in refusal(client, new.token(sub="bob"))


def test_issuers_that_misbehave_change_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Another authority, another host, an endless answer, a redirection, no JSON, nobody there."""
    authority, stranger = Authority("good"), Authority("bad")
    servers = {
        "stranger": IssuerServer(tmp_path / "stranger", stranger),
        "host": IssuerServer(tmp_path / "host", authority, "IP:127.0.0.9"),
        "endless": IssuerServer(tmp_path / "endless", authority),
        "moved": IssuerServer(tmp_path / "moved", authority),
        "text": IssuerServer(tmp_path / "text", authority),
    }
    tell = {
        "stranger": "not signed by the certificate that was given",
        "host": "it is not for 127.0.0.1",
        "endless": "the answer is larger than",
        "moved": "it answered with status 302",
        "text": "its answer is not JSON",
    }
    where = "/.well-known/openid-configuration"
    log = Path(sandbox.info.workspace) / "node0" / "out"
    try:
        for name, server in servers.items():
            server.__enter__()
            server.publish(Issuer(server.url).jwks())
            if name == "endless":
                server.pages[where] = endless
            elif name == "moved":
                server.pages[where] = elsewhere
            elif name == "text":
                server.pages[where] = b"<html>"
        sandbox.govern("set_ca_cert_bundle", {"name": "b", "cert_bundle": authority.cert})
        with sandbox.client() as client:
            before = metrics(client)
            for server in servers.values():
                register(sandbox, server.url, "b")
            gone = "https://127.0.0.1:1"
            register(sandbox, gone, "b")
            for name, server in servers.items():
                line = f"keys of {server.url} were not refreshed: "
                eventually(
                    lambda line=line, name=name: any(  # type: ignore[misc]
                        line in one and tell[name] in one for one in log.read_text().splitlines()
                    ),
                    f"{name}: {sandbox.log()}",
                )
            eventually(lambda: f"keys of {gone} were not refreshed" in log.read_text(), "gone")
            after = metrics(client)
            assert after[0] == before[0]
            # What could be asked and answered wrongly counts: moved and text, each at least once.
            assert after[1] >= before[1] + 2
            reply = client.get("/gov/service/jwk", params={"api-version": "2024-07-01"})
            assert reply.check().json()["keys"] == {}  # type: ignore[index,call-overload]
        assert not any("/moved" in path or "/keys" in path for path in servers["moved"].asked)
        assert servers["stranger"].asked == servers["host"].asked == []
        for server in [*servers.values()]:
            sandbox.govern("remove_jwt_issuer", {"issuer": server.url})
    finally:
        for server in servers.values():
            server.__exit__(None, None, None)
