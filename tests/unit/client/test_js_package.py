"""The JavaScript package: generated from our documents, and its receipts verified as ours are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyccf.codec.text import b64
from pyccf.crypto import certs
from pyccf.crypto.entropy import SeededEntropy
from pyccf.ledger import receipt as receipts
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.types import TxID
from support.js_client import PACKAGE, generate, run
from support.ledgers import Service, small_service
from support.node import Person

REGENERATE = "an OpenAPI document changed: cd tests && python -m support.js_client"

VERIFY = """
import { verifyReceipt } from "./src/index.js";
import { readFileSync } from "node:fs";
const cases = JSON.parse(readFileSync(process.argv[1], "utf8"));
const found = [];
for (const { receipt, pem, claims } of cases) {
  const bytes = (text, form) => new Uint8Array(Buffer.from(text, form));
  const given = typeof receipt === "string" ? bytes(receipt, "base64") : receipt;
  const wanted = claims === null ? undefined : bytes(claims, "hex");
  try {
    found.push(await verifyReceipt(given, pem, { claims: wanted }));
  } catch (error) {
    found.push(`${error.name}: ${error.message}`);
  }
}
console.log(JSON.stringify(found));
"""


@pytest.mark.parametrize("name", ["generated.js", "generated.d.ts"])
def test_what_was_generated_is_up_to_date(name: str) -> None:
    text = generate()[name]
    assert (PACKAGE / "src" / name).read_text(encoding="utf-8") == text, REGENERATE


# --- receipts ---------------------------------------------------------------------------------

CLAIMS = hashlib.sha256(b"claims").digest()


@pytest.fixture(scope="module")
def service() -> Service:
    made = small_service(4)
    made.record(b"with claims", claims=CLAIMS)
    made.record(b"private", private=True)
    made.sign()
    return made


def last_signature(service: Service) -> ParsedEntry:
    return parse(service.entries[service.signed - 1].data)


def claimed(service: Service) -> tuple[ParsedEntry, str]:
    entry = next(e for e in (parse(one.data) for one in service.entries) if e.claims == CLAIMS)
    return entry, service.history.evidence(TxID(entry.view, entry.seqno))


def verify(folder: Path, *cases: tuple[object, str, str | None]) -> list[Any]:
    path = folder / "cases.json"
    keys = ("receipt", "pem", "claims")
    path.write_text(json.dumps([dict(zip(keys, case, strict=True)) for case in cases]))
    found: list[Any] = run(VERIFY, str(path))
    return found


def test_json_receipts(service: Service, tmp_path: Path) -> None:
    pem = service.identity.service_cert
    entry, evidence = claimed(service)
    good: Any = receipts.json_receipt(entry, last_signature(service), evidence)
    told = receipts.verify_json_receipt(good, pem)
    other = good["cert"]
    components = good["leaf_components"]
    changed = [
        {**good, "leaf_components": {**components, "write_set_digest": "00" * 32}},
        {**good, "leaf_components": {**components, "claims_digest": "01" * 32}},
        {**good, "leaf_components": {**components, "commit_evidence": "ce:2.3:00"}},
        {**good, "proof": [*good["proof"], {"left": "00" * 32}]},
        {**good, "proof": [{"up": "00" * 32}]},
        {**good, "proof": [{"left": "00"}]},
        {**good, "proof": "no"},
        {**good, "node_id": "00" * 32},
        {**good, "signature": b64(bytes(104))},
        {**good, "cert": pem},
        {**good, "cert": "no"},
        {**good, "service_endorsements": [other]},
        {**good, "leaf": "00" * 32},
        {},
    ]
    found = verify(
        tmp_path,
        (good, pem, None),
        (good, pem, CLAIMS.hex()),
        (good, pem, "02" * 32),
        (good, other, None),
        *((one, pem, None) for one in changed),
    )
    assert found[0] == {
        "txid": str(told.txid),
        "root": told.root.hex(),
        "leaf": told.leaf.hex(),
        "claims": CLAIMS.hex(),
        "nodeId": told.node,
    }
    assert found[1] == found[0]
    for one in found[2:]:
        assert isinstance(one, str), one
        assert one.startswith("InvalidReceipt: "), one


def flipped(data: bytes) -> Iterator[bytes]:
    """The same with one bit changed, here and there."""
    for at in range(0, len(data), 7):
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_cose_receipts(service: Service, tmp_path: Path) -> None:
    pem = service.identity.service_cert
    entry, evidence = claimed(service)
    good = receipts.cose_receipt(entry, last_signature(service), evidence)
    told = receipts.verify_cose_receipt(good, certs.public_key(pem))
    node = receipts.json_receipt(entry, last_signature(service), evidence)["cert"]
    wrong = [*flipped(good), good[:-1], good + b"\0", b"", good[1:]]
    found = verify(
        tmp_path,
        (b64(good), pem, None),
        (b64(good), pem, CLAIMS.hex()),
        (b64(good), pem, "02" * 32),
        (b64(good), str(node), None),
        *((b64(one), pem, None) for one in wrong),
    )
    assert found[0] == {
        "txid": str(told.txid),
        "root": told.root.hex(),
        "leaf": told.leaf.hex(),
        "claims": CLAIMS.hex(),
        "nodeId": None,
    }
    assert found[1] == found[0]
    for one in found[2:]:
        assert isinstance(one, str), one
        assert one.startswith("InvalidReceipt: "), one


def test_the_receipt_of_a_signature_is_refused_in_words(service: Service, tmp_path: Path) -> None:
    entry = last_signature(service)
    made = receipts.json_receipt(entry, entry, None)
    (found,) = verify(tmp_path, (made, service.identity.service_cert, None))
    assert found == "InvalidReceipt: The receipt of a signature cannot be verified here."


# --- requests ---------------------------------------------------------------------------------

REQUESTS = """
import { Client, Identity, InvalidReceipt, NotCommitted, TooLate } from "./src/index.js";
const empty = new Uint8Array();
const json = (value) => new TextEncoder().encode(JSON.stringify(value));
/** A client of a service that answers by a table, and what it was asked. */
function made(answers, more = {}) {
  const asked = [];
  const carry = async (method, url, headers, body) => {
    asked.push([method, url, headers, body === undefined ? "" : new TextDecoder().decode(body)]);
    const [status, told, given] = answers[Math.min(asked.length, answers.length) - 1];
    return { status, headers: given ?? {}, body: told === undefined ? empty : json(told) };
  };
  return [new Client({ url: "https://a.test:1", carry, ...more }), asked];
}
const to = (location) => [307, undefined, { location }];
const name = (promise) => promise.then(() => "fine", (error) => `${error.name}: ${error.message}`);
const status = (value) => [200, { status: value }, { "content-type": "application/json" }];
const results = {};
{
  const answers = [to("https://b.test/app/x?y=1"), [200, true]];
  const [client, asked] = made(answers, { token: async () => "t" });
  results.redirected = [(await client.post("/app/x", { json: 5, wait: "commit" })).json(), asked];
}
{
  const [client] = made([to("http://b.test/app/x")]);
  results.downgrade = await name(client.get("/app/x"));
}
{
  const [client, asked] = made([to("/again")]);
  results.circle = [await name(client.get("/app/x")), asked.length];
}
{
  const [client, asked] = made([status("Unknown"), status("Pending"), status("Committed")]);
  await client.waitForCommit("2.5");
  results.committed = [asked.length, asked[0][1]];
}
{
  const [client] = made([status("Invalid")]);
  results.lost = await name(client.waitForCommit("2.5"));
}
{
  let now = 0;
  const [client] = made([status("Pending")], { now: () => (now += 40) });
  results.late = await name(client.waitForCommit("2.5", 100));
}
{
  const refusal = { error: { code: "ResourceNotFound", message: "no", details: [1] } };
  const [client] = made([[404, refusal]]);
  const error = await client.getNodeState().catch((e) => e);
  results.refused = [error.status, error.code, error.message, error.details];
}
{
  const [client] = made([[502]]);
  results.silent = await name(client.getNodeState());
}
{
  const [client] = made([[200, { a: 1 }, { "content-type": "application/json" }]]);
  const missing = () => client.proposalsGet({});
  try { missing(); } catch (error) { results.missing = error.message; }
}
{
  const [client, asked] = made([[200, "x", {}]]);
  await client.getNodeNetworkNodes({ status: "Trusted", host: undefined });
  results.query = asked.at(-1)[1];
}
console.log(JSON.stringify(results));
"""


def test_nobody_is_trusted_without_a_service_certificate() -> None:
    said = run(
        'import { connect } from "./src/node.js";'
        'const said = await connect("https://a.test", {}).catch((error) => error.message);'
        "console.log(JSON.stringify(said));"
    )
    assert said == "give the service certificate, which is all that is trusted"


TRICKLES = """
import { readFileSync } from "node:fs";
import { Agent, createServer } from "node:https";
import { byNode } from "./src/node.js";
const [cert, key] = process.argv.slice(1).map((path) => readFileSync(path, "utf8"));
const server = createServer({ cert, key }, (asked, answer) => {
  if (asked.url === "/whole") return answer.end("all of it");
  const drops = setInterval(() => answer.write("."), 10);
  answer.on("close", () => clearInterval(drops));
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const carry = byNode({ agent: new Agent({ keepAlive: true, rejectUnauthorized: false }) });
const ask = (path) =>
  carry("GET", `https://127.0.0.1:${server.address().port}${path}`, {}, undefined, 300);
const trickled = await ask("/").then(() => "fine", (error) => error.name);
const whole = new TextDecoder().decode((await ask("/whole")).body);
carry.close();
server.close(() => console.log(JSON.stringify([trickled, whole])));
"""


def test_an_answer_that_trickles_in_is_not_waited_for_until_it_ends(tmp_path: Path) -> None:
    server = Person("server", SeededEntropy(bytes(32)))
    (tmp_path / "cert.pem").write_text(server.cert)
    (tmp_path / "key.pem").write_text(server.key.pem())
    said = run(TRICKLES, str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    assert said == ["TooLate", "all of it"]


def test_requests_redirects_and_refusals() -> None:
    said = run(REQUESTS)
    answer, asked = said["redirected"]
    assert answer is True
    assert [(method, url) for method, url, _, _ in asked] == [
        ("POST", "https://a.test:1/app/x"),
        ("POST", "https://b.test/app/x?y=1"),
    ]
    for _, _, headers, body in asked:
        assert headers["authorization"] == "Bearer t"
        assert headers["x-pyccf-wait"] == "commit"
        assert body == "5"
    assert "redirects away from TLS" in said["downgrade"]
    assert said["circle"][0].startswith("Error: more than 5 redirects")
    assert said["circle"][1] == 6
    assert said["committed"] == [3, "https://a.test:1/node/tx?transaction_id=2.5"]
    assert said["lost"].startswith("NotCommitted: Transaction 2.5")
    assert said["late"].startswith("TooLate: Transaction 2.5 was not committed within 100 ms")
    assert said["refused"] == [404, "ResourceNotFound", "no (404 ResourceNotFound)", [1]]
    assert said["silent"].startswith("ServiceError: No explanation given (502")
    assert said["missing"] == "a path parameter is missing"
    assert said["query"] == "https://a.test:1/node/network/nodes?status=Trusted"
