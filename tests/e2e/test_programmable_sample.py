"""Users install endpoints in a running service, and all of it is in the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from pyccf.client import Client
from pyccf.codec import cbor
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PrivateKey
from pyccf.types import Json
from support.samples import SAMPLES
from support.sandbox import Sandbox

ROOT = "/app/custom_endpoints"
COSE = {"content-type": "application/cose"}
DEADLINE_S = 60.0
POLL_S = 0.05
MODULE = """
export function greet(request) {
  const seen = ccf.kv["public:custom.seen"];
  seen.set(ccf.strToBuf(request.params.name), ccf.strToBuf("yes"));
  return { body: `Hello ${request.params.name}, ${seen.size}` };
}
"""
BUNDLE: Json = {
    "metadata": {
        "endpoints": {
            "/custom/greet/{name}": {
                "post": {
                    "js_module": "greet.js",
                    "js_function": "greet",
                    "forwarding_required": "always",
                    "authn_policies": ["user_cert"],
                    "mode": "readwrite",
                }
            }
        }
    },
    "modules": [{"name": "greet.js", "module": MODULE}],
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(SAMPLES / "programmable-py", tmp_path / "sandbox", "--users", "2") as running:
        yield running


def signed(client: Client, payload: Json) -> bytes:
    """A bundle as an administrator signs it."""
    assert client.identity is not None
    key = PrivateKey.from_pem(Path(client.identity.key_path).read_text())
    head = [
        (cbor.integer(1), cbor.integer(key.public.curve.cose_alg)),
        (cbor.integer(4), cbor.bstr(client.identity.id.encode())),
        (cbor.tstr("app.msg.type"), cbor.tstr("set_custom_endpoints")),
        (cbor.tstr("app.msg.created_at"), cbor.integer(int(time.time()))),
    ]
    return cosesign.sign1(key, cbor.mapping(head), json.dumps(payload).encode(), detached=False)


def test_a_user_installs_endpoints_without_a_vote(sandbox: Sandbox) -> None:
    with sandbox.client("user0") as admin, sandbox.client("user1") as user:
        assert user.request("PUT", ROOT, json=BUNDLE).status == 403
        assert admin.identity is not None
        sandbox.govern(
            "set_user_data", {"user_id": admin.identity.id, "user_data": {"isAdmin": True}}
        )
        message = signed(admin, BUNDLE)
        with sandbox.client() as nobody:
            sent = nobody.request("PUT", ROOT, content=message, headers=COSE, wait="commit")
            assert sent.check().status == 204
            again = nobody.request("PUT", ROOT, content=message, headers=COSE)
            assert json.loads(again.body)["error"]["code"] == "ActionReplayed"
        assert user.post("/app/custom/greet/ada").body == b"Hello ada, 1"
        assert user.post("/app/custom/greet/bob").body == b"Hello bob, 2"
        expected = {
            "transaction_id": str(sent.txid),
            "user_id": admin.identity.id,
            "action_name": "set_custom_endpoints",
            "format": "COSE",
            "digest": sha256(message).hexdigest(),
        }
        deadline = time.monotonic() + DEADLINE_S
        while True:
            reply = user.get(f"{ROOT}/audit")
            entries = json.loads(reply.body)["entries"] if reply.status == 200 else []
            if entries:
                break
            assert time.monotonic() < deadline
            time.sleep(POLL_S)
        (entry,) = entries
        assert expected.items() <= entry.items()
        assert admin.request("DELETE", ROOT).status == 204
        assert user.post("/app/custom/greet/ada").status == 404
