"""`pyccf call`: one request to a service, as a user or member."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import msgspec

from pyccf.cli.main import EXIT_FAILED
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output
from pyccf.client import Reply, UnexpectedAnswer
from pyccf.client.connection import Wait
from pyccf.client.signing import COSE_TYPE, sign_user
from pyccf.errors import LocalError


@click.command("call")
@click.argument("path")
@click.option("-X", "--method", help="HTTP method (default GET, or POST with --data).")
@click.option("-d", "--data", help='Body: text, "@FILE", or "-" for standard input.')
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header.")
@click.option(
    "--wait",
    type=click.Choice(["commit", "receipt"]),
    help="Have the service answer once committed, or with the receipt besides.",
)
@click.option(
    "--timeout-ms",
    type=click.IntRange(min=1),
    help="How long the service shall wait with --wait.",
)
@click.option("--sign", is_flag=True, help="Send the body signed by you (COSE).")
@click.option("-i", "--include", is_flag=True, help="Show the headers of the answer.")
@connection_options("user0")
@json_option
def command(
    path: str,
    method: str | None,
    data: str | None,
    headers: tuple[str, ...],
    wait: Wait | None,
    timeout_ms: int | None,
    sign: bool,
    include: bool,
    target: Target,
    out: Output,
) -> int:
    """Send one request to PATH, e.g. /app/log/private?id=42.

    Prints the body of the answer; the exit code is 0 only for a status below 400.
    """
    sent = dict(_header(text) for text in headers)
    body = None if data is None else _body(data)
    verb = (method or ("GET" if body is None and not sign else "POST")).upper()
    if not (verb.isascii() and verb.replace("-", "").isalpha()):
        raise click.UsageError(f"{method!r} is not an HTTP method.")
    with target.connect() as client:
        if sign:
            if client.identity is None:
                raise LocalError("--sign needs --cert and --key")
            body = sign_user(client.identity, body or b"", int(time.time()))
            sent.setdefault("content-type", COSE_TYPE)
        elif body is not None:
            sent.setdefault("content-type", "application/json")
        reply = client.request(
            verb, path, content=body, headers=sent, wait=wait, wait_timeout_ms=timeout_ms
        )
    receipt = reply.receipt
    txid = None if reply.txid is None else str(reply.txid)
    out.result(
        {
            "status": reply.status,
            "transaction_id": txid,
            "headers": dict(reply.headers),
            "body": _shown(reply),
            "receipt": receipt,
        }
    )
    if include:
        out.line(f"HTTP {reply.status}")
        for name, value in reply.headers.items():
            out.line(f"{name}: {value}")
        out.line()
    if reply.body:
        out.body(reply.body)
    if receipt is not None and not include:
        out.line(msgspec.json.format(msgspec.json.encode(receipt).decode(), indent=2))
    if not out.as_json:
        told = f"status {reply.status}" + (f", transaction {txid}" if txid else "")
        print(told, file=sys.stderr)
    return EXIT_FAILED if reply.status >= 400 else 0


def _shown(reply: Reply) -> object:
    """The body as JSON if it is JSON, else as text."""
    if "json" not in reply.headers.get("content-type", ""):
        return reply.text() if reply.body else None
    try:
        return reply.json()
    except UnexpectedAnswer:
        return reply.text()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.UsageError(f"{text!r} is not a header of the form NAME:VALUE.")
    return name.strip().lower(), value.strip()


def _body(data: str) -> bytes:
    try:
        if data == "-":
            return sys.stdin.buffer.read()
        if data.startswith("@"):
            return Path(data[1:]).read_bytes()
    except OSError as error:
        raise LocalError(f"Could not read {data[1:]}: {error.strerror}") from error
    return data.encode("utf-8", "surrogateescape")
