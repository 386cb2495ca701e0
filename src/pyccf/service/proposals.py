"""The life of a proposal: made, voted on, resolved, applied, withdrawn (spec: governance.md §3).

A proposal is Open until the constitution resolves it, its proposer withdraws it, or an accepted
proposal drops it. At most one closed proposal is kept beside the open ones: a resolution removes
all others. The scripts themselves are run by a `ScriptRunner` that is given; this module decides
what their answers mean and writes the tables. Everything happens in one transaction, which RpcError
says must be discarded, with the status, code and words the member is told.

Refused: replayed and outdated proposals, second and different ballots, scripts that throw or
answer nonsense. Whether a proposal is open at all is for the caller to check.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgspec

from pyccf.codec.text import b64
from pyccf.crypto.cosesign import twin
from pyccf.errors import RpcError
from pyccf.service import info as service_info
from pyccf.service import tables
from pyccf.types import Json, MemberId, ProposalId

if TYPE_CHECKING:
    from pyccf.kv.tx import Tx

CREATED_AT_MAX = 9_999_999_999
"""Times of creation are compared as ten decimal digits."""
CREATED_AT_DIGITS = 10
TIMED_OUT = "Operation took too long to complete."

INTERNAL_ERROR = "InternalError"


class State(Enum):
    """Where a proposal is in its life."""

    OPEN = "Open"
    ACCEPTED = "Accepted"
    WITHDRAWN = "Withdrawn"
    REJECTED = "Rejected"
    FAILED = "Failed"
    """Told, never stored: the transaction of a failure is discarded."""
    DROPPED = "Dropped"


# --- scripts ----------------------------------------------------------------------------------


class ScriptFailure(Exception):
    """A script threw: its error as text, where, and whether it ran out of time."""

    def __init__(self, reason: str, trace: str | None, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = TIMED_OUT if timed_out else reason
        self.trace = trace


class ScriptUnusable(Exception):
    """A script does not compile or lacks the function that is asked of it."""


class Validation(msgspec.Struct, frozen=True):
    """What a constitution says of a proposal's form."""

    is_object: bool
    """Whether `validate` returned an object at all."""
    valid: bool = False
    description: str = ""


class Vote(msgspec.Struct, frozen=True):
    """A member's decision, as the resolution sees it."""

    member_id: MemberId
    vote: bool


class ScriptRunner(Protocol):
    """Runs constitution and ballots, each call in a fresh interpreter over the transaction.

    Raises ScriptFailure when the script throws or runs too long, ScriptUnusable when it cannot be
    run at all.
    """

    def validate(self, tx: Tx, constitution: str, proposal: str) -> Validation: ...
    def resolve(
        self,
        tx: Tx,
        constitution: str,
        proposal: str,
        proposer_id: MemberId,
        votes: list[Vote],
        proposal_id: ProposalId,
    ) -> str:
        """What `resolve` returned, as text."""
        ...

    def apply(self, tx: Tx, constitution: str, proposal: str, proposal_id: ProposalId) -> None: ...
    def vote(
        self, tx: Tx, ballot: str, name: str, proposal: str, proposer_id: MemberId, among: int
    ) -> bool:
        """Whether the ballot's `vote` returned something true; `name` is shown in its traces.

        It is one `among` so many that have one time limit together, each an equal share but not
        less than some least one.
        """
        ...


# --- records ----------------------------------------------------------------------------------


class Failure(msgspec.Struct, frozen=True):
    """Why a script failed."""

    reason: str
    trace: str | None = None

    def to_json(self) -> dict[str, Json]:
        value: dict[str, Json] = {"reason": self.reason}
        if self.trace is not None:
            value["trace"] = self.trace
        return value


class Proposal(msgspec.Struct, frozen=True):
    """A row of `proposals_info`."""

    proposer_id: MemberId
    state: State
    ballots: dict[MemberId, str]
    """Source text of the ballots given so far."""
    final_votes: dict[MemberId, bool] | None = None
    """None as long as the proposal is not resolved."""
    vote_failures: dict[MemberId, Failure] | None = None
    failure: Failure | None = None

    def to_json(self) -> dict[str, Json]:
        """The row; absent parts are left out (spec: governance.md §3.1)."""
        value: dict[str, Json] = {
            "proposer_id": self.proposer_id,
            "state": self.state.value,
            "ballots": dict(self.ballots),
        }
        if self.final_votes is not None:
            value["final_votes"] = dict(self.final_votes)
        if self.vote_failures is not None:
            value["vote_failures"] = {k: f.to_json() for k, f in self.vote_failures.items()}
        if self.failure is not None:
            value["failure"] = self.failure.to_json()
        return value

    @classmethod
    def from_json(cls, value: dict[str, Json]) -> Proposal:
        """Read a row; unknown members are ignored."""
        votes = value.get("final_votes")
        failures = value.get("vote_failures")
        return cls(
            proposer_id=tables.text_member(value, "proposer_id", tables.PROPOSALS_INFO),
            state=tables.enum_member(value, "state", State, tables.PROPOSALS_INFO),
            ballots={k: str(v) for k, v in _members(value.get("ballots")).items()},
            final_votes=None if votes is None else {k: bool(v) for k, v in _members(votes).items()},
            vote_failures=(
                None
                if failures is None
                else {k: _failure(v) for k, v in _members(failures).items()}
            ),
            failure=None if value.get("failure") is None else _failure(value["failure"]),
        )

    def summary(self, proposal_id: ProposalId) -> dict[str, Json]:
        """How the governance API shows a proposal (spec: gov-api.md §4.1)."""
        value: dict[str, Json] = {
            "proposalId": proposal_id,
            "proposerId": self.proposer_id,
            "proposalState": self.state.value,
            "ballotCount": len(self.ballots),
        }
        if self.final_votes is not None:
            value["finalVotes"] = dict(self.final_votes)
        if self.vote_failures is not None:
            value["voteFailures"] = {k: f.to_json() for k, f in self.vote_failures.items()}
        if self.failure is not None:
            value["failure"] = self.failure.to_json()
        return value


def _members(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _failure(value: Json) -> Failure:
    row = _members(value)
    trace = row.get("trace")
    return Failure(str(row.get("reason", "")), trace if isinstance(trace, str) else None)


def read(tx: Tx, proposal_id: ProposalId) -> Proposal | None:
    """A proposal by its id."""
    row = tables.get_object(tx, tables.PROPOSALS_INFO, proposal_id)
    return None if row is None else Proposal.from_json(row)


def read_all(tx: Tx) -> list[tuple[ProposalId, Proposal]]:
    """Every proposal that is kept, in the order of the store."""
    return [
        (ident, Proposal.from_json(row)) for ident, row in tables.objects(tx, tables.PROPOSALS_INFO)
    ]


def content(tx: Tx, proposal_id: ProposalId) -> bytes | None:
    """The proposal as it was signed."""
    return tx.map(tables.PROPOSALS).get(proposal_id.encode())


def proposal_id(root: bytes, signature: bytes) -> ProposalId:
    """Id of a proposal: SHA-256 over the Merkle root it was made on and its signature's digest."""
    return hashlib.sha256(root + hashlib.sha256(signature).digest()).hexdigest()


def remember_envelope(tx: Tx, member_id: MemberId, envelope: bytes) -> None:
    """Keep the last signed request of a member."""
    tables.put_json(tx, tables.COSE_HISTORY, member_id, b64(envelope))


def _write(tx: Tx, ident: ProposalId, proposal: Proposal) -> None:
    tables.put_json(tx, tables.PROPOSALS_INFO, ident, proposal.to_json())


# --- replay -----------------------------------------------------------------------------------


def check_recent(tx: Tx, created_at: int, signature: bytes, ident: ProposalId) -> None:
    """Refuse a proposal seen before or older than half of the recent ones, else remember it.

    The window keeps the newest signatures only, so that a proposal can neither be replayed while
    it is remembered nor after it was forgotten, nor with the other form of its signature
    (spec: gov-api.md §4.1).
    """
    if created_at > CREATED_AT_MAX:
        raise RpcError(400, "InvalidCreatedAt", "Header parameter created_at value is too large")
    stamp = f"{created_at:0{CREATED_AT_DIGITS}d}"
    key, other = (
        f"{stamp}:{hashlib.sha256(form).hexdigest()}" for form in (signature, twin(signature))
    )
    for seen in (key, other):
        known = tables.get_json(tx, tables.COSE_RECENT_PROPOSALS, seen)
        if known is not None:
            raise RpcError(
                400,
                "ProposalReplay",
                f"Proposal submission replay, already exists as proposal {known}",
            )
    handle = tx.map(tables.COSE_RECENT_PROPOSALS)
    keys = sorted(row for row, _ in handle.foreach())
    if keys:
        oldest_allowed = keys[len(keys) // 2].partition(b":")[0].decode(errors="replace")
        if stamp < oldest_allowed:
            raise RpcError(
                400,
                "ProposalCreatedTooLongAgo",
                f"Proposal created too long ago, created_at must be greater than {oldest_allowed}",
            )
    tables.put_json(tx, tables.COSE_RECENT_PROPOSALS, key, ident)
    surplus = keys[: max(0, len(keys) - (service_info.recent_proposals_window(tx) - 1))]
    kept = sorted((*keys[len(surplus) :], key.encode()))
    # Of the same second as those that are accepted from now on, it could be replayed.
    oldest = kept[len(kept) // 2].partition(b":")[0]
    for known_key in surplus:
        if known_key.partition(b":")[0] < oldest:
            handle.delete(known_key)


# --- transitions ------------------------------------------------------------------------------


def _internal(message: str) -> NoReturn:
    raise RpcError(500, INTERNAL_ERROR, message)


def create(
    tx: Tx,
    runner: ScriptRunner,
    *,
    proposer_id: MemberId,
    body: bytes,
    envelope: bytes,
    signature: bytes,
    created_at: int,
    root: bytes | None,
) -> tuple[ProposalId, Proposal]:
    """Take in a signed proposal and resolve it for the first time.

    `root` is the Merkle root of the state the transaction reads. The order of the checks is the
    contract (spec: gov-api.md §4.1). Raises RpcError when the transaction must be discarded.
    """
    if root is None:
        _internal("Proposal failed to bind to state.")
    ident = proposal_id(root, signature)
    constitution = read_constitution(tx)
    if constitution is None:
        _internal("No constitution is set - proposals cannot be evaluated")
    text = body.decode("utf-8", "replace")
    _validate(tx, runner, constitution, text)

    if tables.get_json(tx, tables.PROPOSALS_INFO, ident) is not None:
        _internal("Proposal ID collision.")
    proposal = Proposal(proposer_id, State.OPEN, {})
    tables.put_raw(tx, tables.PROPOSALS, ident, body)
    _write(tx, ident, proposal)
    remember_envelope(tx, proposer_id, envelope)
    check_recent(tx, created_at, signature, ident)
    return ident, resolve(tx, runner, constitution, ident, proposal, text)


def _validate(tx: Tx, runner: ScriptRunner, constitution: str, text: str) -> None:
    try:
        verdict = runner.validate(tx, constitution, text)
    except ScriptFailure as e:
        _internal(f"Failed to execute validation: {e.reason} {e.trace or ''}")
    except ScriptUnusable as e:
        _internal(str(e))
    if not verdict.is_object:
        _internal("Validation failed to return an object")
    if not verdict.valid:
        raise RpcError(
            400,
            "ProposalFailedToValidate",
            f"Proposal failed to validate: {verdict.description}",
        )


def submit_ballot(
    tx: Tx,
    runner: ScriptRunner,
    ident: ProposalId,
    proposal: Proposal,
    *,
    member_id: MemberId,
    ballot: str,
    envelope: bytes,
) -> Proposal:
    """Record a ballot on an open proposal and resolve it; the same ballot again changes nothing."""
    constitution = read_constitution(tx)
    if constitution is None:
        _internal("No constitution is set - ballots cannot be evaluated")
    given = proposal.ballots.get(member_id)
    if given == ballot:
        return proposal
    if given is not None:
        raise RpcError(
            400,
            "VoteAlreadyExists",
            f"Different ballot already submitted by m[{member_id}] for {ident}.",
        )
    body = content(tx, ident)
    if body is None:
        _internal(f"Proposal {ident} has no content")
    voted = msgspec.structs.replace(proposal, ballots={**proposal.ballots, member_id: ballot})
    _write(tx, ident, voted)
    remember_envelope(tx, member_id, envelope)
    text = body.decode("utf-8", "replace")
    return resolve(tx, runner, constitution, ident, voted, text, member_id)


def withdraw(
    tx: Tx, ident: ProposalId, proposal: Proposal, member_id: MemberId, envelope: bytes
) -> Proposal:
    """Take an open proposal back; one that is withdrawn already stays as it is."""
    if proposal.state is State.WITHDRAWN:
        return proposal
    assert proposal.state is State.OPEN
    withdrawn = msgspec.structs.replace(proposal, state=State.WITHDRAWN)
    _write(tx, ident, withdrawn)
    remove_closed(tx, ident)
    remember_envelope(tx, member_id, envelope)
    return withdrawn


def remove_closed(tx: Tx, keep: ProposalId) -> None:
    """Remove every proposal but one that is no longer open."""
    infos, bodies = tx.map(tables.PROPOSALS_INFO), tx.map(tables.PROPOSALS)
    closed = [
        ident.encode()
        for ident, proposal in read_all(tx)
        if ident != keep and proposal.state is not State.OPEN
    ]
    for key in closed:
        infos.delete(key)
        bodies.delete(key)


def read_constitution(tx: Tx) -> str | None:
    """The constitution in force."""
    return tables.get_text(tx, tables.CONSTITUTION)


def ballot_name(ident: ProposalId, member_id: MemberId) -> str:
    """Name under which a ballot's module appears in traces and errors."""
    return f"{tables.PROPOSALS_INFO}[{ident}].ballots[m[{member_id}]]"


def resolve(
    tx: Tx,
    runner: ScriptRunner,
    constitution: str,
    ident: ProposalId,
    proposal: Proposal,
    text: str,
    voter: MemberId | None = None,
) -> Proposal:
    """Count the ballots, ask the constitution, write the outcome, and apply what was accepted.

    `voter` is who gives a ballot now, and is told when that cannot be run.
    A failure of `resolve` or `apply` refuses the request, so that nothing of it is kept.
    """
    votes: dict[MemberId, bool] = {}
    failures: dict[MemberId, Failure] = {}
    for member_id, ballot in sorted(proposal.ballots.items()):
        try:
            votes[member_id] = runner.vote(
                tx,
                ballot,
                ballot_name(ident, member_id),
                text,
                proposal.proposer_id,
                len(proposal.ballots),
            )
        except ScriptFailure as e:
            failures[member_id] = Failure(e.reason, e.trace)
        except ScriptUnusable as e:
            if member_id == voter:
                _internal(str(e))
            # It could be used once. One member's ballot must not keep the others from voting.
            failures[member_id] = Failure(str(e))

    state = _ask(tx, runner, constitution, ident, proposal, text, votes)
    resolved = msgspec.structs.replace(proposal, state=state)
    if state is State.OPEN:
        _write(tx, ident, resolved)
        return resolved
    resolved = msgspec.structs.replace(resolved, final_votes=votes, vote_failures=failures)
    _write(tx, ident, resolved)
    remove_closed(tx, ident)
    if state is State.ACCEPTED:
        try:
            runner.apply(tx, constitution, text, ident)
        except ScriptFailure as e:
            _failed(f"Failed to apply(): {e.reason}", e.trace)
        except ScriptUnusable as e:
            _internal(str(e))
    return resolved


_OUTCOMES = {state.value: state for state in (State.OPEN, State.ACCEPTED, State.REJECTED)}


def _ask(
    tx: Tx,
    runner: ScriptRunner,
    constitution: str,
    ident: ProposalId,
    proposal: Proposal,
    text: str,
    votes: dict[MemberId, bool],
) -> State:
    listed = [Vote(member_id, vote) for member_id, vote in votes.items()]
    try:
        answer = runner.resolve(tx, constitution, text, proposal.proposer_id, listed, ident)
    except ScriptFailure as e:
        _failed(f"Failed to resolve(): {e.reason}", e.trace)
    except ScriptUnusable as e:
        _internal(str(e))
    state = _OUTCOMES.get(answer)
    if state is None:
        _failed(f'resolve() returned invalid status value: "{answer}"', None)
    return state


def _failed(reason: str, trace: str | None) -> NoReturn:
    """The proposal is Failed: the member is told, nothing is kept."""
    _internal(f"{reason}\nTrace: {'N/A' if trace is None else trace}")
