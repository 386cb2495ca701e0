"""pyccf.cli.local_config: configurations that a node takes as they are."""

from __future__ import annotations

import json
from pathlib import Path

from pyccf.cli.keys import KeyFiles
from pyccf.cli.local_config import join_config, start_config
from pyccf.shell.config import Authority, RecoveryRole, effective_recovery_threshold, parse_config


def test_the_first_node() -> None:
    members = [
        KeyFiles("id", "/w/m_cert.pem", "/w/m_privk.pem", "/w/m_enc_privk.pem", "/w/m_enc_pubk.pem")
    ] * 3
    config = parse_config(json.dumps(start_config(8123, ["c/1.js"], members, 2 << 20)))
    interface = config.network.rpc_interfaces["primary_rpc_interface"]
    assert str(interface.bind_address) == "127.0.0.1:8123"
    assert interface.authority is Authority.SERVICE
    start = config.command.start
    assert start is not None
    assert interface.http_configuration.max_body_size_bytes == 2 << 20
    assert start.constitution_files == ("c/1.js",)
    assert effective_recovery_threshold(start) == 3
    assert start.members[0].effective_role is RecoveryRole.PARTICIPANT
    assert config.ledger_signatures.delay_ms == 100
    assert config.ignored_keys == ()


def test_a_further_node() -> None:
    config = parse_config(json.dumps(join_config(0, "127.0.0.1:8123", Path("/w/service_cert.pem"))))
    assert config.command.type.value == "Join"
    assert str(config.command.service_certificate_file) == "/w/service_cert.pem"
    join = config.command.join
    assert join is not None
    assert str(join.target_rpc_address) == "127.0.0.1:8123"
    assert join.follow_redirect
    assert config.ignored_keys == ()
