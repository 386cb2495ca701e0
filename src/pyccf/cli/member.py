"""`pyccf member`: see the members, become active as one, help to recover the service."""

from __future__ import annotations

import click

from pyccf.cli import shares, two_step
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output


@click.group("member")
def command() -> None:
    """See the members, become active as one, help to recover the service."""


command.add_command(two_step.prepare_command)
command.add_command(two_step.finish_command)
command.add_command(shares.share_command)
command.add_command(shares.recover_command)


@command.command("list")
@connection_options()
@json_option
def list_(target: Target, out: Output) -> None:
    """List the members of the consortium."""
    with target.connect() as client:
        members = client.members()
    out.result(members)
    rows = [(m.member_id, m.status, m.recovery_role or "NonParticipant") for m in members]
    out.table(("member", "status", "recovery"), rows, "There are no members.")


@command.command("ack")
@connection_options("member0")
@json_option
def ack(target: Target, out: Output) -> None:
    """Acknowledge the state of the service: an accepted member becomes active."""
    with target.connect() as client:
        digest = client.ack()
        member = client.member(digest.member_id)
    result = {
        "memberId": member.member_id,
        "status": member.status,
        "stateDigest": digest.state_digest,
    }
    out.result(result)
    out.fields(
        [
            ("member", member.member_id),
            ("status", member.status),
            ("acknowledged", digest.state_digest),
        ]
    )
