"""The JavaScript client against a real service, under Node: TLS, fetch, governance, proofs, types.

In a browser: `test_js_client_browser.py`, with the same application.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.js_client import PACKAGE, notes, run
from support.samples import sample
from support.sandbox import Sandbox
from support.tokens import Issuer

START = """
import { connect } from "./src/node.js";
import { Client, Identity, NotCommitted, ServiceError, byFetch } from "./src/index.js";
import { readFileSync } from "node:fs";
const info = JSON.parse(process.argv[1]);
const say = (value) => console.log(JSON.stringify(value));
const as = (party, more = {}) =>
  connect(info.url, { serviceCert: info.service, cert: party?.cert, key: party?.key, ...more });
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with notes(tmp_path_factory) as one:
        yield one


def play(sandbox: Sandbox, script: str, node: int = 0, **environment: str) -> Any:
    def files(party: Any) -> dict[str, str]:
        return {"cert": party.cert, "key": party.key}

    info = {
        "url": sandbox.info.nodes[node].url,
        "service": sandbox.info.service_cert,
        "users": [files(p) for p in sandbox.info.users],
        "members": [files(p) for p in sandbox.info.members],
    }
    return run(START + script, json.dumps(info), **environment)


@pytest.mark.parametrize("node", [0, 1])
def test_a_write_and_its_proof(sandbox: Sandbox, node: int) -> None:
    """On the primary, and on a backup that passes it on."""
    said = play(
        sandbox,
        """
        const client = await as(info.users[0]);
        const reply = (await client.post("/app/notes", { json: { text: "hello" } })).check();
        await client.waitForCommit(reply.txid);
        const receipt = await client.receipt(reply.txid);
        const digest = new Uint8Array(
          await crypto.subtle.digest("SHA-256", new TextEncoder().encode("hello")));
        const proven = await client.verifyReceipt(receipt, { claims: digest });
        const waited = await client.post("/app/notes", { json: { text: "x" }, wait: "receipt" });
        const again = await client.verifyReceipt(waited.receipt);
        let wrong = "";
        await client.verifyReceipt(receipt, { claims: new Uint8Array(32) })
          .catch((error) => { wrong = error.name; });
        client.close();
        say([reply.json(), proven.txid === reply.txid, again.txid === waited.txid, wrong]);
        """,
        node,
    )
    assert said == [True, True, True, "InvalidReceipt"]


def test_what_is_refused_and_what_is_not_trusted(sandbox: Sandbox) -> None:
    said = play(
        sandbox,
        """
        const nobody = await as(undefined);
        const refused = await nobody.post("/app/notes", { json: { text: "x" } });
        let told;
        try {
          refused.check();
        } catch (error) {
          told = [error instanceof ServiceError, error.status, error.code];
        }
        const other = await connect(info.url, { serviceCert: info.users[0].cert });
        const untrusted = await other.getNodeVersion().catch((error) => error.code);
        const unsigned = await nobody.propose([]).catch((error) => error.name);
        const status = await nobody.waitForCommit("1.1").catch((error) => error.name);
        const wrongKey = await Identity.load(
          readFileSync(info.users[0].cert, "utf8"), readFileSync(info.members[0].key, "utf8"),
        ).catch((error) => error.message);
        nobody.close(); other.close();
        say([told, typeof untrusted, unsigned, status, wrongKey]);
        """,
    )
    assert said == [
        [True, 401, "InvalidAuthenticationInfo"],
        "string",
        "TypeError",
        "NotCommitted",
        "the key is not that of the certificate",
    ]


def test_every_read_is_answered(sandbox: Sandbox) -> None:
    """All generated methods that need no argument."""
    said = play(
        sandbox,
        """
        const client = await as(info.members[0]);
        const { Endpoints } = await import("./src/generated.js");
        const found = {};
        for (const name of Object.getOwnPropertyNames(Endpoints.prototype)) {
          const text = Endpoints.prototype[name].toString();
          if (/^constructor|this\\.signed|params\\./.test(text)) continue;
          found[name] = await client[name]().then(() => 200, (error) => error.status);
        }
        const { value } = await client.serviceStateListMembers();
        client.close();
        say([found, value.length]);
        """,
    )
    found, members = said
    assert members == 2
    missing = {name: status for name, status in found.items() if status != 200}
    # Neither is this node a backup nor was the service recovered.
    assert missing.keys() <= {"getNodeBackup", "getNodeServicePreviousIdentity"}
    assert len(found) > 35


def test_governance(sandbox: Sandbox) -> None:
    issuer = Issuer("https://issuer.test", ec=True)
    said = play(
        sandbox,
        f"""
        const [first, second] = [await as(info.members[0]), await as(info.members[1])];
        const jwks = {json.dumps(issuer.jwks())};
        const args = {{ issuer: "https://issuer.test", jwks }};
        const remove = {{ name: "remove_user", args: {{ user_id: "00".repeat(32) }} }};
        const made = await first.propose([remove]);
        const open = made.proposalState === "Open";
        const state = open ? (await first.withdraw(made.proposalId)).proposalState : "";
        let proposal = await first.propose([{{ name: "set_jwt_issuer", args }}]);
        for (const member of [first, second]) {{
          if (proposal.proposalState === "Open") proposal = await member.vote(proposal.proposalId);
        }}
        const digest = await second.acknowledge();
        first.close(); second.close();
        const caller = await as(undefined, {{ token: async () => "{issuer.token(sub="alice")}" }});
        const who = (await caller.get("/app/who")).check().json();
        caller.close();
        const user = await as(info.users[0]);
        const reply = await user.postSigned("/app/signed", "my words", {{ type: "note" }});
        const [id, content] = reply.check().json();
        user.close();
        const known = id === user.identity.id;
        say([state, proposal.proposalState, digest.stateDigest.length, who, known, content]);
        """,
    )
    assert said[0] in ("", "Withdrawn")
    assert said[1:] == ["Accepted", 64, "alice", True, "my words"]


def test_fetch_carries_it_too(sandbox: Sandbox) -> None:
    """As in a browser, which trusts the service otherwise."""
    said = play(
        sandbox,
        """
        const serviceCertificate = readFileSync(info.service, "utf8");
        const client = new Client({ url: info.url, carry: byFetch(), serviceCertificate });
        const { transaction_id: txid } = await client.getNodeCommit();
        const receipt = await client.receipt(txid);
        say([(await client.getNodeState()).state, typeof receipt.signature]);
        """,
        NODE_EXTRA_CA_CERTS=sandbox.info.service_cert,
    )
    assert said == ["PartOfNetwork", "string"]


def test_an_answer_that_does_not_come(sandbox: Sandbox) -> None:
    """Neither carrier waits for ever; with `wait` both wait as long as the service, and longer."""
    said = play(
        sandbox,
        """
        const { createServer } = await import("node:net");
        const server = createServer(() => {}).listen(0, "127.0.0.1");
        await new Promise((ready) => server.on("listening", ready));
        const there = `127.0.0.1:${server.address().port}`;
        const told = [];
        const ask = (client) => client.getNodeState().catch((error) => told.push(error.name));
        await ask(new Client({ url: `http://${there}`, timeoutMs: 100 }));
        const silent = await connect(
          `https://${there}`, { serviceCert: info.service, timeoutMs: 100 });
        await ask(silent);
        silent.close(); server.unref();
        const seen = [];
        const carry = async (method, url, headers, body, timeoutMs) => {
          seen.push([headers["x-pyccf-wait-timeout-ms"] ?? null, timeoutMs]);
          return { status: 204, headers: {}, body: new Uint8Array() };
        };
        const client = new Client({ url: info.url, carry, timeoutMs: 1000 });
        await client.get("/x");
        await client.post("/x", { wait: "commit" });
        await client.post("/x", { wait: "receipt", waitTimeoutMs: 20000 });
        say([told, seen]);
        process.exit(0);
        """,
    )
    assert said == [
        ["TooLate", "TooLate"],
        [[None, 1000], ["1000", 6000], ["20000", 25000]],
    ]


CHECKED = """
import { Client, GovApi, Identity, Proven, verifyReceipt } from "pyccf-client";
import { connect } from "pyccf-client/node";

async function use(): Promise<string> {
  const client = await connect("https://x", { serviceCert: "a", cert: "b", key: "c", token: "t" });
  const state: string = (await client.getNodeState()).state;
  const proposal: GovApi.Proposals_Proposal = await client.propose([{ name: "x", args: {} }]);
  await client.vote(proposal.proposalId, true);
  const pair = await crypto.subtle.generateKey(
    { name: "ECDSA", namedCurve: "P-384" }, false, ["sign"]);
  const kept: Identity = await Identity.withKey("pem", pair.privateKey);
  const proven: Proven = await client.verifyReceipt(await client.receipt("2.3"));
  // @ts-expect-error an id is a text
  await client.proposalsGet({ proposalId: 5 });
  // @ts-expect-error there is no such method
  await client.getNodeNothing();
  return state + proven.root + kept.id;
}
export { Client, Identity, use, verifyReceipt };
"""


def test_the_types_fit(tmp_path: Path) -> None:
    """A strict TypeScript program compiles against them; with the compiler of the sample."""
    compiler = sample("logging-ts") / "node_modules" / ".bin" / "tsc"
    package = tmp_path / "node_modules" / "pyccf-client"
    package.parent.mkdir()
    shutil.copytree(PACKAGE, package)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "use.ts").write_text(CHECKED)
    options = ("--strict", "--noEmit", "--module", "nodenext", "--target", "es2022")
    done = subprocess.run(
        [str(compiler), *options, "use.ts"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
