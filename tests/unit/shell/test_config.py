"""pyccf.shell.config: every sample of the original parses, everything else is refused by name."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyccf.errors import ConfigError
from pyccf.shell import config as c
from pyccf.types import Json
from support.vectors import vectors_dir

MINIMAL: dict[str, Json] = {
    "network": {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
        "rpc_interfaces": {"primary": {"bind_address": "127.0.0.1:8080"}},
    },
    "command": {
        "type": "Start",
        "start": {"constitution_files": ["a.js"], "members": [{"certificate_file": "m.pem"}]},
    },
}


def put(path: str, value: Json, base: dict[str, Json] | None = None) -> str:
    """MINIMAL with one value replaced or added, as text; list indexes are path elements too."""
    document: dict[str, Json] = copy.deepcopy(MINIMAL if base is None else base)
    where: Json = document
    *parents, last = path.split(".")
    for name in parents:
        if isinstance(where, list):
            where = where[int(name)]
        else:
            assert isinstance(where, dict)
            where = where.setdefault(name, {})
    if isinstance(where, list):
        where[int(last)] = value
    else:
        assert isinstance(where, dict)
        where[last] = value
    return json.dumps(document)


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        c.parse_config(text)
    return caught.value


def test_defaults_are_those_of_the_original() -> None:
    config = c.parse_config(json.dumps(MINIMAL))
    interface = config.network.rpc_interfaces["primary"]
    assert interface.bind_address == c.Address("127.0.0.1", 8080)
    assert interface.published_address is None
    assert (interface.max_open_sessions_soft, interface.max_open_sessions_hard) == (1000, 1010)
    assert interface.authority is c.Authority.SERVICE
    assert interface.accepted_endpoints is None
    assert interface.redirections is None
    assert interface.forwarding_timeout_ms == 3000
    http = interface.http_configuration
    assert (http.max_body_size_bytes, http.max_header_size_bytes) == (1 << 20, 16 << 10)
    assert (http.max_headers_count, http.max_frame_size_bytes) == (256, 16 << 10)
    assert config.command.start is not None
    assert config.command.join is None
    assert config.command.start.service_subject_name == "CN=CCF Service"
    assert config.command.start.initial_service_certificate_validity_days == 1
    assert config.node_certificate.curve_id is c.CurveName.P384
    assert config.ledger == c.Ledger(directory="ledger", chunk_size_bytes=5 << 20)
    assert config.ledger_signatures == c.LedgerSignatures(tx_count=5000, delay_ms=1000)
    assert config.consensus == c.Consensus(message_timeout_ms=100, election_timeout_ms=5000)
    assert config.output_files.node_certificate_file == "nodecert.pem"
    assert config.output_files.rpc_addresses_file is None
    assert config.jwt.key_refresh_interval_ms == 1_800_000
    assert config.idle_connection_timeout_ms == 60_000
    assert config.tick_interval_us == 10_000
    assert config.historical_cache_soft_limit_bytes == 512 << 20
    assert config.memory.max_msg_size_bytes == 64 << 20


def test_the_defaults_given_explicitly_make_the_same_configuration() -> None:
    document = copy.deepcopy(MINIMAL)
    document |= {
        "node_certificate": {"subject_name": "CN=CCF Node", "subject_alt_names": []},
        "ledger": {"directory": "ledger", "read_only_directories": [], "chunk_size": "5MB"},
        "snapshots": {
            "directory": "snapshots",
            "tx_count": 10000,
            "interval": None,
            "kept": None,
            "read_only_directory": None,
        },
        "logging": {"format": "Text", "host_level": "Debug"},
        "consensus": {"message_timeout": "100ms", "election_timeout": "5s"},
        "ledger_signatures": {"tx_count": 5000, "delay": "1000000us"},
        "jwt": {"key_refresh_interval": "30MIN"},
        "output_files": {"node_to_node_address_file": "", "rpc_addresses_file": ""},
        "tick_interval": "10000",
        "idle_connection_timeout": "1min",
        "node_client_interface": None,
        "memory": {"circuit_size": "16mb"},
    }
    a = c.parse_config(json.dumps(document))
    b = c.parse_config(json.dumps(MINIMAL))
    assert {**vars_of(a), "text": ""} == {**vars_of(b), "text": ""}


def vars_of(config: c.NodeConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__struct_fields__}


UNKNOWN = [
    "colour",
    "network.colour",
    "network.node_to_node_interface.colour",
    "network.rpc_interfaces.primary.http_configuration.max_body_siz",
    "network.rpc_interfaces.primary.endorsement.colour",
    "network.rpc_interfaces.primary.redirections.to_somewhere",
    "command.start.colour",
    "command.start.service_configuration.colour",
    "command.start.members.0.colour",
    "node_certificate.colour",
    "attestation.colour",
    "ledger.colour",
    "snapshots.colour",
    "logging.colour",
    "consensus.election_timout",
    "ledger_signatures.colour",
    "jwt.colour",
    "output_files.colour",
    "memory.colour",
]


@pytest.mark.parametrize("key", UNKNOWN)
def test_an_unknown_key_is_refused_by_its_full_name(key: str) -> None:
    document = json.loads(put(key, "x"))
    if "endorsement" in key:
        document["network"]["rpc_interfaces"]["primary"]["endorsement"]["authority"] = "Node"
    if "service_configuration" in key:
        document["command"]["start"]["service_configuration"]["recovery_threshold"] = 0
    error = refused(json.dumps(document))
    assert error.message.startswith(key.replace("members.0", "members[0]") + ": unknown key")
    assert error.hint.startswith("Allowed in ")


def test_a_likely_misspelling_is_pointed_out() -> None:
    error = refused(put("consensus.election_timout", "1s"))
    assert "did you mean election_timeout?" in error.message
    assert error.explain().count("\n") == 1


FORMER: dict[str, Json] = {
    "enclave": {"file": "libapp.virtual.so", "type": "Virtual"},
    "network.acme": {"configurations": {}},
    "attestation.environment": {"security_policy": "POLICY"},
    "consensus.type": "CFT",
}


@pytest.mark.parametrize("key", FORMER)
def test_what_earlier_versions_had_is_to_be_left_out(key: str) -> None:
    error = refused(put(key, FORMER[key]))
    assert error.message == f"{key}: unknown key"
    assert error.hint.startswith("Earlier versions of CCF had this")


def test_all_that_earlier_versions_had_is_named_at_once() -> None:
    document = MINIMAL
    for key, value in FORMER.items():
        document = json.loads(put(key, value, document))
    assert refused(json.dumps(document)).message == f"{', '.join(FORMER)}: unknown keys"


@pytest.mark.parametrize("section", ["network", "attestation", "consensus"])
def test_a_section_of_the_wrong_type_is_refused_as_that(section: str) -> None:
    assert refused(put(section, "type")).message.startswith(f"{section}: found")


def test_where_the_schema_lets_unknown_keys_pass_they_are_listed() -> None:
    document = json.loads(put("network.rpc_interfaces.primary.colour", "x"))
    document["command"]["shape"] = 1
    config = c.parse_config(json.dumps(document))
    assert config.ignored_keys == (
        "network.rpc_interfaces.primary.colour",
        "command.shape",
    )


RPC = "network.rpc_interfaces.primary."
S = "command.start."
BAD: list[tuple[str, Json, str]] = [
    (RPC + "max_open_sessions_soft", "ten", "an integer"),
    (RPC + "max_open_sessions_soft", -1, "at least 0"),
    (RPC + "max_open_sessions_hard", True, "an integer"),
    (RPC + "max_open_sessions_hard", 1.5, "an integer"),
    (RPC + "bind_address", "127.0.0.1:65536", "host:port"),
    (RPC + "bind_address", "127.0.0.1:x", "host:port"),
    (RPC + "bind_address", "", "host:port"),
    (RPC + "bind_address", "node..example:80", "host:port"),
    (RPC + "bind_address", 8080, "host:port"),
    (RPC + "protocol", None, "a string"),
    (RPC + "http_configuration.max_body_size", 1000, "KB, MB"),
    (RPC + "http_configuration.max_body_size", "1 parsec", "KB, MB"),
    (RPC + "http_configuration.max_body_size", "", "KB, MB"),
    (RPC + "http_configuration.max_concurrent_streams_count", 0, "at least 1"),
    (RPC + "http_configuration.max_frame_size", "1KB", "16384 to 16777215 bytes"),
    (RPC + "http_configuration.max_frame_size", "17MB", "16384 to 16777215 bytes"),
    (RPC + "endorsement.authority", "Nobody", '"Node", "Service", "ACME", "Unsecured"'),
    (RPC + "endorsement", "Node", "an object"),
    (RPC + "accepted_endpoints", "/app", "a list of strings"),
    (RPC + "redirections.to_primary", {"kind": "Moon"}, '"NodeByRole", "StaticAddress"'),
    ("network.rpc_interfaces", [], "an object"),
    ("network", 1, "an object"),
    ("command.type", "Begin", '"Start", "Join", "Recover"'),
    ("command.type", None, '"Start", "Join", "Recover"'),
    ("command.service_certificate_file", 1, "a string"),
    (S + "constitution_files", "a.js", "a list of strings"),
    (S + "members", {}, "a list of objects"),
    (S + "members.0.certificate_file", 1, "a string"),
    (S + "members.0.recovery_role", "Boss", '"NonParticipant", "Participant", "Owner"'),
    (S + "service_configuration.recovery_threshold", -1, "at least 0"),
    (S + "initial_service_certificate_validity_days", 0, "from 1 to"),
    ("node_certificate.curve_id", "P521", '"Secp384R1", "Secp256R1"'),
    ("node_certificate.initial_validity_days", 0, "from 1 to"),
    ("node_data_json_file", 1, "a string"),
    ("snapshots.tx_count", 0, "at least 1"),
    ("snapshots.kept", 0, "at least 1"),
    ("snapshots.interval", "soon", "an integer and an optional unit"),
    ("ledger_signatures.tx_count", 0, "at least 1"),
    ("ledger_signatures.delay", 1000, "us, ms, s, min, h"),
    ("ledger_signatures.delay", "1 fortnight", "us, ms, s, min, h"),
    ("logging.format", "json", '"Text", "Json"'),
    ("logging.host_level", "Loud", '"Trace"'),
    ("consensus.max_uncommitted_tx_count", -1, "at least 0"),
    ("worker_threads", -1, "at least 0"),
    ("ignore_first_sigterm", "yes", "true or false"),
    ("ignore_first_sigterm", 1, "true or false"),
    ("tick_interval", None, "us, ms"),
    ("historical_cache_soft_limit", "1ZB", "KB, MB"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD)
def test_a_bad_value_is_refused_with_its_key_and_what_is_allowed(
    key: str, value: Json, allowed: str
) -> None:
    error = refused(put(key, value))
    named = key.replace("members.0", "members[0]")
    assert error.message.startswith(named)
    assert error.hint.startswith("Allowed: ")
    assert allowed in error.hint


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        (RPC + "accepted_endpoints", ["/app/(", "/node"], RPC + "accepted_endpoints[0]"),
        ("node_certificate.subject_alt_names", ["URI:x"], "node_certificate.subject_alt_names[0]"),
        (RPC + "redirections.to_backup", {}, RPC + "redirections.to_backup.kind"),
        (
            RPC + "redirections.to_backup",
            {"kind": "StaticAddress"},
            RPC + "redirections.to_backup.target",
        ),
        (
            RPC + "redirections.to_backup",
            {"kind": "NodeByRole", "target": {"interface": "x"}},
            RPC + "redirections.to_backup.target.interface",
        ),
        (RPC + "endorsement", {}, RPC + "endorsement.authority"),
        (S + "service_configuration", {}, S + "service_configuration.recovery_threshold"),
        (S + "cose_signatures", {"issuer": "x"}, S + "cose_signatures.subject"),
        (S + "constitution_files", ["a", 1], S + "constitution_files[1]"),
        (
            "attestation.snp_endorsements_servers",
            [{"type": "AMD"}],
            "attestation.snp_endorsements_servers[0].url",
        ),
    ],
)
def test_values_inside_lists_and_choices_are_named(key: str, value: Json, named: str) -> None:
    assert refused(put(key, value)).message.startswith(f"{named}: ")


@pytest.mark.parametrize(
    "key",
    [
        "network",
        "command",
        "network.node_to_node_interface",
        "network.rpc_interfaces",
        "network.node_to_node_interface.bind_address",
        RPC + "bind_address",
        "command.type",
        "command.start",
        S + "constitution_files",
        S + "members",
    ],
)
def test_a_missing_key_is_named(key: str) -> None:
    document = copy.deepcopy(MINIMAL)
    where: Json = document
    *parents, last = key.split(".")
    for name in parents:
        assert isinstance(where, dict)
        where = where[name]
    assert isinstance(where, dict)
    del where[last]
    assert refused(json.dumps(document)).message == f"{key}: missing"


def command(kind: str, **sections: Json) -> str:
    document = copy.deepcopy(MINIMAL)
    document["command"] = {"type": kind, **sections}
    return json.dumps(document)


def test_only_the_section_of_the_command_is_judged_in_full() -> None:
    # As test templates write it: all three sections whatever the type, with empty strings.
    idle_start: Json = {"constitution_files": [], "members": [], "unheard_of": 1}
    idle_recover: Json = {"previous_service_identity_file": ""}
    join: Json = {"target_rpc_address": "127.0.0.1:1", "retry_timeout": "2s"}
    config = c.parse_config(command("Join", start=idle_start, join=join, recover=idle_recover))
    assert config.command.start is None
    assert config.command.recover is None
    assert config.command.join is not None
    assert config.command.join.target_rpc_address == c.Address("127.0.0.1", 1)
    assert config.command.join.retry_timeout_ms == 2000
    empty_join: Json = {
        "target_rpc_address": "",
        "retry_timeout": "",
        "fetch_snapshot_max_attempts": 0,
    }
    start = json.loads(json.dumps(MINIMAL))["command"]["start"]
    config = c.parse_config(command("Start", start=start, join=empty_join, recover=idle_recover))
    assert config.command.join is None


def test_sections_of_other_commands_must_have_the_right_types() -> None:
    start = json.loads(json.dumps(MINIMAL))["command"]["start"]
    error = refused(command("Start", start=start, join={"target_rpc_address": 1}))
    assert error.message.startswith("command.join.target_rpc_address: found 1")
    error = refused(command("Start", start=start, recover=[]))
    assert error.message.startswith("command.recover: found []")


def test_join_and_recover_need_their_keys() -> None:
    assert refused(command("Join")).message == "command.join: missing"
    assert refused(command("Join", join={})).message == "command.join.target_rpc_address: missing"
    error = refused(command("Recover", recover={}))
    assert error.message == "command.recover.previous_service_identity_file: missing"


def test_addresses() -> None:
    assert c.Address.parse("[::1]:80") == c.Address("[::1]", 80)
    assert c.Address.parse("localhost") == c.Address("localhost", 0)
    assert str(c.Address("h", 1)) == "h:1"
    for bad in ("h:", "h:-1", "h:1a", "h:١"):
        with pytest.raises(ValueError, match="port"):
            c.Address.parse(bad)


def test_redirections_default_to_the_primary() -> None:
    config = c.parse_config(
        put(
            RPC + "redirections",
            {"to_backup": {"kind": "StaticAddress", "target": {"address": "a:1"}}},
        )
    )
    redirections = config.network.rpc_interfaces["primary"].redirections
    assert redirections is not None
    assert redirections.to_primary == c.NodeByRole(role=c.Role.PRIMARY)
    assert redirections.to_backup == c.StaticAddress(address="a:1")


def test_a_time_finer_than_a_millisecond_is_rounded_up() -> None:
    config = c.parse_config(put("ledger_signatures.delay", "1us"))
    assert config.ledger_signatures.delay_ms == 1


def test_null_idle_timeout_means_never() -> None:
    assert c.parse_config(put("idle_connection_timeout", None)).idle_connection_timeout_ms is None


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a": NaN}', '{"a": 1} x', "[" * 100_000])
def test_what_is_not_a_json_object_is_refused(text: str) -> None:
    assert "configuration" in refused(text).message


# -- recovery threshold ---------------------------------------------------------------------------


def start_with(threshold: int, *roles: str | None) -> c.StartCommand:
    members: list[Json] = [
        {"certificate_file": "m", **({} if role is None else {"encryption_public_key_file": "e"})}
        | ({"recovery_role": role} if role else {})
        for role in roles
    ]
    document = json.loads(put(S + "members", members))
    document["command"]["start"]["service_configuration"] = {"recovery_threshold": threshold}
    start = c.parse_config(json.dumps(document)).command.start
    assert start is not None
    return start


@pytest.mark.parametrize(
    ("threshold", "roles", "expected"),
    [
        (0, ("", "", None), 2),
        (0, ("Owner",), 1),
        (0, ("Owner", "Participant"), 1),
        (0, ("NonParticipant",), 0),
        (0, (None,), 0),
        (2, ("", "Participant", "Owner"), 2),
    ],
)
def test_recovery_threshold(threshold: int, roles: tuple[str | None, ...], expected: int) -> None:
    assert c.effective_recovery_threshold(start_with(threshold, *roles)) == expected


@pytest.mark.parametrize(
    ("threshold", "roles"), [(2, ("",)), (2, ("Owner", "Owner")), (1, (None,)), (1, ())]
)
def test_too_high_a_recovery_threshold(threshold: int, roles: tuple[str | None, ...]) -> None:
    with pytest.raises(ConfigError, match="recovery_threshold"):
        c.effective_recovery_threshold(start_with(threshold, *roles))


def test_ring_size_must_be_a_power_of_two() -> None:
    c.check_memory(c.parse_config(json.dumps(MINIMAL)).memory)
    with pytest.raises(ConfigError, match="power of 2"):
        c.check_memory(c.parse_config(put("memory.circuit_size", "15MB")).memory)


# -- files -----------------------------------------------------------------------------------------


def test_load_waits_for_the_file_and_for_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"network": ')

    def finish() -> None:
        path.write_text(json.dumps(MINIMAL))

    timer = threading.Timer(0.15, finish)
    timer.start()
    try:
        config = c.load_config(path, 10_000_000)
    finally:
        timer.join()
    assert config.command.type is c.CommandType.START
    assert config.text == json.dumps(MINIMAL)


def test_load_tries_at_least_once_and_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.json: No such file"):
        c.load_config(tmp_path / "missing.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        c.load_config(tmp_path / "bytes.json")
    (tmp_path / "part.json").write_text("{")
    with pytest.raises(ConfigError, match=r"part\.json"):
        c.load_config(tmp_path / "part.json", 150_000)


def test_read_files_of_start(tmp_path: Path) -> None:
    for name, text in {
        "a.js": "let a;\n",
        "b.js": "let b;",
        "m.pem": "CERT",
        "e.pem": "KEY",
        "d.json": '{"x": 1}',
    }.items():
        (tmp_path / name).write_text(text)
    document = json.loads(put(S + "constitution_files", ["a.js", "b.js"]))
    document["command"]["start"]["members"] = [
        {
            "certificate_file": "m.pem",
            "encryption_public_key_file": "e.pem",
            "data_json_file": "d.json",
            "recovery_role": "Owner",
        },
        {
            "certificate_file": "m.pem",
            "encryption_public_key_file": "",
            "data_json_file": None,
            "recovery_role": "Owner",
        },
    ]
    document["node_data_json_file"] = "d.json"
    files = c.read_files(c.parse_config(json.dumps(document)), tmp_path)
    assert files.constitution == "let a;\nlet b;"
    assert files.node_data == {"x": 1}
    assert files.service_data is None
    first, second = files.members
    assert (first.certificate_pem, first.encryption_public_key_pem) == ("CERT", "KEY")
    assert first.data == {"x": 1}
    assert first.recovery_role is c.RecoveryRole.OWNER
    assert second.encryption_public_key_pem is None
    assert second.recovery_role is None  # only honoured with an encryption key


def test_read_files_of_join_and_recover(tmp_path: Path) -> None:
    (tmp_path / "service_cert.pem").write_text("SERVICE")
    join = c.parse_config(command("Join", join={"target_rpc_address": "a:1"}))
    assert c.read_files(join, tmp_path).service_certificate_pem == "SERVICE"
    (tmp_path / "old.pem").write_text("OLD")
    recover = c.parse_config(
        command("Recover", recover={"previous_service_identity_file": "old.pem"})
    )
    assert c.read_files(recover, tmp_path).previous_service_identity_pem == "OLD"
    with pytest.raises(ConfigError, match="previous_service_identity_file"):
        c.read_files(c.parse_config(command("Recover")), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.js", None, r"command\.start\.constitution_files\[0\]: could not read file 'a\.js'"),
        ("m.pem", b"\xff", r"command\.start\.members\[0\]\.certificate_file: .*not UTF-8"),
        ("n.json", b"{", r"node_data_json_file: file 'n\.json' is not JSON"),
    ],
)
def test_an_unreadable_file_is_named_with_its_key(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    for other in ("a.js", "m.pem"):
        (tmp_path / other).write_text("x")
    (tmp_path / "n.json").write_text("1")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        c.read_files(c.parse_config(put("node_data_json_file", "n.json")), tmp_path)


def test_environment_variables_in_paths() -> None:
    environment = {"DIR": "/security", "F": "file"}
    assert c.expand_environment("$DIR/a/$F", environment) == "/security/a/file"
    assert c.expand_environment("$NONE/a$F", environment) == "$NONE/a$F"


def test_interfaces_come_in_order_of_their_names() -> None:
    config = c.parse_config(put("network.rpc_interfaces.another", {"bind_address": "a:1"}))
    assert [i.name for i in c.sequence_of_interfaces(config)] == ["another", "primary"]


# -- the original's samples and schema ------------------------------------------------------------


def samples() -> list[Path]:
    folder = vectors_dir() / "ccf" / "config"
    found = sorted(p for p in folder.glob("*.json") if p.name != "cchost_config.json")
    assert len(found) == 9
    return found


def test_every_sample_parses() -> None:
    for path in samples():
        config = c.load_config(path)
        assert config.ignored_keys == (), path.name
        assert config.command.type.value in config.text


def test_every_change_of_type_in_a_sample_is_refused_by_name() -> None:
    """Replace each value of each sample by one of another type: all refused, each by its key."""
    count = 0
    for path in samples():
        document = json.loads(path.read_text())
        for key, replace in places(document):
            spoiled = replace()
            with pytest.raises(ConfigError) as caught:
                c.parse_config(spoiled)
            assert caught.value.message.startswith(key), (path.name, key)
            count += 1
    assert count > 200


def places(document: dict[str, Json]) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every value of a document: its key, and a function giving the text with it spoiled."""

    def walk(node: Json, key: str) -> Iterator[tuple[str, Callable[[], str]]]:
        rows: list[tuple[str | int, Json]]
        if isinstance(node, dict):
            rows = list(node.items())
        elif isinstance(node, list):
            rows = list(enumerate(node))
        else:
            return
        for name, value in rows:
            full = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}".lstrip(".")

            def spoil(name: str | int = name, value: Json = value) -> str:
                node[name] = 12.5  # type: ignore[index,call-overload]
                try:
                    return json.dumps(document)
                finally:
                    node[name] = value  # type: ignore[index,call-overload]

            yield full, spoil
            yield from walk(value, full)

    return walk(document, "")


OWN = {"snapshots": ("interval", "kept")}
"""Keys that the original does not know."""


def test_the_keys_are_those_of_the_schema() -> None:
    """Each object of the schema has exactly the keys that an unknown-key error lists."""
    schema = json.loads((vectors_dir() / "ccf" / "config" / "cchost_config.json").read_text())
    checked = 0
    for name, part in schema["properties"].items():
        if part["type"] != "object" or name in ("network", "command"):
            continue
        error = refused(put(f"{name}.unheard_of", 1))
        listed = error.hint.removeprefix(f"Allowed in {name}: ").removesuffix(".").split(", ")
        assert sorted(listed) == sorted([*part["properties"], *OWN.get(name, ())]), name
        checked += 1
    error = refused(put("unheard_of", 1))
    listed = error.hint.removeprefix("Allowed in the configuration: ").removesuffix(".").split(", ")
    assert sorted(listed) == sorted(schema["properties"])
    assert checked == 10


def test_the_defaults_are_those_of_the_schema() -> None:
    """Giving each default that the schema names changes nothing, but for two known differences."""
    schema = json.loads((vectors_dir() / "ccf" / "config" / "cchost_config.json").read_text())
    plain = {**vars_of(c.parse_config(json.dumps(MINIMAL))), "text": ""}
    checked = 0
    for name, part in schema["properties"].items():
        rows = {name: part} if part["type"] != "object" else part["properties"]
        for key, value in rows.items():
            if "default" not in value or name in ("network", "command"):
                continue
            path = name if key == name else f"{name}.{key}"
            if path == "output_files.pid_file":  # the program's own default differs
                continue
            given = {**vars_of(c.parse_config(put(path, value["default"]))), "text": ""}
            assert given == plain, path
            checked += 1
    assert checked > 25
