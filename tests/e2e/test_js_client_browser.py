"""The JavaScript client in a real browser, on a page that a node's own application serves.

The browser trusts the key of the node that serves the page, as the people would who use it.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium.webdriver import Chrome

from pyccf.codec.text import b64
from support.browser import chromium
from support.js_client import notes
from support.sandbox import Sandbox
from support.tokens import Issuer

SCRIPT_TIMEOUT_S = 60

START = """
const done = arguments[arguments.length - 1];
const info = arguments[0];
(async () => {
  const { Client, Identity, InvalidReceipt, byFetch, verifyReceipt } =
    await import("/app/client/index.js");
  const connect = (more = {}) =>
    new Client({ url: location.origin, serviceCertificate: info.service, ...more });
  const load = ({ cert, key }) => Identity.load(cert, key);
"""
END = """
})().then((found) => done({ found }), (error) => done({ error: `${error.stack ?? error}` }));
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with notes(tmp_path_factory) as one:
        yield one


def key_of(url: str) -> str:
    """Digest of the key that a server shows, as Chromium is told which one to trust."""
    split = urlsplit(url)
    assert split.hostname is not None
    assert split.port is not None
    pem = ssl.get_server_certificate((split.hostname, split.port))
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64(hashlib.sha256(der).digest())


@contextmanager
def browsing(profile: Path, url: str, *trusted: str) -> Iterator[Chrome]:
    """A browser on the application's page."""
    keys = ",".join(key_of(one) for one in trusted)
    with chromium(profile, f"--ignore-certificate-errors-spki-list={keys}") as opened:
        opened.set_script_timeout(SCRIPT_TIMEOUT_S)
        opened.get(f"{url}/app/page")
        yield opened


@pytest.fixture(scope="module", params=[0, 1], ids=["primary", "backup"])
def browser(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chrome]:
    urls = [node.url for node in sandbox.info.nodes]
    with browsing(tmp_path_factory.mktemp("profile"), urls[request.param], *urls) as opened:
        assert opened.title == "Notes"
        yield opened


def play(sandbox: Sandbox, browser: Chrome, script: str, **more: object) -> Any:
    """What a script returns that runs in the page."""

    def texts(party: Any) -> dict[str, str]:
        return {"cert": Path(party.cert).read_text(), "key": Path(party.key).read_text()}

    page = browser.current_url
    info = {
        "service": Path(sandbox.info.service_cert).read_text(),
        "members": [texts(party) for party in sandbox.info.members],
        "users": [texts(party) for party in sandbox.info.users],
        "other": next(n.url for n in sandbox.info.nodes if not page.startswith(n.url)),
        **more,
    }
    said = browser.execute_async_script(START + script + END, info)
    assert "error" not in said, said
    return said["found"]


def test_writes_commits_and_proofs(sandbox: Sandbox, browser: Chrome) -> None:
    """Members let a token issuer in; a bearer writes, waits, and proves what was written."""
    issuer = Issuer("https://issuer.test")
    said = play(
        sandbox,
        browser,
        """
        const [first, second] = await Promise.all(
          info.members.map(async (member) => connect({ identity: await load(member) })));
        const args = { issuer: "https://issuer.test", jwks: info.jwks };
        let proposal = await first.propose([{ name: "set_jwt_issuer", args }]);
        for (const member of [first, second]) {
          if (proposal.proposalState === "Open") proposal = await member.vote(proposal.proposalId);
        }
        const client = connect({ token: async () => info.token });
        const reply = (await client.post("/app/notes", { json: { text: "hello" } })).check();
        await client.waitForCommit(reply.txid);
        const digest = new Uint8Array(
          await crypto.subtle.digest("SHA-256", new TextEncoder().encode("hello")));
        const receipt = await client.receipt(reply.txid);
        const proven = await client.verifyReceipt(receipt, { claims: digest });
        const waited = await client.post("/app/notes", { json: { text: "x" }, wait: "receipt" });
        const again = await client.verifyReceipt(waited.check().receipt);
        const headers = { "x-ms-ccf-transaction-id": reply.txid };
        const cose = (await client.get("/app/proof", { headers })).check().body;
        const same = await client.verifyReceipt(cose, { claims: digest });
        const refused = [];
        cose[cose.length - 1] ^= 1;
        for (const [bad, claims] of [[receipt, new Uint8Array(32)], [cose], [{}]]) {
          await client.verifyReceipt(bad, { claims })
            .catch((error) => refused.push(error instanceof InvalidReceipt));
        }
        return {
          state: proposal.proposalState, text: reply.json(), proven: proven.txid === reply.txid,
          again: again.txid === waited.txid, same: same.root === proven.root, refused,
        };
        """,
        jwks=issuer.jwks(),
        token=issuer.token(sub="alice"),
    )
    assert said == {
        "state": "Accepted",
        "text": True,
        "proven": True,
        "again": True,
        "same": True,
        "refused": [True, True, True],
    }


def test_a_key_that_the_browser_keeps_signs(sandbox: Sandbox, browser: Chrome) -> None:
    said = play(
        sandbox,
        browser,
        r"""
        const user = await load(info.users[0]);
        const reply = await connect({ identity: user }).postSigned("/app/signed", "my words");
        const der = Uint8Array.from(
          atob(info.users[0].key.split("-----")[2].replace(/\s/g, "")), (c) => c.charCodeAt(0));
        const algorithm = { name: "ECDSA", namedCurve: "P-384" };
        const kept = await crypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]);
        const same = await Identity.withKey(info.users[0].cert, kept);
        const again = await connect({ identity: same }).postSigned("/app/signed", "more");
        const wrong = await load({ ...info.users[0], key: info.members[0].key })
          .catch((error) => error.message);
        return [reply.check().json(), again.check().json(), user.id, wrong];
        """,
    )
    told, again, user, wrong = said
    assert told == [user, "my words"]
    assert again == [user, "more"]
    assert wrong == "the key is not that of the certificate"


def test_every_read_is_answered(sandbox: Sandbox, browser: Chrome) -> None:
    """All generated methods that need no argument."""
    said = play(
        sandbox,
        browser,
        r"""
        const client = connect();
        const { Endpoints } = await import("/app/client/generated.js");
        const found = {};
        for (const name of Object.getOwnPropertyNames(Endpoints.prototype)) {
          const text = Endpoints.prototype[name].toString();
          if (/^constructor|this\.signed|params\./.test(text)) continue;
          found[name] = await client[name]().then(() => 200, (error) => error.status);
        }
        return found;
        """,
    )
    assert len(said) > 35
    missing = {name: status for name, status in said.items() if status != 200}
    # A node is primary or backup (which sends HEAD on to the primary, another origin), and this
    # service was not recovered.
    no = {"getNodeBackup", "getNodePrimary", "headNodePrimary", "getNodeServicePreviousIdentity"}
    assert missing.keys() <= no, missing


def test_refusals_are_errors_and_other_origins_out_of_reach(
    sandbox: Sandbox, browser: Chrome
) -> None:
    said = play(
        sandbox,
        browser,
        """
        const refused = await connect().post("/app/notes", { json: { text: "x" } });
        let told;
        try {
          refused.check();
        } catch (error) {
          told = [error.name, error.status, error.code];
        }
        const lost = await connect().waitForCommit("1.1").catch((error) => error.name);
        const elsewhere = new Client({ url: info.other });
        return [told, lost, await elsewhere.getNodeVersion().catch((error) => error.name)];
        """,
    )
    refusal = ["ServiceError", 401, "InvalidAuthenticationInfo"]
    assert said == [refusal, "NotCommitted", "TypeError"]


def test_a_browser_that_was_not_told_trusts_no_node(sandbox: Sandbox, tmp_path: Path) -> None:
    first, second = (node.url for node in sandbox.info.nodes)
    # Both nodes have keys of their own: that of the other is trusted here.
    with browsing(tmp_path / "profile", first, second) as browser:
        deadline = time.monotonic() + SCRIPT_TIMEOUT_S
        while "ERR_CERT_AUTHORITY_INVALID" not in browser.page_source:
            assert time.monotonic() < deadline, browser.page_source
            time.sleep(0.05)
        assert browser.title != "Notes"
