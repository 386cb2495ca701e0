"""A consortium that has the original's scripts, curl and openssl, and nothing of ours.

Members make their keys with `keygenerator.sh`, sign with `ccf_cose_sign1`, and hand in their shares
of the recovery key with `submit_recovery_share.sh`, all as the original's package installs them.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyccf import constitutions
from support.process import NodeProcess, make_config
from support.recovery_commands import until

MEMBERS = {"member0": "secp384r1", "member1": "secp256r1"}
VERSION = "api-version=2024-07-01"
TOOLS = Path(sys.executable).parent
NEEDED = ("bash", "curl", "jq", "openssl")

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, NEEDED)), reason=f"the scripts call {', '.join(NEEDED)}"
)


class Consortium:
    """The members of one service, who keep their keys in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, curve in MEMBERS.items():
            self.run("keygenerator.sh", "--name", name, "--gen-enc-key", "--curve", curve)
        self.run("keygenerator.sh", "--name", "user0")

    def run(self, tool: str, *arguments: str) -> bytes:
        path = os.pathsep.join([str(TOOLS), os.environ["PATH"]])
        done = subprocess.run(
            [tool, *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": path, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (tool, done.stdout.decode(), done.stderr.decode())
        return done.stdout

    def id(self, name: str) -> str:
        """Fingerprint of a certificate, as the scripts find it."""
        told = self.run("openssl", "x509", "-in", f"{name}_cert.pem", *FINGERPRINT).decode()
        return told.partition("=")[2].strip().replace(":", "").lower()

    def curl(self, node: NodeProcess, path: str, *options: str) -> Any:
        host, port = node.address()
        cacert = str(node.folder / "service_cert.pem")
        url = f"https://{host}:{port}{path}"
        body = self.run("curl", "-sS", "--fail-with-body", url, "--cacert", cacert, *options)
        return json.loads(body) if body else None

    def post(
        self, node: NodeProcess, path: str, member: str, kind: str, body: Any, about: str = ""
    ) -> Any:
        """Sign as one of the original's tools does, and send as its documentation does."""
        (self.folder / "content").write_text("" if body is None else json.dumps(body))
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        signing = ["--content", "content", "--ccf-gov-msg-type", kind]
        signing += ["--ccf-gov-msg-created-at", now, "--signing-key", f"{member}_privk.pem"]
        signing += ["--signing-cert", f"{member}_cert.pem"]
        if about:
            signing += ["--ccf-gov-msg-proposal-id", about]
        (self.folder / "signed").write_bytes(self.run("ccf_cose_sign1", *signing))
        sending = ["-H", "Content-Type: application/cose", "--data-binary", "@signed"]
        return self.curl(node, f"{path}?{VERSION}", "-X", "POST", *sending)

    def accept(self, node: NodeProcess) -> None:
        """Every member becomes active, by signing the present state."""
        for name in MEMBERS:
            digest = f"/gov/members/state-digests/{self.id(name)}"
            state = self.post(node, f"{digest}:update", name, "state_digest", None)
            self.post(node, f"{digest}:ack", name, "ack", state)

    def decide(self, node: NodeProcess, action: str, **args: Any) -> None:
        """One proposes, both vote for it."""
        proposals = "/gov/members/proposals"
        proposal = {"actions": [{"name": action, "args": args}]}
        made = self.post(node, f"{proposals}:create", "member0", "proposal", proposal)
        ballot = {"ballot": "export function vote (rawProposal, proposerId) { return true; }"}
        found = made
        for name in MEMBERS:
            number = made["proposalId"]
            to = f"{proposals}/{number}/ballots/{self.id(name)}:submit"
            found = self.post(node, to, name, "ballot", ballot, number)
        assert found["proposalState"] == "Accepted"

    def open(self, node: NodeProcess, previous: str | None = None) -> None:
        identities = {"next_service_identity": (node.folder / "service_cert.pem").read_text()}
        if previous is not None:
            identities["previous_service_identity"] = previous
        self.decide(node, "transition_service_to_open", **identities)


FINGERPRINT = ("-noout", "-fingerprint", "-sha256")


def configure(folder: Path, **command: Any) -> None:
    config = make_config(folder)
    (folder / "constitution.js").write_text(constitutions.text("default"))
    config["command"] = command
    (folder / "config.json").write_text(json.dumps(config))


def found(folder: Path, keys: Path) -> NodeProcess:
    """A node that starts a service of these members."""
    folder.mkdir()
    members = [
        {
            "certificate_file": str(keys / f"{name}_cert.pem"),
            "encryption_public_key_file": str(keys / f"{name}_enc_pubk.pem"),
        }
        for name in MEMBERS
    ]
    start = {
        "constitution_files": ["constitution.js"],
        "members": members,
        "service_configuration": {"recovery_threshold": len(MEMBERS)},
    }
    configure(folder, type="Start", start=start)
    return NodeProcess(folder)


def recover(folder: Path, old: Path) -> NodeProcess:
    """A node that recovers that service from its ledger."""
    folder.mkdir()
    shutil.copytree(old / "ledger", folder / "ledger")
    shutil.copyfile(old / "service_cert.pem", folder / "previous.pem")
    recovering = {"previous_service_identity_file": "previous.pem"}
    configure(folder, type="Recover", recover=recovering)
    return NodeProcess(folder)


def test_a_service_is_opened_and_recovered(tmp_path: Path) -> None:
    who = Consortium(tmp_path / "keys")
    user = (tmp_path / "keys" / "user0_cert.pem").read_text()
    with found(tmp_path / "first", who.folder) as node:
        node.wait_ready()
        until(lambda: json.loads(node.get("/node/state")[1])["last_signed_seqno"] > 0, "signature")
        who.accept(node)
        who.decide(node, "set_user", cert=user, user_data={"from": "scripts"})
        who.open(node)
        until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open")
        listed = who.curl(node, f"/gov/service/users/{who.id('user0')}?{VERSION}")
        assert listed["userData"] == {"user_data": {"from": "scripts"}}
        assert node.stop() == 0
    previous = (tmp_path / "first" / "service_cert.pem").read_text()
    with recover(tmp_path / "second", tmp_path / "first") as node:
        node.wait_ready()
        who.open(node, previous)
        host, port = node.address()
        for name in MEMBERS:
            keys = ["--member-enc-privk", f"{name}_enc_privk.pem"]
            keys += ["--member-id-privk", f"{name}_privk.pem"]
            keys += ["--member-id-cert", f"{name}_cert.pem", "--api-version", "2024-07-01"]
            cacert = ["--cacert", str(node.folder / "service_cert.pem")]
            told = who.run("submit_recovery_share.sh", f"https://{host}:{port}", *keys, *cacert)
            assert b"HTTP/1.1 200 OK" in told
        assert b"End of recovery procedure initiated" in told
        until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open again")
        assert who.curl(node, "/node/network")["recovery_count"] == 1
