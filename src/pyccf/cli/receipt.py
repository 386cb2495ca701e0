"""`pyccf receipt`: fetch receipts from a service, and verify them without one."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output
from pyccf.client.node_api import WAIT_S
from pyccf.codec.text import load_json
from pyccf.crypto import certs
from pyccf.errors import InvalidReceipt, LocalError
from pyccf.ledger.receipt import Proven, verify_cose_receipt, verify_json_receipt
from pyccf.types import TxID

COSE_SIGN1_TAG = 0xD2
"""First byte of a tagged COSE_Sign1, by which the two kinds of receipt are told apart."""
CLAIMS_BYTES = 32


@click.group("receipt")
def command() -> None:
    """Fetch and verify receipts."""


@command.command("get")
@click.argument("transaction_id")
@click.option("--output", "-o", metavar="FILE", help="Write the receipt here.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=WAIT_S,
    show_default=True,
    help="Seconds to wait for commit and for the receipt.",
)
@connection_options()
@json_option
def get(
    transaction_id: str, output: str | None, timeout: float, target: Target, out: Output
) -> None:
    """Fetch the receipt of a committed transaction (VIEW.SEQNO)."""
    txid = TxID.parse(transaction_id)
    if txid is None:
        raise LocalError(
            f"{transaction_id!r} is not a transaction id",
            hint="It looks like 2.17; answers carry it in the header x-ms-ccf-transaction-id.",
        )
    with target.connect() as client:
        receipt = client.receipt(txid, timeout)
    out.result(receipt)
    text = msgspec.json.format(msgspec.json.encode(receipt).decode(), indent=2)
    if output is None:
        out.line(text)
        return
    try:
        Path(output).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise LocalError(f"Could not write {output}: {error.strerror}") from error
    out.line(f"Receipt of {txid} written to {output}")


@command.command("verify")
@click.argument("file")
@click.option(
    "--service-cert",
    "--cacert",
    required=True,
    envvar="PYCCF_SERVICE_CERT",
    help="Certificate of the service (PEM file).",
)
@click.option("--claims", metavar="HEX", help="Claims digest the receipt must hold.")
@json_option
def verify(file: str, service_cert: str, claims: str | None, out: Output) -> None:
    """Verify a JSON or COSE receipt in FILE ("-" for standard input); asks no service."""
    expected = None if claims is None else _claims(claims)
    data, pem = _read(file), _read(service_cert)
    try:
        key = certs.public_key(pem)
    except ValueError as error:
        raise LocalError(f"{service_cert} is not a PEM certificate: {error}") from error
    if data[:1] == bytes([COSE_SIGN1_TAG]):
        proven = verify_cose_receipt(data, key, claims=expected)
    else:
        try:
            receipt = load_json(data)
        except ValueError as error:
            raise InvalidReceipt(f"{file} is neither a COSE receipt nor JSON") from error
        if not isinstance(receipt, dict):
            raise InvalidReceipt(f"{file} does not hold a receipt")
        proven = verify_json_receipt(receipt, pem.decode(errors="replace"), claims=expected)
    _tell(out, proven)


def _tell(out: Output, proven: Proven) -> None:
    txid = None if proven.txid is None else str(proven.txid)
    claims = None if proven.claims is None else proven.claims.hex()
    out.result(
        {
            "valid": True,
            "transaction_id": txid,
            "node_id": proven.node or None,
            "root": proven.root.hex(),
            "leaf": proven.leaf.hex(),
            "claims_digest": claims,
        }
    )
    out.line("The receipt is valid: this transaction is in the ledger of the service.")
    rows = [("transaction", txid or "not named (a signature)"), ("root", proven.root.hex())]
    if proven.node:
        rows.append(("signed by node", proven.node))
    if proven.claims is not None and any(proven.claims):
        rows.append(("claims digest", proven.claims.hex()))
    out.fields(rows)


def _claims(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != CLAIMS_BYTES:
        raise LocalError("--claims is not 64 hex digits", hint="It is a SHA-256 digest.")
    return value


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise LocalError(f"Could not read {file}: {error.strerror}") from error
