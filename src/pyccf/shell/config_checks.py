"""What a configuration that is well formed must not ask for: refused before anything is opened.

Names the key, as the reading of the file does (`config`), and what to write instead. What the
original takes and then fails with, later and in other words, is refused here, too. Raises
ConfigError.
"""

from __future__ import annotations

import contextlib
import os

from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPublicKey
from pyccf.errors import ConfigError
from pyccf.shell import config as cfg
from pyccf.shell.config import NodeConfig
from pyccf.shell.config_reader import decode
from pyccf.shell.config_schema import HTTP1, HTTP2, StartupFiles

WITHOUT_EFFECT = (
    "logging.host_level",
    "memory",
    "node_to_node_message_limit",
    "worker_threads",
)
"""Keys of the original about what this node does not have: a ring buffer, threads that execute
requests, one symmetric key between two nodes. They are read and judged, and that is all."""

ELECTION_TICKS_MIN = 4
"""A node looks at the clock at least so often while it waits for its primary."""


def check(config: NodeConfig) -> None:
    """Judge everything that is known without opening another file."""
    if not config.network.rpc_interfaces:
        raise ConfigError(
            "network.rpc_interfaces: a node needs an interface for clients.",
            hint='Write, for example, {"main": {"bind_address": "127.0.0.1:8000"}}.',
        )
    for name, interface in config.network.rpc_interfaces.items():
        _check_protocol(name, interface)
        published = interface.published_address
        if published is not None:
            host = published.host.strip("[]")
            key = f"network.rpc_interfaces.{name}.published_address"
            _check_alternative_name(key, certs.san_of_host(host))
    node = config.node_certificate
    _check_subject("node_certificate.subject_name", node.subject_name)
    for i, name in enumerate(node.subject_alt_names):
        _check_alternative_name(f"node_certificate.subject_alt_names[{i}]", name)
    if config.command.start is not None:
        subject = config.command.start.service_subject_name
        _check_subject("command.start.service_subject_name", subject)
    if config.command.join is not None and not config.command.join.target_rpc_address.port:
        raise ConfigError(
            f"command.join.target_rpc_address: {config.command.join.target_rpc_address.host} names"
            " no port.",
            hint='Write "host:port" of a node of the service.',
        )
    if config.command.recover is not None:
        _check_recovery(config, config.command.recover)


def check_members(config: NodeConfig, files: StartupFiles) -> None:
    """Judge the files of the members with whom a service is started."""
    given = config.command.start.members if config.command.start is not None else ()
    for i, (named, found) in enumerate(zip(given, files.members, strict=True)):
        key = f"command.start.members[{i}]"
        try:
            certs.fingerprint(found.certificate_pem)
            certs.subject(found.certificate_pem)
        except ValueError as e:
            raise ConfigError(
                f"{key}.certificate_file: {named.certificate_file}: {e}.",
                hint="It must hold the certificate of the member, in PEM.",
            ) from None
        if found.encryption_public_key_pem is not None:
            try:
                RsaPublicKey.from_pem(found.encryption_public_key_pem)
            except ValueError as e:
                raise ConfigError(
                    f"{key}.encryption_public_key_file: {named.encryption_public_key_file}: {e}.",
                    hint="It must hold an RSA public key in PEM: recovery shares are encrypted"
                    " with it.",
                ) from None


def warnings(config: NodeConfig) -> list[str]:
    """What is not refused, and will not do what somebody may expect of it."""
    found = [
        f"network.rpc_interfaces.{name}: there are no ACME certificates; nobody can connect."
        for name, interface in config.network.rpc_interfaces.items()
        if interface.authority is cfg.Authority.ACME
    ]
    consensus = config.consensus
    if consensus.message_timeout_ms >= consensus.election_timeout_ms:
        found.append(
            "consensus.message_timeout should be much shorter than consensus.election_timeout:"
            " backups will stand for election again and again."
        )
    if config.tick_interval_us * ELECTION_TICKS_MIN > consensus.election_timeout_ms * 1000:
        found.append(
            "tick_interval should be at most a quarter of consensus.election_timeout: a node looks"
            " at the clock no more often, and backups will stand for election again and again."
        )
    return found


def without_effect(config: NodeConfig) -> list[str]:
    """Which keys of the file are there for nothing."""
    given = decode(config.text, "configuration")
    logging = given.get("logging")
    if isinstance(logging, dict):
        given.update((f"logging.{key}", value) for key, value in logging.items())
    return [key for key in WITHOUT_EFFECT if key in given]


def _check_protocol(name: str, interface: cfg.RpcInterface) -> None:
    """Refuse what no interface of ours speaks."""
    key = f"network.rpc_interfaces.{name}"
    if interface.app_protocol not in (HTTP1, HTTP2):
        raise ConfigError(
            f"{key}.app_protocol: '{interface.app_protocol}' is not a protocol of this node.",
            hint=f"Write {HTTP1} or {HTTP2}.",
        )
    if interface.protocol == "udp":
        raise ConfigError(f"{key}.protocol: only TCP is served.", hint="Leave this key out.")


def _check_subject(key: str, text: str) -> None:
    try:
        certs.parse_subject(text)
    except ValueError as e:
        raise ConfigError(f"{key}: {e}.", hint="Write, for example, CN=My Service.") from None


def _check_alternative_name(key: str, text: str) -> None:
    """Refuse what the node's certificate could not be for."""
    try:
        certs.alternative_name(text)
    except ValueError as e:
        raise ConfigError(f"{key}: {e}.") from None


def _check_recovery(config: NodeConfig, recover: cfg.RecoverCommand) -> None:
    """Refuse to write the new identity over the one that is recovered."""
    target = config.command.service_certificate_file
    with contextlib.suppress(OSError):
        if os.path.samefile(recover.previous_service_identity_file, target):
            raise ConfigError(
                f"command.service_certificate_file: {target} is the previous service identity.",
                hint="The identity of the recovered service is written there. Name another file.",
            )
