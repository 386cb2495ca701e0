"""A request to a real service, run again from the ledger it left."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pyccf.client import Client
from support.samples import SAMPLES
from support.sandbox_program import Sandbox, run


def app(folder: Path) -> Path:
    """The logging sample, with one endpoint that records its requests."""
    metadata = json.loads((SAMPLES / "logging" / "app.json").read_text())
    metadata["endpoints"]["/log/private"]["post"]["record_request"] = True
    chatty = {**metadata["endpoints"]["/whoami"]["get"], "js_module": "private.js"}
    metadata["endpoints"]["/chatty"] = {"get": {**chatty, "js_function": "log"}}
    made = folder / "app"
    (made / "src").mkdir(parents=True)
    (made / "app.json").write_text(json.dumps(metadata))
    for source in (SAMPLES / "logging" / "src").iterdir():
        (made / "src" / source.name).write_text(source.read_text())
    with (made / "src" / "private.js").open("a") as private:
        private.write("\nexport function log() { console.log('saving'); return {}; }\n")
    return made


def test_replay_with_members_keys(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, "--json", str(app(tmp_path)))
    try:
        info = sandbox.info
        user = info["users"][0]
        with Client(
            (info["nodes"][0]["url"],),
            str(info["service_cert"]),
            cert=user["cert"],
            key=user["key"],
        ) as client:
            reply = client.post("/app/log/private", json={"id": 1, "msg": "hi"}, wait="commit")
            assert reply.check().txid is not None
            seqno = str(reply.txid).split(".")[1]
            client.get("/app/chatty?secret=1").check()
    finally:
        sandbox.stop()
    logged = (sandbox.workspace / "node0" / "out").read_text()
    assert re.search(r"\| saving \[\d+\.\d+ GET /app/chatty\]\n", logged)
    keys = [word for member in info["members"] for word in ("--enc-key", member["enc_key"])]
    replayed = run("app", "replay", str(info["ledgers"][0]), seqno, *keys, cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert '  records.set(1, "hi")\n' in replayed.stdout
    assert replayed.stdout.endswith("The request wrote what the ledger says.\n")
    sealed = run("app", "replay", str(info["ledgers"][0]), seqno, cwd=tmp_path)
    assert sealed.returncode == 1
    assert "does not hold the request" in sealed.stderr
    assert "--enc-key opens it" in sealed.stderr
