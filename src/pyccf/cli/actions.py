"""The actions that a proposal can name, with their arguments as flags: one table.

All actions of the default constitution, and those that the sample constitutions add. Each flag says
what it is (a text, a PEM file, JSON ...), and so how it is read from the command line; what an
argument may be is for the constitution to judge. Read by `pyccf proposal new`.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Kind(Enum):
    """How the value of a flag is given, and what it becomes in the proposal."""

    TEXT = "TEXT"
    PEM = "PEM_FILE"
    """A file, whose text is the argument."""
    JSON = "JSON"
    """JSON, or @FILE that holds it."""
    NUMBER = "NUMBER"
    YES_NO = "YES_NO"
    """Given or not; there is a --no- form."""
    TIME = "TIME"
    """A time of a certificate; the present one when it is not given."""
    SCRIPT = "JS_FILE"
    """JavaScript files, joined in the order given; a folder is a whole constitution."""
    BUNDLE = "APP_DIR"
    """Folder of a JavaScript application, packed as a bundle."""
    POLICY = "POLICY_FILE"
    """A file whose text is the argument, and whose digest may be another one."""
    TEXTS = "TEXT..."
    """Texts; the flag is repeated."""


class Flag(msgspec.Struct, frozen=True):
    """One argument of an action; `name` is its name in the proposal."""

    name: str
    kind: Kind
    help: str
    required: bool = True
    choices: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """The flag on the command line."""
        return "--" + self.name.replace("_", "-")


class ActionSpec(msgspec.Struct, frozen=True):
    """An action: what it does in one line, and its arguments."""

    name: str
    help: str
    flags: tuple[Flag, ...] = ()
    of: str = "default"
    """Constitution that has it."""


def _text(name: str, help_: str, required: bool = True) -> Flag:
    return Flag(name, Kind.TEXT, help_, required)


def _pem(name: str, help_: str, required: bool = True) -> Flag:
    return Flag(name, Kind.PEM, help_, required)


def _json(name: str, help_: str, required: bool = True) -> Flag:
    return Flag(name, Kind.JSON, help_, required)


def _number(name: str, help_: str, required: bool = True) -> Flag:
    return Flag(name, Kind.NUMBER, help_, required)


_MEMBER = _text("member_id", "Member: digest of its certificate, in hex.")
_USER = _text("user_id", "User: digest of its certificate, in hex.")
_NODE = _text("node_id", "Node: digest of its public key, in hex.")
_ISSUER = _text("issuer", "Issuer of the tokens, as in their claim iss.")
_BUNDLE_NAME = _text("name", "Name of the bundle.")
_CPUID = _text("cpuid", "Processor: 4 bytes in lower-case hex.")
_MEASUREMENT = _text("measurement", "Measurement of the program, in lower-case hex.")
_HOST_DATA = _text("host_data", "Digest of the security policy, in lower-case hex.")
_THRESHOLD = "How many shares restore the ledger secret (1 to 254)."
_VALIDITY = (
    Flag("valid_from", Kind.TIME, "Begin of validity (default: now).", False),
    _number("validity_period_days", "Days of validity (default: the longest allowed).", False),
)
_MEMBERS_AND_USERS = (
    ActionSpec(
        "set_member",
        "Add or replace a member; it becomes active by acknowledging.",
        (
            _pem("cert", "Certificate of the member."),
            _pem("encryption_pub_key", "Public key its recovery share is encrypted to.", False),
            _json("member_data", "What the consortium notes about it: an object.", False),
            Flag(
                "recovery_role",
                Kind.TEXT,
                "Part in recovery (default with an encryption key: Participant).",
                False,
                ("NonParticipant", "Participant", "Owner"),
            ),
        ),
    ),
    ActionSpec("remove_member", "Remove a member.", (_MEMBER,)),
    ActionSpec(
        "set_member_data",
        "Replace what is noted about a member.",
        (_MEMBER, _json("member_data", "An object.")),
    ),
    ActionSpec(
        "set_user",
        "Add or replace a user.",
        (
            _pem("cert", "Certificate of the user."),
            _json("user_data", "What the application may know of it: an object.", False),
        ),
    ),
    ActionSpec("remove_user", "Remove a user.", (_USER,)),
    ActionSpec(
        "set_user_data",
        "Replace or remove what is noted about a user.",
        (_USER, _json("user_data", "An object; removed when not given.", False)),
    ),
)

_SERVICE = (
    ActionSpec(
        "set_constitution",
        "Replace the constitution; open proposals are dropped.",
        (
            Flag(
                "constitution",
                Kind.SCRIPT,
                "JavaScript file; repeat for several, in order. Or the folder of one.",
            ),
        ),
    ),
    ActionSpec(
        "set_recovery_threshold",
        "Change how many shares recovery needs.",
        (_number("recovery_threshold", _THRESHOLD),),
    ),
    ActionSpec("trigger_recovery_shares_refresh", "Issue new recovery shares."),
    ActionSpec("trigger_ledger_rekey", "Change the ledger secret, from the next entry on."),
    ActionSpec(
        "transition_service_to_open",
        "Open the service to its users, at first or after a recovery.",
        (
            _pem("next_service_identity", "Certificate of the service."),
            _pem("previous_service_identity", "That of the service before a recovery.", False),
        ),
    ),
    ActionSpec(
        "set_service_configuration",
        "Change settings of the service.",
        (
            _text("reconfiguration_type", "OneTransaction or TwoTransaction.", False),
            _number("recovery_threshold", _THRESHOLD, False),
            _number(
                "recent_cose_proposals_window_size",
                "How many proposals are remembered against replay (1 to 10000).",
                False,
            ),
        ),
    ),
    ActionSpec("trigger_ledger_chunk", "End the ledger chunk at the next signature."),
    ActionSpec("trigger_snapshot", "Make a snapshot at the next signature."),
    ActionSpec(
        "assert_service_identity",
        "Refuse the whole proposal by any service but this.",
        (_pem("service_identity", "Certificate of the service that is meant."),),
    ),
)

_APPLICATION = (
    ActionSpec(
        "set_js_app",
        "Install a JavaScript application in place of the present one.",
        (
            Flag("bundle", Kind.BUNDLE, "Folder of the application."),
            Flag("disable_bytecode_cache", Kind.YES_NO, "Keep no bytecode.", False),
        ),
    ),
    ActionSpec("remove_js_app", "Remove the JavaScript application."),
    ActionSpec(
        "set_js_runtime_options",
        "Bound what a call into the application may use.",
        (
            _number("max_heap_bytes", "Memory."),
            _number("max_stack_bytes", "Stack."),
            _number("max_execution_time_ms", "Time."),
            Flag("log_exception_details", Kind.YES_NO, "Log uncaught errors.", False),
            Flag("return_exception_details", Kind.YES_NO, "Tell them to the caller.", False),
            _number("max_cached_interpreters", "How many interpreters are kept.", False),
        ),
    ),
    ActionSpec("refresh_js_app_bytecode_cache", "Compile the application's modules anew."),
)

_TOKENS = (
    ActionSpec(
        "set_ca_cert_bundle",
        "Trust authorities, under a name.",
        (_BUNDLE_NAME, _pem("cert_bundle", "Their certificates.")),
    ),
    ActionSpec("remove_ca_cert_bundle", "Trust them no longer.", (_BUNDLE_NAME,)),
    ActionSpec(
        "set_jwt_issuer",
        "Accept the tokens of an issuer.",
        (
            _ISSUER,
            Flag("auto_refresh", Kind.YES_NO, "Fetch its keys from time to time.", False),
            _text("ca_cert_bundle_name", "Authorities for fetching them.", False),
            _json("jwks", "Its keys: a JSON web key set.", False),
        ),
    ),
    ActionSpec(
        "set_jwt_public_signing_keys",
        "Replace the keys of an issuer.",
        (_ISSUER, _json("jwks", "Its keys: a JSON web key set.")),
    ),
    ActionSpec("remove_jwt_issuer", "Accept its tokens no longer.", (_ISSUER,)),
)

_CODE = (
    ActionSpec(
        "add_node_code",
        "Let SGX nodes with this program join.",
        (_text("code_id", "MRENCLAVE, in lower-case hex."),),
    ),
    ActionSpec(
        "remove_node_code",
        "Let them join no longer.",
        (_text("code_id", "MRENCLAVE, in lower-case hex."),),
    ),
    ActionSpec("add_snp_measurement", "Let SEV-SNP nodes with it join.", (_MEASUREMENT,)),
    ActionSpec("remove_snp_measurement", "Let them join no longer.", (_MEASUREMENT,)),
    ActionSpec(
        "add_snp_uvm_endorsement",
        "Trust an issuer's endorsements of utility VMs.",
        (
            _text("did", "Issuer of the endorsements."),
            _text("feed", "What they are about."),
            _text("svn", "Lowest security version number."),
        ),
    ),
    ActionSpec(
        "remove_snp_uvm_endorsement",
        "Trust them no longer.",
        (_text("did", "Issuer of the endorsements."), _text("feed", "What they are about.")),
    ),
    ActionSpec(
        "add_snp_host_data",
        "Let SEV-SNP nodes with this security policy join.",
        (
            Flag("security_policy", Kind.POLICY, "The policy; without it, --host-data.", False),
            _text("host_data", "Its digest in hex (default: that of the policy).", False),
        ),
    ),
    ActionSpec("remove_snp_host_data", "Let them join no longer.", (_HOST_DATA,)),
    ActionSpec(
        "set_snp_minimum_tcb_version",
        "Ask for firmware that is recent enough, by its parts.",
        (_CPUID, _json("tcb_version", "Numbers boot_loader, tee, snp and microcode.")),
    ),
    ActionSpec(
        "set_snp_minimum_tcb_version_hex",
        "Ask for firmware that is recent enough.",
        (_CPUID, _text("tcb_version", "8 bytes in lower-case hex.")),
    ),
    ActionSpec("remove_snp_minimum_tcb_version", "Ask for it no longer.", (_CPUID,)),
)

_NODES = (
    ActionSpec(
        "set_node_data",
        "Replace what is noted about a node.",
        (_NODE, _json("node_data", "Anything.")),
    ),
    ActionSpec("transition_node_to_trusted", "Let a pending node in.", (_NODE, *_VALIDITY)),
    ActionSpec("remove_node", "Retire a node.", (_NODE,)),
    ActionSpec(
        "set_node_certificate_validity", "Renew the certificate of a node.", (_NODE, *_VALIDITY)
    ),
    ActionSpec(
        "set_all_nodes_certificate_validity", "Renew the certificates of all nodes.", _VALIDITY
    ),
    ActionSpec("set_service_certificate_validity", "Renew the service's certificate.", _VALIDITY),
)

_SAMPLES = (
    ActionSpec(
        "set_role_definition",
        "Define what the holders of a role may do.",
        (
            _text("role", "Name of the role."),
            Flag("actions", Kind.TEXTS, "Action of the application; repeat for several.", False),
        ),
        "roles",
    ),
    ActionSpec(
        "add_virtual_measurement", "Let virtual nodes with it join.", (_MEASUREMENT,), "virtual"
    ),
    ActionSpec(
        "remove_virtual_measurement", "Let them join no longer.", (_MEASUREMENT,), "virtual"
    ),
    ActionSpec(
        "add_virtual_host_data", "Let virtual nodes with it join.", (_HOST_DATA,), "virtual"
    ),
    ActionSpec("remove_virtual_host_data", "Let them join no longer.", (_HOST_DATA,), "virtual"),
)

_TESTS = (
    *(
        ActionSpec(name, "For tests of the service: decided by its name.", (), "test")
        for name in (
            "always_accept_noop",
            "always_reject_noop",
            "always_accept_with_one_vote",
            "always_reject_with_one_vote",
            "always_accept_if_voted_by_operator",
            "always_accept_if_proposed_by_operator",
            "always_accept_with_two_votes",
            "always_reject_with_two_votes",
            "always_throw_in_apply",
            "always_throw_in_resolve",
            "check_proposal_id_is_set_correctly",
        )
    ),
    ActionSpec(
        "valid_pem", "For tests: accepts certificates.", (_pem("pem", "A certificate."),), "test"
    ),
    ActionSpec(
        "set_service_recent_cose_proposals_window_size",
        "For tests: change the window against replay.",
        (_number("proposal_count", "1 to 100000."),),
        "test",
    ),
)

ACTIONS = {
    spec.name: spec
    for spec in (
        *_MEMBERS_AND_USERS,
        *_SERVICE,
        *_APPLICATION,
        *_TOKENS,
        *_CODE,
        *_NODES,
        *_SAMPLES,
        *_TESTS,
    )
}
"""By name, in the order in which they are listed."""
