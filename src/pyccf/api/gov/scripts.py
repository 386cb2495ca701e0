"""Constitution and ballots on the JavaScript engine, in the terms of `service.proposals`.

Ballots, `validate` and `resolve` may only read; `apply` may write, and has the node's operations at
hand (spec: governance.md §1.3, §2). What scripts tell goes into answers and tables, without
lone surrogates therefore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pyccf.apps.js import governance
from pyccf.apps.js.governance import JsArg, JsError, JsResult, JsSetupError
from pyccf.apps.js.host.host import Host
from pyccf.apps.js.text import sendable
from pyccf.service.proposals import ScriptFailure, ScriptUnusable, Validation, Vote

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.apps.context import GovernanceOperations, Services
    from pyccf.kv.maps import AccessContext
    from pyccf.kv.tx import Tx
    from pyccf.types import MemberId, ProposalId

CONSTITUTION_NAME = "public:ccf.gov.constitution[0]"
"""Name under which the constitution appears in traces and errors."""

BALLOT_MS_MIN = 50
"""What each ballot has at least, however many there are."""

FAILURE_MAX = 1 << 16
"""Characters that are told of an exception, and of its trace. Those of ballots are kept with the
proposal: one member's must not make it too large to be decided."""

_JUDGEMENT = ("description", "valid")
"""What is read of a validation's result, in this order."""


class Scripts:
    """A `ScriptRunner` for one request."""

    def __init__(
        self,
        services: Services,
        operations: GovernanceOperations,
        make_host: Callable[[AccessContext], Host] = Host,
        call: Callable[..., JsResult] = governance.run,
    ) -> None:
        """For tools that look on: `make_host` gives scripts another host than the usual one, `call`
        stands before the function that runs one.
        """
        self._services = services
        self._operations = operations
        self._make_host = make_host
        self._call = call

    def validate(self, tx: Tx, constitution: str, proposal: str) -> Validation:
        """Run `validate(proposal)`."""
        result = self._run(
            tx, constitution, CONSTITUTION_NAME, "validate", [proposal], wanted=_JUDGEMENT
        )
        if not result.is_object:
            return Validation(is_object=False)
        valid, description = result.fields.get("valid"), result.fields.get("description")
        return Validation(
            is_object=True,
            valid=valid is not None and valid.truthy,
            description="" if description is None else sendable(description.text),
        )

    def resolve(
        self,
        tx: Tx,
        constitution: str,
        proposal: str,
        proposer_id: MemberId,
        votes: list[Vote],
        proposal_id: ProposalId,
    ) -> str:
        """Run `resolve(proposal, proposerId, votes, proposalId)`."""
        listed: JsArg = [{"member_id": vote.member_id, "vote": vote.vote} for vote in votes]
        args: list[JsArg] = [proposal, proposer_id, listed, proposal_id]
        return sendable(self._run(tx, constitution, CONSTITUTION_NAME, "resolve", args).text)

    def apply(self, tx: Tx, constitution: str, proposal: str, proposal_id: ProposalId) -> None:
        """Run `apply(proposal, proposalId)`."""
        args: list[JsArg] = [proposal, proposal_id]
        self._run(tx, constitution, CONSTITUTION_NAME, "apply", args, "GOV_RW", wanted=None)

    def vote(
        self, tx: Tx, ballot: str, name: str, proposal: str, proposer_id: MemberId, among: int
    ) -> bool:
        """Run a ballot's `vote(proposal, proposerId)`; what counts is the value's truth."""
        args: list[JsArg] = [proposal, proposer_id]
        within_ms = max(governance.limits_of(tx).time_ms // among, BALLOT_MS_MIN)
        return self._run(
            tx, ballot, name, "vote", args, keep=False, wanted=None, within_ms=within_ms
        ).truthy

    def _run(
        self,
        tx: Tx,
        source: str,
        name: str,
        function: str,
        args: list[JsArg],
        access: Literal["GOV_RO", "GOV_RW"] = "GOV_RO",
        keep: bool = True,
        wanted: tuple[str, ...] | None = (),
        within_ms: int = 0,
    ) -> JsResult:
        try:
            return self._call(
                source,
                name,
                function,
                args,
                tx=tx,
                access=access,
                operations=self._operations if access == "GOV_RW" else None,
                machine=self._services,
                keep=keep,
                make_host=self._make_host,
                wanted=wanted,
                within_ms=within_ms,
            )
        except JsError as e:
            trace = None if e.trace is None else sendable(e.trace[:FAILURE_MAX])
            raise ScriptFailure(sendable(e.message[:FAILURE_MAX]), trace, e.timed_out) from None
        except JsSetupError as e:
            raise ScriptUnusable(sendable(e.text)) from None
