"""`pyccf proposal new`: write a proposal from the flags of its actions, or submit it at once.

    pyccf proposal new set_user --cert user.pem trigger_ledger_rekey > proposal.json

Each action of `cli.actions` is a command of its own with its arguments as flags; several in a row
make one proposal, in that order. `custom` names an action that only one's own constitution has.
Options of the proposal as a whole come before the first action. Promises: what is written is what
is submitted, byte for byte. Refused: files that cannot be read, JSON that is none, and folders
without an application; whether the arguments will do is for the constitution to say.
"""

from __future__ import annotations

import difflib
import hashlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from pyccf.cli.actions import ACTIONS, ActionSpec, Flag, Kind
from pyccf.cli.bundle import JsBundle, PythonApp, runnable_app
from pyccf.cli.governing import tell
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output
from pyccf.cli.reading import parse_json, read_bytes, read_text, write_bytes
from pyccf.cli.scripts import read_constitution
from pyccf.codec.text import dump_json
from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.types import Json

INDENT = 2
CUSTOM = "custom"

Part = dict[str, Json]
"""One action as it stands in a proposal: name and args."""


class Whole(NamedTuple):
    """What is said of the proposal as a whole."""

    file: str | None
    submit: bool
    find: Callable[[], Target]
    out: Output


class ActionGroup(click.Group):
    """All actions; each is made into a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*ACTIONS, CUSTOM]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == CUSTOM:
            return custom
        spec = ACTIONS.get(cmd_name)
        return None if spec is None else _command(spec)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in ACTIONS and args[0] != CUSTOM:
            near = difflib.get_close_matches(args[0].replace("-", "_"), ACTIONS)
            known = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(
                f"There is no action {args[0]}.{known} For one of your own constitution:"
                f" custom --name {args[0]} --args JSON"
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the actions by the constitution that has them."""
        for constitution in dict.fromkeys(spec.of for spec in ACTIONS.values()):
            specs = [spec for spec in ACTIONS.values() if spec.of == constitution]
            with formatter.section(f"Actions ({constitution} constitution)"):
                formatter.write_dl([(spec.name, spec.help) for spec in specs])
        with formatter.section("Any other action"):
            formatter.write_dl([(CUSTOM, "One of your own constitution.")])


class ActionCommand(click.Command):
    """One action; knows that options of the proposal stand before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            group = ctx.parent.command.params if ctx.parent else []
            if any(error.option_name in option.opts for option in group):
                raise click.UsageError(
                    f"{error.option_name} must stand before the first action.", ctx
                ) from error
            raise


@click.group(
    "new",
    cls=ActionGroup,
    chain=True,
    subcommand_metavar="ACTION [FLAGS]... [ACTION [FLAGS]...]...",
)
@click.option("--out", "file", metavar="FILE", help="Write the proposal here (default: print it).")
@click.option("--submit", is_flag=True, help="Submit it at once, as the member of --cert.")
@connection_options("member0", find=False)
@json_option
@click.pass_context
def command(
    ctx: click.Context, file: str | None, submit: bool, find: Callable[[], Target], out: Output
) -> None:
    """Write a proposal of one or several actions, from typed flags.

    `pyccf proposal new ACTION --help` tells the flags of an action. Submit the file with
    `pyccf proposal create FILE`, or sign it elsewhere: `pyccf proposal prepare FILE`.
    """
    ctx.obj = Whole(file, submit, find, out)


@command.result_callback()
@click.pass_obj
def finish(whole: Whole, /, parts: Sequence[Part], **_: object) -> None:
    """Write or submit what the actions made."""
    document = encode(parts)
    file, out = whole.file, whole.out
    if file is not None:
        write_bytes(file, document)
    if whole.submit:
        with whole.find().connect() as client:
            proposal = client.submit(document)
        out.result(proposal)
        tell(out, proposal)
    elif file is not None:
        out.result({"file": file, "actions": [part["name"] for part in parts]})
        out.line(f"Wrote {file}. Submit it with: pyccf proposal create {file}")
    else:
        # The document is JSON: with --json it is the same on one line.
        text = dump_json({"actions": list(parts)}) + b"\n" if out.as_json else document
        sys.stdout.write(text.decode())


def encode(parts: Sequence[Part]) -> bytes:
    """The proposal as a file."""
    text = msgspec.json.encode({"actions": list(parts)})
    return msgspec.json.format(text, indent=INDENT) + b"\n"


@click.command(CUSTOM, cls=ActionCommand, help="An action of your own constitution.")
@click.option("--name", required=True, metavar="NAME", help="Name of the action.")
@click.option("--args", "arguments", metavar="JSON", help="Its arguments: JSON, or @FILE.")
def custom(name: str, arguments: str | None) -> Part:
    """An action that is not in our table."""
    return {"name": name, "args": None if arguments is None else read_json(arguments, "--args")}


def _command(spec: ActionSpec) -> click.Command:
    def run(**given: object) -> Part:
        if not spec.flags:
            return {"name": spec.name, "args": None}
        return {"name": spec.name, "args": arguments(spec, given)}

    return ActionCommand(
        spec.name,
        callback=run,
        params=[_option(flag) for flag in spec.flags],
        help=f"{spec.help}\n\nAction of the {spec.of} constitution.",
        short_help=spec.help,
    )


def _option(flag: Flag) -> click.Option:
    if flag.kind is Kind.YES_NO:
        both = f"{flag.option}/--no-{flag.option[2:]}"
        return click.Option([both, flag.name], default=None, is_flag=True, help=flag.help)
    return click.Option(
        [flag.option, flag.name],
        type=click.Choice(flag.choices) if flag.choices else _TYPES.get(flag.kind),
        required=flag.required,
        multiple=flag.kind in (Kind.SCRIPT, Kind.TEXTS),
        metavar=None if flag.choices else flag.kind.value,
        help=flag.help,
    )


_TYPES = {
    Kind.PEM: click.Path(allow_dash=True),
    Kind.POLICY: click.Path(allow_dash=True),
    Kind.SCRIPT: click.Path(allow_dash=True),
    Kind.BUNDLE: click.Path(file_okay=False),
    Kind.NUMBER: click.INT,
}
"""For the shell's completion: which flags are completed as paths."""


def arguments(spec: ActionSpec, given: dict[str, object]) -> dict[str, Json]:
    """Arguments of an action from what its flags were given; those not given are left out."""
    args: dict[str, Json] = {}
    for flag in spec.flags:
        value = given.get(flag.name)
        if flag.kind is Kind.TIME and value is None:
            value = certs.time_text(int(time.time()))
        if flag.kind is Kind.BUNDLE:
            bundle = _bundle(str(value))
            args[flag.name] = bundle.as_json()
            if not bundle.compiles:  # as `app deploy` does
                args["disable_bytecode_cache"] = True
        elif flag.kind is Kind.TEXTS:
            assert isinstance(value, tuple)
            args[flag.name] = [str(text) for text in value]
        elif value is not None:
            args[flag.name] = _read(flag, value)
    if any(flag.kind is Kind.POLICY for flag in spec.flags):
        _fill_host_data(args)
    return args


def _read(flag: Flag, value: object) -> Json:
    match flag.kind:
        case Kind.NUMBER | Kind.YES_NO:
            assert isinstance(value, int)
            return value
        case Kind.SCRIPT:
            assert isinstance(value, tuple)
            return read_constitution([str(name) for name in value])
        case Kind.JSON:
            return read_json(str(value), flag.option)
        case Kind.PEM:
            return _pem(str(value))
        case Kind.POLICY:
            return read_text(str(value))
        case Kind.TEXT | Kind.TIME | Kind.TEXTS | Kind.BUNDLE:
            return str(value)


def _bundle(folder: str) -> JsBundle:
    found = runnable_app(Path(folder))
    if isinstance(found, PythonApp):
        raise LocalError(
            f"{folder} holds a Python application, which is part of the node's program",
            hint="Only JavaScript applications are installed by proposal.",
        )
    return found


def _fill_host_data(args: dict[str, Json]) -> None:
    policy = args.setdefault("security_policy", "")
    if policy:
        args.setdefault("host_data", hashlib.sha256(str(policy).encode()).hexdigest())
    elif "host_data" not in args:
        raise click.UsageError("Give --security-policy, or --host-data without a policy.")


def read_json(text: str, where: str) -> Json:
    """JSON given on the command line, or @FILE that holds it. Raises LocalError."""
    if text.startswith("@"):
        return parse_json(read_bytes(text[1:]), text[1:])
    return parse_json(text, where)


def _pem(file: str) -> str:
    text = read_text(file)
    if "-----BEGIN " not in text:
        raise LocalError(f"{file} is not a PEM file", hint="It should hold -----BEGIN ...")
    if "PRIVATE KEY-----" in text:
        raise LocalError(
            f"{file} holds a private key, and proposals are public",
            hint="Give the certificate or the public key instead.",
        )
    return text
