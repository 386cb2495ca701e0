"""Every signed request of members, and what came of it, run again.

A `Review` is fed with a ledger's entries in order and keeps the governance tables as they were
before each. Where a member proposed, voted, withdrew or acknowledged, it takes the signed message
out of the ledger, checks the signature against the certificate the member had then, runs the
constitution of that time, and compares what the ledger records with what follows: the outcome, and
every row written to governance tables. What is written there without a signed request must be
something nodes do by themselves (`rules`). Of every node that was let in the evidence is judged, by
what members trusted then (`evidence`).

`Finding`s tell where the record does not follow, or where something is recorded although the
constitution fails when it is run again. What this build cannot run again is told apart as
`not_judged`, with the reason: requests of old versions that were signed as HTTP messages, as long
as nothing in the ledger is of a later version. Not compared: certificates and secrets, which cannot
be made twice (`UNREPEATABLE`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn, cast

import msgspec

from pyccf.api.gov.scripts import Scripts
from pyccf.apps.context import GovernanceOperations, Services
from pyccf.apps.js.governance import JsResult, Limits, limits_of, run
from pyccf.audit.trees import Hill
from pyccf.codec import cose
from pyccf.codec.cose import Sign1, parse_sign1
from pyccf.codec.text import load_json, unb64
from pyccf.crypto import certs, cosesign
from pyccf.errors import InvalidEvidence, InvalidLedger, LocalError, RpcError
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store
from pyccf.kv.tx import Tx
from pyccf.ledger.certchain import key_of
from pyccf.ledger.entry import Z32, ParsedEntry
from pyccf.ledger.signature import CWT_IAT
from pyccf.review import evidence
from pyccf.review.rules import GOVERNANCE, TOKEN_KEYS, Rows, begins_service, by_itself, identity
from pyccf.service import info, jwt, proposals, tables
from pyccf.service.info import ServiceStatus
from pyccf.service.operations import set_signing_keys
from pyccf.types import Json, MemberId, ProposalId, SeqNo, UnixSeconds

FINDINGS_MAX = 100
"""Findings that are kept; all are counted."""
ROOTS_BACK_MAX = 1000
"""How many entries back a proposal may have been bound to: a request reads before it writes."""
DIFFERENCES_SHOWN = 3

UNREPEATABLE = frozenset(
    (
        tables.NODES_ENDORSED_CERTIFICATES,
        tables.MODULES_BYTECODE,
        tables.MODULES_VERSION,
        tables.INTERPRETER_FLUSH,
        tables.COSE_RECENT_PROPOSALS,
    )
)
"""Tables whose rows differ each time they are made: only that they are written is compared."""
UNREPEATABLE_MEMBERS: Mapping[str, frozenset[str]] = {
    tables.SERVICE_INFO: frozenset(("cert", "previous_service_identity_version")),
    tables.NODES_INFO: frozenset(("ledger_secret_seqno",)),
}
"""Members of JSON rows of which the same is true."""

MSG_TYPE, PROPOSAL, CREATED_AT = (
    "ccf.gov.msg.type",
    "ccf.gov.msg.proposal_id",
    "ccf.gov.msg.created_at",
)
OUTDATED = "public:ccf.gov.history"
HTTP_SIGNED = "signed as an HTTP request, as versions before 4 did"


SCRIPT_MS_MAX = 60_000
SCRIPT_HEAP_MAX = 1 << 30
"""What a script may use here, whatever the ledger says: a hostile one lets it run for ever."""


class Finding(msgspec.Struct, frozen=True):
    """An entry whose record does not follow, or could not be judged, and why."""

    seqno: SeqNo
    what: str
    """proposal, ballot, withdrawal, ack, evidence, or change."""
    subject: str
    """Id of the proposal, member or node; empty for a change nobody signed."""
    reason: str


class Summary(msgspec.Struct, frozen=True):
    """What a review found by now."""

    judged: int
    """Signed requests."""
    evidence_judged: int
    """Nodes whose evidence was."""
    findings: list[Finding]
    findings_count: int
    not_judged: list[Finding]
    not_judged_count: int

    @property
    def ok(self) -> bool:
        """Nothing contradicts the constitution."""
        return self.findings_count == 0


class _Machine:
    """What scripts may ask for besides tables: nothing that could decide an outcome."""

    def __init__(self) -> None:
        self.now: UnixSeconds = 0

    def unix_time(self) -> UnixSeconds:
        return self.now

    def random(self, n: int) -> bytes:
        return bytes(n)

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None:
        """Scripts talk to the node's log, which was another one."""


class _Operations:
    """What `apply` has the node do, as far as it shows in governance tables."""

    def trigger_ledger_rekey(self, tx: Tx) -> None:
        """Shows in internal tables only."""

    def trigger_recovery_shares_refresh(self, tx: Tx) -> None:
        """Shows in internal tables only."""

    def trigger_ledger_chunk(self, tx: Tx) -> None:
        """Shows in the files only."""

    def trigger_snapshot(self, tx: Tx) -> None:
        """Shows in the files only."""

    def latest_ledger_secret_seqno(self, tx: Tx) -> SeqNo:
        return 0  # among the members that are not compared

    def transition_service_to_open(self, tx: Tx, previous: str | None, following: str) -> None:
        service = info.require(tx)
        status = info.status_of(service)
        if status in (ServiceStatus.OPEN, ServiceStatus.WAITING_FOR_RECOVERY_SHARES):
            return
        if following != service.get("cert"):
            raise LocalError("the proposal names another service identity than this one")
        if status is ServiceStatus.RECOVERING:
            if previous != tables.get_text(tx, tables.PREVIOUS_SERVICE_IDENTITY):
                raise LocalError("the proposal names another previous service identity")
            info.set_status(tx, ServiceStatus.WAITING_FOR_RECOVERY_SHARES)
        else:
            info.set_status(tx, ServiceStatus.OPEN)

    def generate_endorsed_certificate(self, csr_pem: str, valid_from: str, days: int) -> str:
        return csr_pem  # among the tables that are not compared

    def generate_network_certificate(self, valid_from: str, days: int) -> str:
        return ""  # among the members that are not compared

    def set_jwt_public_signing_keys(self, tx: Tx, issuer: str, metadata: Json, jwks: Json) -> None:
        set_signing_keys(tx, issuer, jwks)

    def remove_jwt_public_signing_keys(self, tx: Tx, issuer: str) -> None:
        jwt.remove_keys(tx, issuer)


def _run(*args: Any, tx: Tx, within_ms: int, **more: Any) -> JsResult:
    """Run a script within what is reasonable."""
    stored = limits_of(tx)
    limits = Limits(
        min(stored.heap_bytes, SCRIPT_HEAP_MAX),
        stored.stack_bytes,
        min(stored.time_ms, SCRIPT_MS_MAX),
    )
    within_ms = min(within_ms, SCRIPT_MS_MAX)
    return run(*args, tx=tx, limits=limits, within_ms=within_ms, **more)


class _Unfounded(Exception):
    """The record does not follow, for this reason."""


class _NotJudged(Exception):
    """This cannot be run again here, for this reason."""


class Review:
    """Fed with every entry of a ledger, from the first on."""

    def __init__(self) -> None:
        self._store = Store(view=1)
        self._machine = _Machine()
        operations: GovernanceOperations = _Operations()
        self._scripts = Scripts(cast(Services, self._machine), operations, call=_run)
        self._hill = Hill()
        self._hill.append(Z32)
        self._states: deque[tuple[int, list[bytes]]] = deque(maxlen=ROOTS_BACK_MAX)
        self._judged = 0
        self._evidence_judged = 0
        self._signed_at: bytes | None = None
        """The last COSE signature, which tells a date."""
        self._findings: list[Finding] = []
        self._findings_count = 0
        self._not_judged: list[Finding] = []
        self._not_judged_count = 0

    def feed(self, entry: ParsedEntry) -> None:
        """The next entry; its form was judged by the auditor."""
        hill = self._hill
        self._states.append((hill.size, hill.peaks.copy()))
        kept: Changes = {}
        governance: Changes = {}
        for name, rows in entry.public_maps().items():
            if name.startswith(GOVERNANCE):
                kept[name] = governance[name] = rows
            elif name == tables.SIGNATURES:
                kept[name] = rows  # new members are to acknowledge the root that was signed last
            elif name == tables.COSE_SIGNATURES:
                self._signed_at = rows.get(tables.UNIT)
        if governance:
            self._judge(entry, governance)
        if tables.NODES_INFO in governance:
            self._judge_evidence(entry.seqno, governance)
        self._store.apply(entry.seqno, kept)
        if kept:
            self._store.compact(entry.seqno)
        hill.append(entry.leaf)

    def summary(self) -> Summary:
        """What was found."""
        return Summary(
            self._judged,
            self._evidence_judged,
            self._findings.copy(),
            self._findings_count,
            self._not_judged.copy(),
            self._not_judged_count,
        )

    # --- one entry ------------------------------------------------------------------------------

    def _judge(self, entry: ParsedEntry, writes: Changes) -> None:
        what, subject = "change", ""
        try:
            if tables.COSE_HISTORY in writes:
                envelope, member = self._envelope(writes)
                what = str(envelope.headers.get(MSG_TYPE, "request"))
                subject = str(envelope.headers.get(PROPOSAL, "")) or member
                self._request(entry, writes, envelope, member)
            elif OUTDATED in writes:
                what = "request"
                self._signed_as_http()
            elif self._acknowledges(writes):
                what = "ack"
                subject = self._ack(writes)
            else:
                why = by_itself(self._store.tx(), writes)
                if why:
                    raise _Unfounded(why)
                return
            self._judged += 1
        except _Unfounded as e:
            self._found(Finding(entry.seqno, what, subject, str(e)))
        except _NotJudged as e:
            self._left_out(Finding(entry.seqno, what, subject, str(e)))

    def _found(self, finding: Finding) -> None:
        self._findings_count += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(finding)

    def _left_out(self, finding: Finding) -> None:
        self._not_judged_count += 1
        if len(self._not_judged) < FINDINGS_MAX:
            self._not_judged.append(finding)

    def _envelope(self, writes: Changes) -> tuple[Sign1, MemberId]:
        """The signed message of an entry, its signature checked."""
        found = list(writes[tables.COSE_HISTORY].items())
        if len(found) != 1:
            raise _Unfounded(f"{len(found)} members' requests in one transaction")
        ((key, raw),) = found
        if raw is None:
            raise _Unfounded("a signed request was removed")
        return self._signed(key, _base64(raw))

    def _signed(self, member: bytes, data: bytes) -> tuple[Sign1, MemberId]:
        try:
            envelope = parse_sign1(data, rules=cose.MEMBER)
        except cose.CoseError as e:
            raise _Unfounded(f"the signed request cannot be read: {e}") from None
        ident = member.decode(errors="replace")
        if envelope.kid != member:
            raise _Unfounded(f"the request recorded for member {ident} names another signer")
        pem = self._store.tx().map(tables.MEMBERS_CERTS).get(member)
        if pem is None:
            raise _Unfounded(f"{ident} signed, who was no member then")
        try:
            key = key_of(pem.decode())
        except ValueError:
            raise _Unfounded(f"{ident} signed, whose certificate cannot be read") from None
        if not cosesign.verify1(envelope, key):
            raise _Unfounded(f"the signature is not that of member {ident}")
        return envelope, ident

    def _request(
        self, entry: ParsedEntry, writes: Changes, envelope: Sign1, member: MemberId
    ) -> None:
        tx = self._store.tx()
        status = (tables.get_object(tx, tables.MEMBERS_INFO, member) or {}).get("status")
        if status != "Active":
            raise _Unfounded(f"member {member} was not active ({status})")
        created = envelope.headers.get(CREATED_AT)
        self._machine.now = created if isinstance(created, int) else 0
        kind = envelope.headers.get(MSG_TYPE)
        try:
            if kind == "proposal":
                self._propose(tx, writes, envelope, member)
            elif kind == "ballot":
                self._vote(tx, envelope, member)
            elif kind == "withdrawal":
                self._withdraw(tx, envelope, member)
            else:
                raise _Unfounded(f"requests of the kind {kind} are not recorded there")
        except RpcError as e:
            message = e.message.splitlines()[0] if e.message else e.code
            what = (
                "it fails when it is run again"
                if e.status >= 500
                else "it should have been refused"
            )
            raise _Unfounded(f"{what}: {message}") from None
        self._compare(tx, writes)

    def _signed_as_http(self) -> NoReturn:
        """Where a request is that cannot be judged, anything may be written."""
        if self._signed_at is not None:
            raise _Unfounded("signed as an HTTP request, in a ledger that is signed with COSE")
        raise _NotJudged(HTTP_SIGNED)

    def _propose(self, tx: Tx, writes: Changes, envelope: Sign1, member: MemberId) -> None:
        # The id is bound to the Merkle root of the state the request read, and to the signature.
        recorded = {key.decode(errors="replace") for key in writes.get(tables.PROPOSALS_INFO, {})}
        root = self._root_of(recorded, envelope.signature)
        if root is None:
            raise _Unfounded("the proposal's id does not follow from its signature")
        assert envelope.payload is not None, "the rules demand it"
        created = envelope.headers.get(CREATED_AT)
        proposals.create(
            tx,
            self._scripts,
            proposer_id=member,
            body=envelope.payload,
            envelope=_base64(writes[tables.COSE_HISTORY][member.encode()]),
            signature=envelope.signature,
            created_at=created if isinstance(created, int) else 0,
            root=root,
        )

    def _root_of(self, recorded: set[ProposalId], signature: bytes) -> bytes | None:
        for size, peaks in reversed(self._states):
            root = Hill(size, peaks).root()
            if proposals.proposal_id(root, signature) in recorded:
                return root
        return None

    def _vote(self, tx: Tx, envelope: Sign1, member: MemberId) -> None:
        ident, proposal = self._open_proposal(tx, envelope)
        value = _json(envelope.payload)
        ballot = value.get("ballot") if isinstance(value, dict) else None
        if not isinstance(ballot, str):
            raise _Unfounded("the signed message is no ballot")
        envelope_bytes = b""  # the row of the history is what we started from; not compared
        proposals.submit_ballot(
            tx, self._scripts, ident, proposal,
            member_id=member, ballot=ballot, envelope=envelope_bytes,
        )  # fmt: skip

    def _withdraw(self, tx: Tx, envelope: Sign1, member: MemberId) -> None:
        ident, proposal = self._open_proposal(tx, envelope)
        if proposal.proposer_id != member:
            raise _Unfounded(f"member {member} withdrew a proposal of {proposal.proposer_id}")
        proposals.withdraw(tx, ident, proposal, member, b"")

    def _open_proposal(self, tx: Tx, envelope: Sign1) -> tuple[ProposalId, proposals.Proposal]:
        ident = str(envelope.headers.get(PROPOSAL, ""))
        proposal = proposals.read(tx, ident)
        if proposal is None:
            raise _Unfounded(f"there was no proposal {ident}")
        if proposal.state is not proposals.State.OPEN:
            raise _Unfounded(f"proposal {ident} was {proposal.state.value}, not Open")
        return ident, proposal

    # --- nodes ----------------------------------------------------------------------------------

    def _judge_evidence(self, seqno: SeqNo, writes: Changes) -> None:
        """Of each node that is new, or comes with another piece of evidence."""
        tx = self._store.tx()
        known = tx.map(tables.NODES_INFO)
        new = [
            (key, now)
            for key, now in (
                (key, _json_object(raw)) for key, raw in writes[tables.NODES_INFO].items() if raw
            )
            if now.get("quote_info") != _json_object(known.get(key)).get("quote_info", ...)
        ]
        if begins_service(tx, writes):
            # Its first node brings what is trusted from then on.
            for name, rows in writes.items():
                for row_key, value in rows.items():
                    if value is not None:
                        tx.map(name).set(row_key, value)
        for key, row in new:
            node = key.decode(errors="replace")
            try:
                evidence.check(tx, node, row, self._date(tx))
                self._evidence_judged += 1
            except (InvalidEvidence, InvalidLedger) as e:
                self._found(Finding(seqno, "evidence", node, e.message))
            except evidence.Unjudged as e:
                self._left_out(Finding(seqno, "evidence", node, str(e)))

    def _date(self, tx: Tx) -> UnixSeconds:
        """The latest date that is known: of the last COSE signature, or of the service."""
        cert = (tables.get_object(tx, tables.SERVICE_INFO, tables.UNIT) or {}).get("cert")
        try:
            begin = certs.validity(str(cert))[0]
        except ValueError:
            begin = 0
        try:
            headers = parse_sign1(_base64(self._signed_at)).headers
        except (_Unfounded, cose.CoseError):
            return begin
        claims = headers.get(cose.CWT_CLAIMS)
        date = claims.get(CWT_IAT) if isinstance(claims, dict) else None
        return max(begin, date) if isinstance(date, int) else begin

    # --- acknowledgements -----------------------------------------------------------------------

    def _acknowledges(self, writes: Changes) -> bool:
        if tables.SERVICE_INFO in writes:
            return False
        before = self._store.tx().map(tables.MEMBERS_ACKS)
        return any(
            # A new digest to be signed stands beside the last signed request, until it is signed.
            any(now.get(name) != _json_object(before.get(key)).get(name) for name in _ACKS)
            for key, now in (
                (key, _json_object(raw)) for key, raw in writes.get(tables.MEMBERS_ACKS, {}).items()
            )
        )

    def _ack(self, writes: Changes) -> MemberId:
        rows = writes[tables.MEMBERS_ACKS]
        if len(rows) != 1:
            raise _Unfounded(f"{len(rows)} acknowledgements in one transaction")
        ((key, raw),) = rows.items()
        if "cose_sign1_req" not in _json_object(raw):
            self._signed_as_http()
        envelope, member = self._signed(key, _base64(_json_object(raw).get("cose_sign1_req")))
        tx = self._store.tx()
        expected = (tables.get_object(tx, tables.MEMBERS_ACKS, member) or {}).get("state_digest")
        received = _json(envelope.payload)
        digest = (
            received.get("stateDigest", received.get("state_digest"))
            if isinstance(received, dict)
            else None
        )
        if digest != expected:
            raise _Unfounded(f"member {member} acknowledged another state than it was shown")
        for name, rows in writes.items():
            if name == tables.MEMBERS_ACKS:
                continue
            before = _json_object(tx.map(name).get(key))
            if (
                name != tables.MEMBERS_INFO
                or rows.keys() != {key}
                or _json_object(rows[key]) != {**before, "status": "Active"}
            ):
                raise _Unfounded(f"an acknowledgement changed {name}")
        return member

    # --- comparing ------------------------------------------------------------------------------

    def _compare(self, tx: Tx, recorded: Changes) -> None:
        """Raises _Unfounded unless the governance rows recorded are those that follow."""
        following: Mapping[str, Rows] = tx.writes
        token_keys = any(name.startswith(TOKEN_KEYS) for name in following)
        different: list[str] = []
        for name in sorted({*following, *recorded}):
            if not name.startswith(GOVERNANCE) or name == tables.COSE_HISTORY:
                continue
            ours, theirs = following.get(name, {}), recorded.get(name, {})
            if name.startswith(TOKEN_KEYS):
                # Versions differ in the tables that they write; only this one is written as here.
                if not token_keys:
                    different.append(f"{name} was written, which does not follow")
                    continue
                if name != tables.JWT_KEYS or not theirs:
                    continue
            elif name in UNREPEATABLE:
                if bool(ours) != bool(theirs) and name not in _OPTIONAL:
                    different.append(f"{name} is {'not ' if ours else ''}written")
                continue
            for key in sorted({*ours, *theirs}):
                why = self._difference(name, key, ours, theirs, tx)
                if why:
                    different.append(why)
        if different:
            shown = "; ".join(different[:DIFFERENCES_SHOWN])
            more = len(different) - DIFFERENCES_SHOWN
            raise _Unfounded(shown + (f"; and {more} more" if more > 0 else ""))

    def _difference(self, name: str, key: bytes, ours: Rows, theirs: Rows, tx: Tx) -> str:
        where = name if key == tables.UNIT else f"{name}[{key.decode(errors='replace')}]"
        if key not in theirs:
            # To remove what is not there, or to write what is there already, leaves no trace.
            return "" if ours[key] is None else f"{where} should have been written"
        if key not in ours:
            return f"{where} was written, which does not follow"
        one, other = ours[key], theirs[key]
        if name == tables.SERVICE_INFO:
            before = self._store.tx().map(name).get(key)
            if identity(_json_object(before)) != identity(_json_object(other)):
                return f"{where} has another identity, which does not follow"
        if one == other or _loose(name, one) == _loose(name, other):
            return ""
        if name == tables.PROPOSALS_INFO:
            if one is not None and other is not None and _proposal(one, other):
                return ""
            states = [_json_object(raw).get("state") for raw in (other, one)]
            if states[0] != states[1]:
                return f"{where} is recorded as {states[0]}, {states[1]} follows"
        return f"{where} is not what follows"


_ACKS = ("cose_sign1_req", "signed_req")
"""Members of a row that hold a member's signature; the second is of versions before 4."""
_OPTIONAL = frozenset(
    (tables.MODULES_BYTECODE, tables.MODULES_VERSION, tables.COSE_RECENT_PROPOSALS)
)
"""Tables that not every version writes."""
_LATER_MEMBERS = ("final_votes", "vote_failures", "failure")
"""Members of a proposal's row that not every version wrote in every state."""


def _proposal(ours: bytes | None, theirs: bytes | None) -> bool:
    """Whether two rows of a proposal say the same, as far as the recorded one says it."""
    one, other = _json_object(ours), _json_object(theirs)
    absent = [name for name in _LATER_MEMBERS if name not in other]
    return {k: v for k, v in one.items() if k not in absent} == other


def _loose(name: str, raw: bytes | None) -> object:
    """A row for comparison: JSON without what cannot be made twice; other bytes as they are."""
    if raw is None:
        return None
    try:
        value = load_json(raw)
    except ValueError:
        return raw
    if isinstance(value, dict):
        left_out = UNREPEATABLE_MEMBERS.get(name, frozenset())
        return {k: v for k, v in value.items() if k not in left_out and v is not None}
    return value


def _json(raw: bytes | None) -> Json:
    try:
        return load_json(raw or b"")
    except ValueError:
        return None


def _json_object(raw: bytes | None) -> dict[str, Json]:
    value = _json(raw)
    return value if isinstance(value, dict) else {}


def _base64(value: object) -> bytes:
    """Bytes of a base64 text, also when it is a JSON string."""
    if isinstance(value, bytes):
        value = _json(value)
    try:
        return unb64(value if isinstance(value, str) else "?")
    except ValueError:
        raise _Unfounded("the signed request is not base64") from None
