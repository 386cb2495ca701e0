"""Clients that are not ours talk to a service: a browser, curl, httpx and Node's fetch.

What is not on the machine is skipped, by name.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.browser import chromium
from support.programs import program
from support.samples import sample
from support.sandbox import Sandbox

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder: Path = tmp_path_factory.mktemp("foreign")
    with Sandbox(sample("logging"), folder / "workspace") as made:
        yield made


@pytest.fixture
def url(sandbox: Sandbox) -> str:
    return sandbox.info.nodes[0].url


def run(*command: str, **environment: str) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- curl -----------------------------------------------------------------------------------------


@pytest.fixture
def curl(sandbox: Sandbox) -> list[str]:
    user = sandbox.info.party("user0")
    secured = ["--cacert", sandbox.info.service_cert, "--cert", user.cert, "--key", user.key]
    return [program("curl"), "--silent", "--show-error", *secured]


def test_curl_writes_and_reads(curl: list[str], url: str) -> None:
    record = json.dumps({"id": 1, "msg": "by curl"})
    sent = ["-X", "POST", "-H", "content-type: application/json", "-d", record]
    assert run(*curl, *sent, f"{url}/app/log/private") == "true"
    assert json.loads(run(*curl, f"{url}/app/log/private?id=1")) == {"msg": "by curl"}


def test_curl_sees_verbs_and_heads(curl: list[str], url: str) -> None:
    options = run(*curl, "-i", "-X", "OPTIONS", f"{url}/app/commit")
    assert options.startswith("HTTP/1.1 204")
    assert "allow: OPTIONS, GET" in options
    head = run(*curl, "-I", f"{url}/node/primary")
    assert head.startswith("HTTP/1.1 200")


def test_curl_sends_a_large_body_after_asking(curl: list[str], url: str, tmp_path: Path) -> None:
    """curl waits a moment for `100 Continue`, which is never sent, and goes on."""
    body = tmp_path / "body"
    body.write_text(json.dumps({"id": 2, "msg": "x" * 4096, "more": "y" * 500_000}))
    sent = ["-H", "expect: 100-continue", "--data-binary", f"@{body}"]
    assert run(*curl, *sent, f"{url}/app/log/private") == "true"


def test_curl_uses_one_connection_for_many_requests(curl: list[str], url: str) -> None:
    targets = [f"{url}/node/commit"] * 20
    told = run(*curl, "-w", "\\n%{num_connects}\\n", *targets).split("\n")
    assert sum(int(line) for line in told if line.isdigit()) == 1
    assert sum("transaction_id" in line for line in told) == 20


# --- httpx ----------------------------------------------------------------------------------------


def test_httpx(sandbox: Sandbox, url: str) -> None:
    user = sandbox.info.party("user0")
    context = ssl.create_default_context(cafile=sandbox.info.service_cert)
    context.load_cert_chain(user.cert, user.key)
    with httpx.Client(base_url=url, verify=context) as client:
        wrote = client.post("/app/log/public", json={"id": 3, "msg": "by httpx"})
        assert (wrote.status_code, wrote.json()) == (200, True)
        txid = wrote.headers["x-ms-ccf-transaction-id"]
        while client.get("/app/tx", params={"transaction_id": txid}).json()["status"] == "Pending":
            pass
        receipt = client.get("/app/receipt", params={"transaction_id": txid})
        assert receipt.json()["leaf_components"]["claims_digest"]
        assert client.get("/app/log/public", params={"id": 3}).json() == {"msg": "by httpx"}
        refused = client.get("/app/log/public", params={"id": "x"})
        assert refused.json()["error"]["code"] == "InvalidInput"


# --- Node -----------------------------------------------------------------------------------------

SCRIPT = """
const url = process.argv[1];
const post = (path, body) => fetch(url + path, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});
const wrote = await post("/app/log/private/anonymous", { id: 5, msg: "by Node" });
const txid = wrote.headers.get("x-ms-ccf-transaction-id");
let status = "Pending";
while (status === "Pending") {
  status = (await (await fetch(`${url}/app/tx?transaction_id=${txid}`)).json()).status;
}
const many = await Promise.all(
  Array.from({ length: 50 }, async () => (await fetch(`${url}/node/commit`)).status),
);
const refused = await fetch(`${url}/app/log/private?id=5`);
const empty = await fetch(`${url}/node/ready/app`);
console.log(JSON.stringify({
  wrote: wrote.status,
  status,
  many: [...new Set(many)],
  refused: (await refused.json()).error.code,
  empty: [empty.status, await empty.text()],
}));
"""
SEEN = {
    "wrote": 200,
    "status": "Committed",
    "many": [200],
    "refused": "InvalidAuthenticationInfo",
    "empty": [204, ""],
}


def test_fetch_of_node(sandbox: Sandbox, url: str) -> None:
    command = (program("node"), "--input-type=module", "--eval", SCRIPT, url)
    told = run(*command, NODE_EXTRA_CA_CERTS=sandbox.info.service_cert)
    assert json.loads(told) == SEEN


# --- a browser ------------------------------------------------------------------------------------

IN_PAGE = """
const done = arguments[arguments.length - 1];
const post = (path, body) => fetch(path, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});
(async () => {
  const wrote = await post("/app/log/private/anonymous", { id: 6, msg: "by a browser" });
  const many = await Promise.all(
    Array.from({ length: 30 }, async () => (await fetch("/node/commit")).status),
  );
  const refused = await fetch("/app/log/private?id=6");
  const head = await fetch("/node/primary", { method: "HEAD" });
  const api = await (await fetch("/app/api")).json();
  done({
    wrote: wrote.status,
    txid: wrote.headers.get("x-ms-ccf-transaction-id"),
    many: [...new Set(many)],
    refused: (await refused.json()).error.code,
    head: head.status,
    api: api.openapi,
  });
})().catch((e) => done(`${e}`));
"""


def test_fetch_of_a_browser(url: str, tmp_path: Path) -> None:
    """From a page of the same origin: nobody else's page may ask (no CORS headers are sent)."""
    with chromium(tmp_path / "profile", "--ignore-certificate-errors") as browser:
        browser.get(f"{url}/node/version")
        assert "ccf_version" in browser.find_element("tag name", "body").text
        browser.set_script_timeout(TIMEOUT_S)
        told = browser.execute_async_script(IN_PAGE)
    assert isinstance(told, dict), told
    assert told.pop("txid").startswith("2.")
    assert told == {
        "wrote": 200,
        "many": [200],
        "refused": "InvalidAuthenticationInfo",
        "head": 200,
        "api": "3.0.0",
    }
