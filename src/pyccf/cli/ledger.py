"""`pyccf ledger`: list, show and verify a ledger on disk. Asks no node."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from pyccf.audit import verify as audit
from pyccf.audit.auditor import Identity
from pyccf.audit.files import find_chunks
from pyccf.cli.options import json_option
from pyccf.cli.output import Output
from pyccf.errors import InvalidLedger, LocalError
from pyccf.types import TxID


@click.group("ledger")
def command() -> None:
    """Read and verify a ledger on disk."""


@command.command("list")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@json_option
def list_(directories: tuple[str, ...], out: Output) -> None:
    """List the files of the ledger in DIR (several directories together hold one ledger)."""
    found = find_chunks(directories)
    rows = [
        {
            "file": one.path.name,
            "directory": str(one.path.parent),
            "first": one.name.first,
            "last": one.name.last,
            "committed": one.name.committed,
            "bytes": one.path.stat().st_size,
        }
        for one in found.chunks
    ]
    out.result({"files": rows, "left_out": found.left_out})
    table = [
        (
            str(row["file"]),
            str(row["first"]),
            "open" if row["last"] is None else str(row["last"]),
            "committed" if row["committed"] else "not committed",
            f"{row['bytes']:,}",
        )
        for row in rows
    ]
    out.table(("file", "first", "last", "state", "bytes"), table, "There are no ledger files.")
    for name in found.left_out:
        out.line(f"Left out: {name}")


@command.command("verify")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--service-cert",
    "--cacert",
    metavar="FILE",
    help="Also demand that the ledger is of the service with this certificate.",
)
@json_option
def verify(directories: tuple[str, ...], service_cert: str | None, out: Output) -> None:
    """Verify the ledger in DIR from its first entry to its last.

    Checks the Merkle tree, every signature, the chain of service identities and the layout of the
    files. The exit code is 0 only if all of it holds; otherwise the first bad entry is named.
    """
    pem = None if service_cert is None else _pem(service_cert)
    with _progress(out) as report_progress:
        report = audit.verify(directories, progress=report_progress, service_cert_pem=pem)
    out.result(
        {
            **msgspec.to_builtins(report),
            "last_valid": _text(report.last_valid),
            "last": _text(report.last),
        }
    )
    if report.error is not None:
        error = report.error
        where = f" in {error.file}" if error.file else ""
        proven = "nothing" if report.last_valid is None else f"all up to {report.last_valid}"
        raise InvalidLedger(
            f"Entry {error.seqno}{where} is bad: {error.reason}",
            seqno=error.seqno,
            file=error.file,
            hint=f"Proven by signatures: {proven}.",
        )
    _tell(out, report)


def _tell(out: Output, report: audit.VerifyReport) -> None:
    out.line("The ledger is valid.")
    out.fields(
        [
            ("entries", f"{report.entries:,} in {report.files} file(s), {report.bytes:,} bytes"),
            ("signatures", f"{report.signatures:,} ({report.cose_signatures:,} with COSE)"),
            ("proven up to", str(report.last_valid)),
            ("services", ", ".join(_since(one) for one in report.identities)),
        ]
    )
    if report.unsigned:
        out.line(f"The last {report.unsigned} entries are not covered by a signature yet.")
    if report.torn_bytes:
        out.line(f"At the end {report.torn_bytes} bytes of an unfinished entry were passed over.")
    for name in report.left_out:
        out.line(f"Left out: {name}")
    for note in report.notes:
        out.line(f"Note: {note}")


def _text(txid: TxID | None) -> str | None:
    return None if txid is None else str(txid)


def _since(identity: Identity) -> str:
    return f"{identity.key_id[:16]}… since {identity.since}"


@contextmanager
def _progress(out: Output) -> Iterator[audit.ProgressCallback | None]:
    """A progress bar on standard error, if a person is there to see it."""
    if out.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("Verifying"), BarColumn(), TextColumn("{task.fields[seqno]:>10,}"))
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task("verify", total=None, seqno=0)

        def report(progress: audit.Progress) -> None:
            bar.update(
                task,
                completed=progress.bytes_done,
                total=progress.bytes_total,
                seqno=progress.seqno,
            )

        yield report


def _pem(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"Could not read the certificate {path}: {error}") from error
