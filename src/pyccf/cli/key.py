"""`pyccf key`: make keys and certificates."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pyccf.cli.keys import VALIDITY_DAYS, make_identity
from pyccf.cli.options import json_option
from pyccf.cli.output import Output
from pyccf.crypto.keys import Curve
from pyccf.shell.hardware import SystemEntropy

CURVES = {"p384": Curve.P384, "p256": Curve.P256, "p521": Curve.P521}
DAYS_MAX = 36_500


@click.group("key")
def command() -> None:
    """Make keys and certificates."""


@command.command("new")
@click.argument("name")
@click.option("--out", "folder", default=".", help="Folder to write to (default: this one).")
@click.option(
    "--curve",
    type=click.Choice(list(CURVES), case_sensitive=False),
    default="p384",
    show_default=True,
    help="Curve of the signing key.",
)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    default=VALIDITY_DAYS,
    show_default=True,
    help="Validity of the certificate.",
)
@click.option(
    "--member", is_flag=True, help="Also make an encryption key, to take part in recovery."
)
@json_option
def new(name: str, folder: str, curve: str, days: int, member: bool, out: Output) -> None:
    """Make a key pair and certificate: NAME_cert.pem and NAME_privk.pem.

    Files that exist are never replaced.
    """
    files = make_identity(
        Path(folder),
        name,
        entropy=SystemEntropy(),
        now=int(time.time()),
        curve=CURVES[curve.lower()],
        days=days,
        encryption=member,
    )
    out.result(files)
    rows = [("id", files.id), ("certificate", files.cert), ("private key", files.key)]
    if files.enc_key is not None and files.enc_pub_key is not None:
        rows += [("encryption key", files.enc_key), ("its public part", files.enc_pub_key)]
    out.fields(rows)
