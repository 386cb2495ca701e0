"""`pyccf ledger`: list, show and verify a ledger on disk. Asks no node."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import msgspec

from pyccf.audit import fork, read
from pyccf.audit import verify as audit
from pyccf.audit.auditor import Identity
from pyccf.audit.files import find_chunks
from pyccf.audit.secrets import recover
from pyccf.audit.snapshots import SnapshotAudit
from pyccf.cli.options import json_option
from pyccf.cli.output import Output, word
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.types import TxID

if TYPE_CHECKING:
    from pyccf.review.history import Review, Summary

F = TypeVar("F", bound=Callable[..., object])


@click.group("ledger")
def command() -> None:
    """Read and verify a ledger on disk."""


def _enc_keys_option(function: F) -> F:
    return click.option(
        "--enc-key",
        "enc_keys",
        multiple=True,
        metavar="FILE",
        help="Private encryption key of a member (PEM); with enough of them private tables open.",
    )(function)


@command.command("list")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--files", is_flag=True, help="List the files instead of the entries.")
@click.option("--first", type=click.IntRange(1), default=1, help="Begin with this seqno.")
@click.option("--last", type=click.IntRange(1), help="End with this seqno.")
@json_option
def list_(
    directories: tuple[str, ...], files: bool, first: int, last: int | None, out: Output
) -> None:
    """List the entries of the ledger in DIR (several directories together hold one ledger)."""
    if files:
        _list_files(directories, out)
        return
    summaries = read.entries(directories, first, last)
    if out.as_json:
        out.result_list("entries", map(msgspec.to_builtins, summaries))
        return
    for one in summaries:
        maps = [f"{word(name)} ({_touched(touched)})" for name, touched in one.maps.items()]
        if one.private_size:
            maps.append(f"private ({one.private_size:,} bytes)")
        mark = "  signature" if one.is_signature else ""
        out.line(f"{one.view}.{one.seqno}  {one.size:,} bytes{mark}")
        for text in maps:
            out.line(f"    {text}")


def _touched(touched: read.Touched) -> str:
    parts = []
    if touched.writes:
        parts.append(f"{touched.writes} written")
    if touched.removes:
        parts.append(f"{touched.removes} removed")
    return ", ".join(parts)


def _list_files(directories: tuple[str, ...], out: Output) -> None:
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
        out.line(f"Left out: {word(name)}")


@command.command("show")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.argument("seqno", type=click.IntRange(1))
@_enc_keys_option
@json_option
def show(directories: tuple[str, ...], seqno: int, enc_keys: tuple[str, ...], out: Output) -> None:
    """Show the entry SEQNO of the ledger in DIR, with what it wrote to each table."""
    entry = read.show(directories, seqno, secrets=_secrets(directories, enc_keys)).readable()
    out.result(entry)
    out.line(msgspec.json.format(msgspec.json.encode(entry).decode(), indent=2))


@command.command("verify")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option(
    "--service-cert",
    "--cacert",
    metavar="FILE",
    help="Also demand that the ledger is of the service with this certificate.",
)
@click.option("--no-governance", is_flag=True, help="Do not judge proposals and ballots again.")
@click.option(
    "--snapshots",
    multiple=True,
    metavar="DIR",
    help="Also judge the snapshots in this folder; a ledger may begin after one.",
)
@_enc_keys_option
@json_option
def verify(
    directories: tuple[str, ...],
    service_cert: str | None,
    no_governance: bool,
    snapshots: tuple[str, ...],
    enc_keys: tuple[str, ...],
    out: Output,
) -> None:
    """Verify the ledger in DIR from its first entry to its last.

    Checks the Merkle tree, every signature, the chain of service identities and the layout of the
    files. Then the governance: every proposal and ballot is judged again under the constitution of
    its time, the evidence of every node that was let in by what members trusted then, and no
    governance table may change without a proposal. The exit code is 0 only if all of it
    holds; otherwise the first bad entry is named.

    A node that began with a snapshot may lack entries before that. Give its snapshots: then entries
    are checked from there on, but no governance, which is judged from the first entry on.
    """
    pem = None if service_cert is None else _pem(service_cert)
    taken = SnapshotAudit(snapshots)
    chunks = find_chunks(directories).chunks
    beginning = taken.beginning(chunks)
    begin = 0 if beginning is None else beginning.auditor.entries
    if beginning is not None and enc_keys:
        raise LocalError(
            "The ledger lacks entries, so that its secrets cannot be found",
            hint="Leave out --enc-key.",
        )
    secrets = _secrets(directories, enc_keys)
    review = None if no_governance or beginning is not None else _review()
    feeds = [taken.feed] if snapshots else []
    if review is not None:
        feeds.append(review.feed)

    def observe(entry: ParsedEntry) -> None:
        for feed in feeds:
            feed(entry)

    with _progress(out) as report_progress:
        report = audit.verify(
            directories,
            progress=report_progress,
            service_cert_pem=pem,
            secrets=secrets,
            observer=observe,
            beginning=None if beginning is None else beginning.auditor,
        )
    found = taken.judge(report.identities, begin)
    judged = None if review is None else review.summary()
    out.result(
        {
            **msgspec.to_builtins(report),
            "last_valid": _text(report.last_valid),
            "last": _text(report.last),
            "begins_after": begin,
            "governance": judged,
            "snapshots": found,
        }
    )
    if report.error is not None:
        error = report.error
        where = f" in {error.file}" if error.file else ""
        proven = "nothing" if report.last_valid is None else f"all up to {report.last_valid}"
        if not snapshots and error.reason.startswith(audit.MISSING):
            proven += ". If the ledger goes on after a snapshot, give --snapshots"
        raise InvalidLedger(
            f"Entry {error.seqno}{where} is bad: {error.reason}",
            seqno=error.seqno,
            file=error.file,
            hint=f"Proven by signatures: {proven}.",
        )
    if judged is not None and not judged.ok:
        _tell_findings(out, judged)
        first = judged.findings[0]
        what = "does not follow from the constitution of its time"
        if first.what == "evidence":
            what = f"lets node {first.subject} in, whose evidence members did not trust then"
        raise InvalidLedger(
            f"Entry {first.seqno} {what}: {first.reason}",
            seqno=first.seqno,
            hint="Hashes and signatures hold: the nodes themselves wrote this.",
        )
    for one in found:
        out.line(f"Snapshot {word(one.file)}: {word(one.reason) or 'recorded by the service'}")
    bad = [one for one in found if not one.ok and one.seqno is not None]
    if bad:
        raise InvalidLedger(
            f"{bad[0].file} is not a snapshot of this service: {bad[0].reason}",
            file=bad[0].file,
            hint="The ledger itself holds. Take the file away; a node would not start from it.",
        )
    _tell(out, report)
    if begin:
        out.line(f"It begins after the snapshot at {begin}: governance was not judged.")
        if chunks[0].name.first <= begin:
            out.line(
                f"What is there of the time before was not looked at. Copy its files, from"
                f" {chunks[0].path.name} on, to a folder of their own, and verify that."
            )
    if judged is not None:
        _tell_findings(out, judged)


def _review() -> Review:
    """Imported here: it brings the JavaScript engine, which listing and showing do not need."""
    from pyccf.review.history import Review

    return Review()


def _tell_findings(out: Output, judged: Summary) -> None:
    out.line(
        f"Governance: {judged.judged} signed requests judged again, and the evidence of"
        f" {judged.evidence_judged} node(s)."
    )
    for finding in judged.findings:
        told = word(f"{finding.what} {finding.subject}: {finding.reason}")
        out.line(f"  {finding.seqno}  {told}")
    if judged.findings_count > len(judged.findings):
        out.line(f"  … and {judged.findings_count - len(judged.findings)} more")
    of = Counter((one.what == "evidence", one.reason) for one in judged.not_judged)
    for (is_evidence, reason), count in of.items():
        out.line(f"  Not judged, {count} {'node' if is_evidence else 'request'}(s): {reason}")


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
        out.line(f"Left out: {word(name)}")
    for note in report.notes:
        out.line(f"Note: {word(note)}")


@command.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@json_option
def diff(a: str, b: str, out: Output) -> None:
    """Show where the ledgers in folders A and B part.

    Exit code 0: one is the beginning of the other, or they are the same. 1: they differ; what each
    says there, which signature covers it, and which nodes signed both, is shown.
    """
    report = fork.compare(a, b)
    out.result(report)
    if report.first > 1:
        out.line(f"Entries before {report.first:,} are not in both, and were not compared.")
    if report.same:
        out.line(f"Both hold the same {report.common - report.first + 1:,} entries.")
    elif report.prefix:
        other = "B" if report.prefix == "A" else "A"
        out.line(
            f"{report.prefix} is the beginning of {other}: equal up to entry {report.common:,}."
        )
    else:
        _tell_fork(report, out)
        click.get_current_context().exit(1)


def _tell_fork(report: fork.ForkReport, out: Output) -> None:
    if report.first > 1 and report.seqno == report.first:
        out.line(f"They part at entry {report.seqno} or before.")
    else:
        out.line(f"Equal up to entry {report.common:,}; they part at entry {report.seqno}.")
    for name, side in (("A", report.a), ("B", report.b)):
        assert side is not None, "a fork has two sides"
        out.line()
        state = "committed" if side.committed_file else "not committed"
        out.line(f"{name}: {side.txid}, {side.size:,} bytes, in {word(side.file)} ({state})")
        for table, rows in side.public.items():
            keys = ", ".join(map(word, rows)) if isinstance(rows, dict) else ""
            out.line(f"    {word(table)}: {keys}")
        if side.private_size:
            out.line(f"    private ({side.private_size:,} bytes)")
        signed = side.covered_by
        if signed is None:
            out.line("    no signature covers it")
            continue
        out.line(f"    covered by {signed.txid}, signed by node {word(signed.node)}")
        out.line(f"    root {signed.root}")
        out.line(
            f"    which does not hold: {word(side.fault)}" if side.fault else "    which holds"
        )
    out.line()
    for double in report.double_signed:
        out.line(
            f"Node {word(double.node)} signed both: two roots at {double.first.txid}. That is a"
            " proof against it."
        )
    if report.both_committed and not report.double_signed:
        out.line("Both sides are called committed. Both cannot be: one of the hosts is wrong.")
    elif not report.double_signed:
        out.line("What is not committed may be rolled back; this alone accuses nobody.")


@command.command("export")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.argument("target", metavar="OUT")
@click.option("--to", "to", type=click.Choice(["duckdb", "parquet"]), required=True)
@click.option("--first", type=click.IntRange(1), default=1, help="Begin with this seqno.")
@click.option("--last", type=click.IntRange(1), help="End with this seqno.")
@_enc_keys_option
@json_option
def export(
    directories: tuple[str, ...],
    target: str,
    to: str,
    first: int,
    last: int | None,
    enc_keys: tuple[str, ...],
    out: Output,
) -> None:
    """Write the ledger in DIR as tables to OUT: a DuckDB file, or a folder of Parquet files.

    Tables: entries, writes, signatures, governance; in DuckDB also views: state, members, users,
    nodes, proposals. Private maps only with --enc-key. Needs: pip install 'pyccf[export]'.
    """
    from pyccf.audit import export as exporting

    report = exporting.export(
        directories,
        target,
        exporting.Format(to),
        secrets=_secrets(directories, enc_keys),
        first=first,
        last=last,
    )
    out.result(report)
    out.line(f"Wrote {report.target}, up to entry {report.last:,}:")
    out.fields([(table, f"{count:,} rows") for table, count in report.rows.items()])
    if not report.private:
        out.line("Private maps are not in it: they need --enc-key.")


@command.command("explore")
@click.argument("directories", nargs=-1, required=True, metavar="DIR...")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free one.")
@click.option("--open", "open_browser", is_flag=True, help="Open it in the browser.")
@_enc_keys_option
@json_option
def explore(
    directories: tuple[str, ...],
    port: int,
    open_browser: bool,
    enc_keys: tuple[str, ...],
    out: Output,
) -> None:
    """Look at the ledger in DIR in the browser, on this machine only. Ctrl-C ends it.

    Transactions, maps, governance, members and nodes, and the Merkle proof of each entry as a
    picture. The whole ledger is verified meanwhile.
    """
    import signal
    import webbrowser

    from pyccf.web.server import Explorer

    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with Explorer(directories, port=port, secrets=_secrets(directories, enc_keys)) as explorer:
        out.result({"url": explorer.url})
        out.line(f"Explore the ledger at {explorer.url}   (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(explorer.url)
        signal.sigwait(ends)


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


def _secrets(directories: tuple[str, ...], enc_keys: tuple[str, ...]) -> LedgerSecrets | None:
    """The ledger's secrets, rebuilt from recovery shares, if keys were given."""
    if not enc_keys:
        return None
    return recover(directories, [_pem(path) for path in enc_keys])


def _pem(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"Could not read the PEM file {path}: {error}") from error
