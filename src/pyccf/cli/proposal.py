"""`pyccf proposal`: propose, vote, withdraw, and see how proposals stand."""

from __future__ import annotations

import click
import msgspec

from pyccf.cli import proposal_new, two_step
from pyccf.cli.governing import tell
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output, short
from pyccf.cli.reading import parse_json, read_bytes
from pyccf.cli.scripts import read_ballot
from pyccf.client.types import Action
from pyccf.errors import LocalError


@click.group("proposal")
def command() -> None:
    """Propose, vote, and see how proposals stand."""


command.add_command(proposal_new.command)
command.add_command(two_step.prepare_command)
command.add_command(two_step.finish_command)


@command.command("create")
@click.argument("file", required=False)
@click.option("--action", metavar="NAME", help="Propose this one action instead of a file.")
@click.option("--args", "arguments", metavar="JSON", help="Arguments of --action.")
@connection_options("member0")
@json_option
def create(
    file: str | None, action: str | None, arguments: str | None, target: Target, out: Output
) -> None:
    """Submit a proposal: a FILE of {"actions": [{"name", "args"}]} ("-" for standard input)."""
    if (file is None) == (action is None):
        raise click.UsageError("Give either FILE or --action.")
    if arguments is not None and action is None:
        raise click.UsageError("--args belongs to --action.")
    if action is not None:
        value = None if arguments is None else parse_json(arguments, "--args")
        what: list[Action] | bytes = [Action(action, value)]
    else:
        assert file is not None
        what = read_bytes(file)
        if not isinstance(parse_json(what, file), dict):
            raise LocalError(f"{file} does not hold a JSON object with actions")
    with target.connect() as client:
        proposal = client.submit(what)
    out.result(proposal)
    tell(out, proposal)


@command.command("vote")
@click.argument("proposal_id")
@click.option("--against", is_flag=True, help="Vote against (default: for).")
@click.option("--ballot", metavar="FILE", help="JavaScript module that exports vote().")
@connection_options("member0")
@json_option
def vote(proposal_id: str, against: bool, ballot: str | None, target: Target, out: Output) -> None:
    """Vote on the proposal PROPOSAL_ID."""
    if ballot is not None and against:
        raise click.UsageError("Give either --against or --ballot.")
    choice: str | bool = not against if ballot is None else read_ballot(ballot)
    with target.connect() as client:
        proposal = client.vote(proposal_id, choice)
    out.result(proposal)
    tell(out, proposal)


@command.command("withdraw")
@click.argument("proposal_id")
@connection_options("member0")
@json_option
def withdraw(proposal_id: str, target: Target, out: Output) -> None:
    """Withdraw your proposal PROPOSAL_ID."""
    with target.connect() as client:
        proposal = client.withdraw(proposal_id)
    if proposal is None:
        raise LocalError(
            f"There is no proposal {proposal_id}", hint="See them: pyccf proposal list"
        )
    out.result(proposal)
    tell(out, proposal)


@command.command("show")
@click.argument("proposal_id")
@connection_options()
@json_option
def show(proposal_id: str, target: Target, out: Output) -> None:
    """Show a proposal, its actions and its votes."""
    with target.connect() as client:
        proposal = client.proposal(proposal_id)
        actions = client.proposal_actions(proposal_id)
    document = parse_json(actions, "the proposal")
    out.result({**msgspec.to_builtins(proposal), "actions": document})
    tell(out, proposal)
    for member, choice in (proposal.final_votes or {}).items():
        out.line(f"  {member}: {'for' if choice else 'against'}")
    for member, failure in (proposal.vote_failures or {}).items():
        out.line(f"  {member}: ballot failed: {failure.reason}")
    text = msgspec.json.encode(document).decode()
    out.line(msgspec.json.format(text, indent=2))


@command.command("list")
@connection_options()
@json_option
def list_(target: Target, out: Output) -> None:
    """List all proposals."""
    with target.connect() as client:
        proposals = client.proposals()
    out.result(proposals)
    rows = [
        (p.proposal_id, p.proposal_state, short(p.proposer_id), str(p.ballot_count))
        for p in proposals
    ]
    out.table(("proposal", "state", "proposer", "ballots"), rows, "There are no proposals.")
