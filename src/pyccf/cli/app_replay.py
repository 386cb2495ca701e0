"""`pyccf app replay`: run a committed request again, step by step. Asks no node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pyccf.cli.options import json_option
from pyccf.cli.output import Output
from pyccf.cli.reading import read_bytes, read_text
from pyccf.errors import LocalError

if TYPE_CHECKING:
    from pyccf.appdev.replay import Difference, Replayed
    from pyccf.ledger.secrets import LedgerSecrets

NOT_WRITTEN = "(not written)"
REMOVED = "(removed)"


@click.command("replay")
@click.argument("directories", nargs=-1, required=True, metavar="LEDGER_DIR...")
@click.argument("seqno", type=click.IntRange(1))
@click.option(
    "--request",
    metavar="FILE",
    help="The request, if the ledger does not hold it: HTTP/1.1 as sent, or JSON.",
)
@click.option("--cert", metavar="FILE", help="Certificate of the client that sent it (PEM).")
@click.option(
    "--enc-key",
    "enc_keys",
    multiple=True,
    metavar="FILE",
    help="Private encryption key of a member (PEM); with enough of them private tables open.",
)
@click.option(
    "--ledger-secret",
    metavar="FILE",
    help="The ledger secret instead: 32 bytes, their hex, or JSON {version: hex}.",
)
@json_option
def command(
    directories: tuple[str, ...],
    seqno: int,
    request: str | None,
    cert: str | None,
    enc_keys: tuple[str, ...],
    ledger_secret: str | None,
    out: Output,
) -> int:
    """Run the request that became the transaction SEQNO again, and tell every step.

    The state before it, the application and its options come from the ledger in LEDGER_DIR (several
    directories together hold one ledger). Requests of members are in the ledger; those of endpoints
    with "record_request" too; others are given with --request. The exit code is 0 if the request
    wrote what the ledger says.
    """
    from pyccf.appdev.replay import replay
    from pyccf.appdev.requests import parse_request

    done = replay(
        directories,
        seqno,
        secrets=_secrets(directories, seqno, enc_keys, ledger_secret),
        given=None if request is None else parse_request(read_bytes(request)),
        peer_cert=None if cert is None else _der(cert),
    )
    out.result(done.to_json())
    _tell(out, done)
    return 0 if done.equal else 1


def _secrets(
    directories: tuple[str, ...], seqno: int, enc_keys: tuple[str, ...], file: str | None
) -> LedgerSecrets | None:
    if file is not None and enc_keys:
        raise LocalError("Give --ledger-secret or --enc-key, not both")
    if file is not None:
        from pyccf.appdev.past import parse_secrets

        return parse_secrets(read_bytes(file))
    if enc_keys:
        from pyccf.audit.secrets import recover

        return recover(directories, [read_text(path) for path in enc_keys])
    return None


def _der(file: str) -> bytes:
    from pyccf.crypto import certs

    try:
        return certs.pem_to_der(read_text(file))
    except ValueError as error:
        raise LocalError(f"{Path(file).name} is no certificate in PEM: {error}") from None


def _tell(out: Output, done: Replayed) -> None:
    out.line(f"{done.txid}  {done.request}")
    for step in done.steps:
        out.line(f"  {step.to_text()}")
    out.line(f"Answer: {done.answer.status}  {done.answer.body.decode('utf-8', 'replace')}")
    if not done.private_compared:
        out.line(
            "Private tables were sealed: they were empty here and are not compared. Give --enc-key"
            " or --ledger-secret."
        )
    if done.equal:
        out.line("The request wrote what the ledger says.")
        return
    if done.only_made_anew:
        out.line(
            "The request wrote what the ledger says, but for what a node makes anew each time:"
        )
    else:
        out.line("The request did not write what the ledger says:")
    for one in done.differences:
        _tell_difference(out, one)
    if not done.claims_equal:
        out.line("  the claims digest is another one")


def _tell_difference(out: Output, one: Difference) -> None:
    shown = one.to_json()
    out.line(f"  {one.table} {shown['key']}")
    for side in ("ledger", "replay"):
        value = shown.get(side, NOT_WRITTEN)
        out.line(f"    {side}: {REMOVED if value is None else value}")
