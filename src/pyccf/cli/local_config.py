"""Configurations of the nodes of a sandbox (spec: config-and-cli.md §3).

The settings are for one machine and a person who waits: signatures every 100 ms instead of every
second, and an election after 1 s to 2 s of silence instead of 5 s to 10 s, which is long enough for
nodes that share a few cores and seldom wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyccf.cli.keys import KeyFiles
from pyccf.types import Json

CONFIG_FILE = "config.json"
RPC_ADDRESSES_FILE = "node.rpc_addresses"
SERVICE_CERT_FILE = "service_cert.pem"
INTERFACE = "primary_rpc_interface"

SIGNATURE_DELAY = "100ms"
MESSAGE_TIMEOUT = "100ms"
ELECTION_TIMEOUT = "2000ms"
JOIN_RETRY_TIMEOUT = "100ms"
CERTIFICATE_DAYS = 90
MAX_BODY_SIZE = 1 << 20
"""Of a request, in bytes, if no other limit is wanted."""


def start_config(
    port: int,
    constitution: Sequence[str],
    members: Sequence[KeyFiles],
    max_body_size: int = MAX_BODY_SIZE,
) -> dict[str, Json]:
    """The first node: it starts a service with these members. Port 0 is any free one."""
    start: dict[str, Json] = {
        "constitution_files": list(constitution),
        "members": [
            {
                "certificate_file": member.cert,
                "encryption_public_key_file": member.enc_pub_key,
            }
            for member in members
        ],
        "service_configuration": {"recovery_threshold": 0},
        "initial_service_certificate_validity_days": CERTIFICATE_DAYS,
        "cose_signatures": {"issuer": "service.example.com", "subject": "ledger.signature"},
    }
    return _config(
        port,
        max_body_size,
        {"type": "Start", "service_certificate_file": SERVICE_CERT_FILE, "start": start},
    )


def join_config(
    port: int, target: str, service_cert: Path, max_body_size: int = MAX_BODY_SIZE
) -> dict[str, Json]:
    """A further node: it joins the service through the node at `target` (host:port)."""
    return _config(
        port,
        max_body_size,
        {
            "type": "Join",
            "service_certificate_file": str(service_cert),
            "join": {"target_rpc_address": target, "retry_timeout": JOIN_RETRY_TIMEOUT},
        },
    )


def _config(port: int, max_body_size: int, command: dict[str, Json]) -> dict[str, Json]:
    interface: Json = {
        "bind_address": f"127.0.0.1:{port}",
        "http_configuration": {"max_body_size": str(max_body_size)},
    }
    return {
        "network": {
            "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
            "rpc_interfaces": {INTERFACE: interface},
        },
        "node_certificate": {
            "subject_alt_names": ["iPAddress:127.0.0.1", "dNSName:localhost"],
            "initial_validity_days": CERTIFICATE_DAYS,
        },
        "command": command,
        "consensus": {
            "message_timeout": MESSAGE_TIMEOUT,
            "election_timeout": ELECTION_TIMEOUT,
        },
        "ledger_signatures": {"delay": SIGNATURE_DELAY},
        "output_files": {
            "node_certificate_file": "node.pem",
            "pid_file": "node.pid",
            "node_to_node_address_file": "node.node_address",
            "rpc_addresses_file": RPC_ADDRESSES_FILE,
        },
    }
