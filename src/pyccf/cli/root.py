"""The tree of commands. Each is imported when it is called, not before."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {
    "node": ("node", "Run one node of a service."),
    "sandbox": ("sandbox", "Start a service on this machine, ready to use."),
    "network": ("network", "See how the nodes stand; let nodes in and out."),
    "key": ("key", "Make keys and certificates."),
    "app": ("app", "Install an application, test one, replay its requests."),
    "proposal": ("proposal", "Propose, vote, and see how proposals stand."),
    "constitution": ("constitution", "See the sample constitutions, and test one's own."),
    "member": ("member", "See the members, become active, hand in shares."),
    "recover": ("recover", "Bring a service back from its ledger."),
    "ledger": ("ledger", "Read and verify a ledger on disk."),
    "receipt": ("receipt", "Fetch and verify receipts."),
    "call": ("call", "Send one request to a service."),
}
"""Name of each command: its module in this room, and what it is for."""


class LazyGroup(click.Group):
    """Commands that are named at once and imported late."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, purpose = _COMMANDS[cmd_name]
        if cmd_name == "node":  # runs before this tree is reached; here only to be listed
            return click.Command("node", short_help=purpose, help=purpose)
        command = import_module(f"pyccf.cli.{module}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--version", is_flag=True, help="Print the version and stop.")
def root(version: bool) -> None:
    """Confidential Consortium Framework in Python.

    Start with `pyccf sandbox`: it runs a service on this machine and prints what to do next.
    """
