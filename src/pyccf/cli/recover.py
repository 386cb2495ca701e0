"""`pyccf recover`: bring a service back from its ledger.

`inspect` looks at whatever files are left. A recovery then takes three parties: the operator starts
a node with the ledger (`pyccf node`, command Recover), members accept the new service (`accept`),
and members hand in their shares (`pyccf member recover`). `status` says what is next.
See docs/recovery.md.
"""

from __future__ import annotations

from collections.abc import Callable

import click
import msgspec

from pyccf.cli.governing import decide, tell
from pyccf.cli.inspecting import inspect_command
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.cli.reading import read_text
from pyccf.client import Identity, ServiceError
from pyccf.client.types import Action
from pyccf.crypto import certs
from pyccf.errors import LocalError

RECOVERING = "Recovering"
WAITING = "WaitingForRecoveryShares"


class RecoveryStatus(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where a recovery is, as `recover status --json` tells it."""

    service_status: str
    recovery_count: int
    node_state: str
    threshold: int | None = None
    last_recovered: int | None = None
    target: int | None = None


@click.group("recover")
def command() -> None:
    """Bring a service back from its ledger."""


command.add_command(inspect_command)


@command.command("status")
@connection_options()
@json_option
def status(target: Target, out: Output) -> None:
    """Say how far a recovery is, and what is next."""
    with target.connect() as client:
        network = client.network()
        state = client.get("/node/state").check().json()
        configuration = client.service_configuration()
    assert isinstance(state, dict)
    found = RecoveryStatus(
        network.service_status,
        network.recovery_count,
        str(state.get("state")),
        configuration.recovery_threshold,
        _number(state.get("last_recovered_seqno")),
        _number(state.get("recovery_target_seqno")),
    )
    out.result(found)
    out.fields(
        [
            ("service", found.service_status),
            ("node", found.node_state),
            ("recovered so far", f"{found.recovery_count} time(s)"),
        ]
    )
    for line in _next(found, target):
        out.line(line)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _next(found: RecoveryStatus, target: Target) -> list[str]:
    """What somebody must do now."""
    if found.last_recovered is not None:
        return [f"Private state is being read: {found.last_recovered} of {found.target} entries."]
    if found.service_status == RECOVERING:
        return [
            "A member must propose to accept this service as the one that goes on:",
            "  "
            + pyccf_line("recover", "accept", "--previous-identity", "FILE", *target.signing_words),
        ]
    if found.service_status == WAITING:
        return [
            f"{found.threshold} member(s) must hand in their recovery shares, each with:",
            "  " + pyccf_line("member", "recover", "--enc-key", "FILE", *target.signing_words),
        ]
    return ["Nothing is being recovered."]


@command.command("accept")
@click.option(
    "--previous-identity",
    metavar="FILE",
    required=True,
    help="Certificate that you know the service by, from before its recovery (PEM file).",
)
@connection_options("member0")
@json_option
def accept(previous_identity: str, target: Target, out: Output) -> None:
    """Propose to go on with the recovered service (action transition_service_to_open).

    Refused when the service goes on where another one ended than the one you know. All members
    whose keys are at hand vote for it: those of a sandbox, else the one that calls.
    """
    with target.connect() as client:
        if client.identity is None:
            raise LocalError("A proposal must be signed by a member", hint="Give --cert and --key.")
        network = client.network()
        if network.service_status != RECOVERING:
            raise LocalError(
                f"The service is {network.service_status}: there is nothing to accept",
                hint="See: " + pyccf_line("recover", "status", *target.words),
            )
        recorded = _recorded(client.previous_service_identity)
        _check_same(previous_identity, recorded)
        args = {
            "previous_service_identity": recorded,
            "next_service_identity": network.service_certificate,
        }
        members = [client.identity]
        if target.sandbox is not None:
            party = [Identity.load(member.cert, member.key) for member in target.sandbox.members]
            members += [one for one in party if one.id != client.identity.id]
        action = Action("transition_service_to_open", args)
        proposal, _ = decide(client, [action], members)
    out.result(proposal)
    tell(out, proposal)
    if proposal.proposal_state == "Open":
        out.line("More votes are needed:")
        out.line("  " + pyccf_line("proposal", "vote", proposal.proposal_id, *target.signing_words))
    elif proposal.proposal_state == "Accepted":
        out.line("Accepted. Now members hand in their shares, each with:")
        out.line("  " + pyccf_line("member", "recover", "--enc-key", "FILE", *target.signing_words))


def _recorded(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except ServiceError as error:
        if error.status == 404:
            raise LocalError(
                "This service does not go on with another one",
                hint="It was started anew. A recovery is started with command.type Recover.",
            ) from None
        raise


def _check_same(file: str, recorded: str) -> None:
    """The service that is known must be the one that the recovered one goes on with."""
    try:
        known = certs.public_key(read_text(file))
    except ValueError:
        raise LocalError(f"{file} is not a certificate in PEM") from None
    if known != certs.public_key(recorded):
        raise LocalError(
            f"The recovered service goes on with another service than that of {file}",
            hint="Do not accept it. Ask the operator which ledger it was started with.",
        )
