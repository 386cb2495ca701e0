"""Configurations that are well formed and ask for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyccf.errors import ConfigError
from pyccf.shell import config as cfg
from pyccf.shell import config_checks
from support.process import make_config
from support.vectors import vectors_dir


def changed(folder: Path, key: str, value: Any) -> cfg.NodeConfig:
    """A configuration for a new service, one key of which is another."""
    config = make_config(folder)
    at: Any = config
    *path, last = key.split(".")
    for part in path:
        at = at.setdefault(part, {})
    at[last] = value
    return cfg.parse_config(json.dumps(config))


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("network.rpc_interfaces", {}, "a node needs an interface for clients"),
        ("network.rpc_interfaces.main.app_protocol", "QUIC", "'QUIC' is not a protocol"),
        ("network.rpc_interfaces.main.protocol", "udp", "only TCP is served"),
        ("network.rpc_interfaces.main.published_address", "ä:80", "not a name in ASCII"),
        ("network.rpc_interfaces.main.published_address", "1.2.3.4.5:80", "not an IP address"),
        ("node_certificate.subject_name", "foo", "'foo' is not <known attribute>=<value>"),
        ("node_certificate.subject_name", "CN=" + "x" * 65, "length must be"),
        ("node_certificate.subject_alt_names", ["iPAddress:x"], "not an IP address"),
        ("node_certificate.subject_alt_names", ["dNSName:ä"], "not a name in ASCII"),
        ("command.start.service_subject_name", "O=", "O is empty"),
        ("command", {"type": "Join", "join": {"target_rpc_address": "h"}}, "h names no port"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(
    tmp_path: Path, key: str, value: Any, problem: str
) -> None:
    config = changed(tmp_path, key, value)
    with pytest.raises(ConfigError, match=problem) as refused:
        config_checks.check(config)
    assert refused.value.message.startswith(key)


@pytest.mark.parametrize(
    "address", ["example.com:80", "example.com", "127.0.0.1:0", "[::1]:80", "a-b_c.example:1"]
)
def test_addresses_that_a_certificate_can_be_for(tmp_path: Path, address: str) -> None:
    config_checks.check(changed(tmp_path, "network.rpc_interfaces.main.published_address", address))


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("member0_cert.pem", "certificate_file"),
        ("member0_enc_pubk.pem", "encryption_public_key_file"),
    ],
)
@pytest.mark.parametrize("of", ["hello", "-----BEGIN {0}-----\naGVsbG8=\n-----END {0}-----\n"])
def test_files_of_members_are_judged(tmp_path: Path, file: str, key: str, of: str) -> None:
    config = cfg.parse_config(json.dumps(make_config(tmp_path)))
    config_checks.check_members(config, cfg.read_files(config, tmp_path))
    (tmp_path / file).write_text(of.format("CERTIFICATE"))
    with pytest.raises(ConfigError, match=f"members.0..{key}: {file}: not a"):
        config_checks.check_members(config, cfg.read_files(config, tmp_path))


def test_every_sample_is_one_to_start_from() -> None:
    folder = vectors_dir() / "ccf" / "config"
    samples = [path for path in folder.glob("*.json") if path.name != "cchost_config.json"]
    assert len(samples) >= 9
    for path in samples:
        config = cfg.load_config(path)
        config_checks.check(config)
        assert config_checks.warnings(config) == [], path.name


def test_what_is_not_refused_may_deserve_a_word(tmp_path: Path) -> None:
    assert config_checks.warnings(cfg.parse_config(json.dumps(make_config(tmp_path)))) == []
    acme = changed(tmp_path, "network.rpc_interfaces.main.endorsement", {"authority": "ACME"})
    (told,) = config_checks.warnings(acme)
    assert "network.rpc_interfaces.main: there are no ACME certificates" in told
    slow = changed(tmp_path, "consensus", {"message_timeout": "5s", "election_timeout": "5s"})
    (told,) = config_checks.warnings(slow)
    assert "consensus.message_timeout should be much shorter" in told


@pytest.mark.parametrize(("tick", "told"), [("250ms", 0), ("250001us", 1), ("2s", 1)])
def test_a_clock_that_is_looked_at_too_seldom_deserves_a_word(
    tmp_path: Path, tick: str, told: int
) -> None:
    config = make_config(tmp_path, tick_interval=tick, consensus={"election_timeout": "1s"})
    warnings = config_checks.warnings(cfg.parse_config(json.dumps(config)))
    assert len(warnings) == told
    assert all("tick_interval should be at most a quarter" in warning for warning in warnings)


def test_keys_without_effect_are_named_when_they_are_given(tmp_path: Path) -> None:
    config = make_config(tmp_path, logging={"format": "Text"})
    assert config_checks.without_effect(cfg.parse_config(json.dumps(config))) == []
    config = make_config(tmp_path, logging={"host_level": "Info"}, worker_threads=2, memory={})
    found = config_checks.without_effect(cfg.parse_config(json.dumps(config)))
    assert found == ["logging.host_level", "memory", "worker_threads"]
