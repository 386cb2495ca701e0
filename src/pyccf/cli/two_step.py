"""`pyccf proposal prepare` and `finish`: signing with a key that stays in an HSM or a key vault.

Everything that members sign can be signed so: proposals, ballots, withdrawals, acknowledgements,
recovery shares (`client.two_step` has the rules). The file of the first step is all that the second
needs, beside the signature; without it, the same flags as for the first step do, so that a digest
made by the original's `ccf_cose_sign1_prepare` can be finished here.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable

import click

from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.cli.reading import read_bytes, read_text, write_bytes
from pyccf.cli.scripts import read_ballot
from pyccf.client.gov_api import API_VERSION, BALLOT_AGAINST, BALLOT_FOR
from pyccf.client.signing import COSE_TYPE, MessageType
from pyccf.client.two_step import Prepared, finish, prepare, read_prepared
from pyccf.codec.text import dump_json
from pyccf.errors import LocalError
from pyccf.types import Json, UnixSeconds

TIME_HELP = "Unix seconds, or ISO 8601 in local time unless it has an offset"

NO_CONTENT = frozenset({MessageType.WITHDRAWAL, MessageType.STATE_DIGEST})
"""Messages that may have no payload, and usually have none."""

_TYPES = click.Choice([message.value for message in MessageType])


@click.command("prepare")
@click.argument("file", required=False)
@click.option(
    "--type", "kind", type=_TYPES, default="proposal", show_default=True, help="What is signed."
)
@click.option("--content", metavar="FILE", help='Same as FILE ("-" for standard input).')
@click.option("--for", "choice", flag_value="for", help="For a ballot: vote for.")
@click.option("--against", "choice", flag_value="against", help="For a ballot: vote against.")
@click.option("--ballot", metavar="FILE", help="For a ballot: module that exports vote().")
@click.option("--state-digest", metavar="HEX", help="For an ack: the digest to acknowledge.")
@click.option("--share", metavar="FILE", help="For a recovery_share: the open share in base64.")
@click.option("--proposal-id", metavar="ID", help="For a ballot or a withdrawal.")
@click.option("--created-at", metavar="TIME", help=f"{TIME_HELP} (default: now).")
@click.option("--cert", required=True, envvar="PYCCF_CERT", help="Your certificate (PEM file).")
@click.option("--out", metavar="FILE", default="-", help="Where to write (default: print it).")
def prepare_command(
    file: str | None,
    kind: str,
    content: str | None,
    proposal_id: str | None,
    created_at: str | None,
    cert: str,
    out: str,
    **told: str | None,
) -> None:
    """First step of signing elsewhere: write what an HSM or a key vault must sign.

    FILE is the payload, e.g. of `pyccf proposal new --out FILE ...`. The result holds the algorithm
    (`alg`) and the digest (`value`, base64). Sign the digest as it is, for instance:

    \b
        az keyvault key sign --id KEY --algorithm ES384 \\
          --digest "$(jq -r .value prepared.json)" > signature.json
        pyccf proposal finish prepared.json signature.json --submit
    """
    message = MessageType(kind)
    if file is not None and content is not None:
        raise click.UsageError("Give either FILE or --content.")
    payload = _payload(message, file or content, told)
    when = int(time.time()) if created_at is None else moment(created_at)
    made = prepare(read_text(cert), message, payload, when, proposal_id)
    write_bytes(out, made.encode())
    if out != "-":
        line = pyccf_line("proposal", "finish", out, "SIGNATURE", "--submit")
        click.echo(f"Wrote {out}. Have its `value` signed ({made.alg}), then: {line}", err=True)


@click.command("finish")
@click.argument("files", metavar="[PREPARED] SIGNATURE", nargs=-1)
@click.option("--type", "kind", type=_TYPES, help="What was signed; only without PREPARED.")
@click.option("--content", metavar="FILE", help="Likewise: the payload (default: none).")
@click.option("--proposal-id", metavar="ID", help="Likewise: for a ballot or a withdrawal.")
@click.option(
    "--created-at", metavar="TIME", help=f"Likewise: {TIME_HELP[0].lower()}{TIME_HELP[1:]}."
)
@click.option("--cert", "certificate", metavar="FILE", help="Likewise: your certificate.")
@click.option("--signature", metavar="FILE", help="Same as SIGNATURE.")
@click.option("--out", "file", metavar="FILE", help="Where to write the request.")
@click.option("--submit", is_flag=True, help="Send it to the service, and write nothing.")
@connection_options(find=False, identity=False)
@json_option
def finish_command(
    files: tuple[str, ...],
    kind: str | None,
    content: str | None,
    proposal_id: str | None,
    created_at: str | None,
    certificate: str | None,
    signature: str | None,
    file: str | None,
    submit: bool,
    find: Callable[[], Target],
    out: Output,
) -> None:
    """Second step of signing elsewhere: PREPARED and its SIGNATURE make the request.

    SIGNATURE is a file with the vault's answer: JSON with the signature as `value`, `signature` or
    `result`, or the signature itself, in base64, raw or in DER. The request is a COSE message: send
    it with --submit, or write it with --out and send it as application/cose.
    """
    if signature is not None:
        files = (*files, signature)
    if not 1 <= len(files) <= 2:
        raise click.UsageError("Give PREPARED and SIGNATURE, or SIGNATURE and --type.")
    if submit == (file is not None):
        raise click.UsageError("Give either --submit, or --out FILE (- for standard output).")
    told = (kind, content, proposal_id, created_at, certificate)
    if len(files) == 2:
        if any(value is not None for value in told):
            raise click.UsageError("With PREPARED there is nothing more to say about the message.")
        prepared = read_prepared(read_bytes(files[0]))
    else:
        prepared = _again(kind, content, proposal_id, created_at, certificate)
    body = finish(prepared, read_bytes(files[-1]))
    if file is not None:
        write_bytes(file, body)
        if file != "-":
            told_path = f"{prepared.path()}?api-version={API_VERSION}"
            click.echo(f"Wrote {file}. POST it to {told_path} as {COSE_TYPE}.", err=True)
        return
    with find().connect() as client:
        reply = client.send_signed(prepared.path(), body).check()
    answer = reply.json()
    out.result(answer)
    if isinstance(answer, dict):
        out.fields([(name, _shown(value)) for name, value in answer.items()])
    else:
        out.line(f"The {prepared.type.value} was accepted.")


def _again(
    kind: str | None,
    content: str | None,
    proposal_id: str | None,
    created_at: str | None,
    cert: str | None,
) -> Prepared:
    """The message that was prepared elsewhere, from the same flags."""
    if kind is None or created_at is None or cert is None:
        raise click.UsageError(
            "Without PREPARED, --type, --created-at and --cert must be as they were in the first"
            " step, and --content if there was one."
        )
    payload = b"" if content is None else read_bytes(content)
    message = MessageType(kind)
    return prepare(read_text(cert), message, payload, moment(created_at), proposal_id)


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else dump_json(value).decode()


_FLAGS = {
    "choice": ("--for or --against", MessageType.BALLOT),
    "ballot": ("--ballot", MessageType.BALLOT),
    "state_digest": ("--state-digest", MessageType.ACK),
    "share": ("--share", MessageType.RECOVERY_SHARE),
}
"""Flags that tell the payload in other words, and the messages they are for."""


def _payload(message: MessageType, file: str | None, told: dict[str, str | None]) -> bytes:
    """What is signed, from the one flag that tells it; it must fit the kind of message."""
    given = {name: value for name, value in told.items() if value is not None}
    names = [_FLAGS[name][0] for name in given] + ([] if file is None else ["FILE"])
    if len(names) > 1:
        raise click.UsageError(f"Give only one of {' and '.join(names)}.")
    for name, value in given.items():
        flag, wanted = _FLAGS[name]
        if message is not wanted:
            raise click.UsageError(f"{flag} belongs to --type {wanted.value}.")
        return dump_json(_words(name, value))
    if file is not None:
        return read_bytes(file)
    if message in NO_CONTENT:
        return b""
    raise click.UsageError(f"Say what the {message.value} holds, e.g. by FILE.")


def _words(name: str, value: str) -> dict[str, Json]:
    if name == "choice":
        return {"ballot": BALLOT_FOR if value == "for" else BALLOT_AGAINST}
    if name == "ballot":
        return {"ballot": read_ballot(value)}
    if name == "state_digest":
        return {"stateDigest": value}
    return {"share": read_text(value).strip()}


def moment(text: str) -> UnixSeconds:
    """A time given as Unix seconds or in ISO 8601. Raises LocalError."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return int(datetime.datetime.fromisoformat(text).timestamp())
    except ValueError as error:
        raise LocalError(
            f"{text} is neither Unix seconds nor a time in ISO 8601",
            hint="For instance 2026-11-21T16:10:00 or 1795277400.",
        ) from error
