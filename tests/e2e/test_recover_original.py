"""A service of the original comes back in a real process, by its own members' commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pyccf.audit.verify import verify
from pyccf.client import Client, Identity
from pyccf.client.types import Action
from support.process import NodeProcess
from support.recovery_commands import pyccf, until
from support.vectors import vectors_dir

CONFIG: dict[str, Any] = {
    "network": {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
        "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
    },
    "node_certificate": {"initial_validity_days": 10},
    "command": {
        "type": "Recover",
        "service_certificate_file": "service_cert.pem",
        "recover": {
            "initial_service_certificate_validity_days": 10,
            "previous_service_identity_file": "previous.pem",
        },
    },
    "ledger_signatures": {"delay": "50ms"},
    "output_files": {"rpc_addresses_file": "rpc.json", "pid_file": "node.pid"},
}


@pytest.mark.parametrize("name", ["double_sealed_service", "sgx_service"])
def test_an_original_service(tmp_path: Path, name: str) -> None:
    theirs = vectors_dir() / "ccf" / "ledgers" / name
    for folder in ("ledger", "snapshots"):
        if (theirs / folder).is_dir():
            shutil.copytree(theirs / folder, tmp_path / folder)
            for file in (tmp_path / folder, *(tmp_path / folder).iterdir()):
                file.chmod(0o755 if file.is_dir() else 0o644)
    keys = tmp_path / "common"
    shutil.copytree(theirs / "common", keys)
    shutil.copyfile(keys / "service_cert.pem", tmp_path / "previous.pem")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    members = sorted(file.name.removesuffix("_cert.pem") for file in keys.glob("member*_cert.pem"))
    with NodeProcess(tmp_path) as node:
        node.wait_ready()
        url = "https://{}:{}".format(*node.address())

        def client(member: str) -> Client:
            pems = (str(keys / f"{member}_cert.pem"), str(keys / f"{member}_privk.pem"))
            return Client([url], str(tmp_path / "service_cert.pem"), cert=pems[0], key=pems[1])

        previous = ("--previous-identity", str(tmp_path / "previous.pem"))
        proposal = pyccf(node, keys, "recover", "accept", *previous)
        for member in members[1:]:
            if proposal["proposalState"] == "Open":
                with client(member) as other:
                    state = other.vote(proposal["proposalId"]).proposal_state
                proposal = {**proposal, "proposalState": state}
        assert proposal["proposalState"] == "Accepted"
        for member in members:
            enc_key = str(keys / f"{member}_enc_privk.pem")
            told = pyccf(node, keys, "member", "recover", "--enc-key", enc_key, member=member)
            if "End of recovery" in told["message"]:
                break
        until(lambda: node.get("/node/ready/app")[0] == 204, "the service to open")
        # Its governance works on, under its own constitution.
        with client(members[0]) as member0:
            voters = [
                Identity.load(str(keys / f"{m}_cert.pem"), str(keys / f"{m}_privk.pem"))
                for m in members
            ]
            done = member0.submit([Action("trigger_ledger_rekey", None)], signer=voters[0])
            for voter in voters:
                if done.proposal_state == "Open":
                    done = member0.vote(done.proposal_id, signer=voter)
            assert done.proposal_state == "Accepted", done
            assert member0.service_info().status == "Open"
        assert node.stop() == 0
    report = verify(tmp_path / "ledger")
    assert report.ok, report.error
    assert report.unsigned == 0
