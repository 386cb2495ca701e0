"""`pyccf recover inspect`: what a heap of ledger and snapshot files is worth, and what to do."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import click
import msgspec

from pyccf.audit.collecting import collect
from pyccf.audit.heap import HeapReport, inspect
from pyccf.audit.pieces import FileReport
from pyccf.cli.options import json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.cli.reading import parse_json, read_text
from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.types import Json

TEMPLATE: dict[str, Json] = {
    "network": {
        "node_to_node_interface": {"bind_address": "127.0.0.1:0"},
        "rpc_interfaces": {"main": {"bind_address": "127.0.0.1:0"}},
    },
    "output_files": {"rpc_addresses_file": "rpc.json"},
}
"""What is filled in without a configuration to begin with."""
IDENTITY_FILE = "previous_service_identity.pem"


@click.command("inspect")
@click.argument("directories", metavar="DIR...", nargs=-1, required=True)
@click.option("--write", "config", metavar="FILE", help="Write a configuration that recovers it.")
@click.option("--base", metavar="FILE", help="For --write: take everything else from this one.")
@click.option(
    "--service-cert",
    metavar="FILE",
    help="Of several services, look for this one (any certificate it ever had, PEM).",
)
@json_option
def inspect_command(
    directories: tuple[str, ...],
    config: str | None,
    base: str | None,
    service_cert: str | None,
    out: Output,
) -> None:
    """Look at ledger and snapshot files from any number of hosts.

    Says of every file what it is worth, how far the ledger can be recovered and what is missing.
    No file is changed. With --write, the files of the best chain are copied beside FILE, so that a
    node started with it recovers as much as can be recovered.

    \b
        pyccf recover inspect host1/ledger host2/ledger host2/snapshots --write new/config.json
    """
    if base is not None and config is None:
        raise click.UsageError("--base belongs to --write.")
    known = None if service_cert is None else read_text(service_cert)
    found = inspect(directories, service_cert_pem=known)
    out.result(found)
    _show(found, out)
    if known is not None and certs.public_key(known).id not in found.services:
        raise LocalError(
            f"What can be recovered is of another service than {service_cert}",
            hint="Its files are not among these, or are damaged. Nothing was written.",
        )
    if config is not None:
        _write(found, Path(config), base, out)


def _show(found: HeapReport, out: Output) -> None:
    rows = [(_range(f), f.verdict.value, f.path, _why(f)) for f in found.files]
    out.table(("entries", "verdict", "file", "why"), rows, "There are no files.")
    if found.recoverable is None:
        out.line(
            "Nothing can be recovered: no chain of entries begins with entry 1, and no snapshot is"
            " sound."
        )
    else:
        out.fields(
            [
                ("recoverable", f"up to {found.recoverable}"),
                ("entries lost", f"{found.unsigned} that no signature covers which is left"),
                ("snapshot", found.snapshot or "none"),
                ("service", f"{certs.fingerprint(found.identity)} (SHA-256 of its certificate)"),
                ("recovered before", f"{found.recovery_count} time(s)"),
            ]
        )
    for gap in found.missing:
        out.line(f"Missing: entries {gap.first} to {gap.last}. Look for them on other hosts.")


def _range(one: FileReport) -> str:
    return "" if one.first is None else f"{one.first}-{one.last}"


def _why(one: FileReport) -> str:
    torn = f"its last {one.torn_bytes} bytes are no complete entry" if one.torn_bytes else ""
    return "; ".join(text for text in (one.reason, torn) if text)


def _write(found: HeapReport, config: Path, base: str | None, out: Output) -> None:
    if found.recoverable is None:
        raise LocalError("There is nothing to recover, so no configuration was written")
    folder = config.parent
    for path in (config, folder / IDENTITY_FILE, folder / "snapshots"):
        if path.exists():
            raise LocalError(
                f"{path} exists already",
                hint="Nothing is ever written over: name a file in a new folder for --write.",
            )
    value = dict(TEMPLATE) if base is None else parse_json(read_text(base), base)
    if not isinstance(value, dict):
        raise LocalError(f"{base} does not hold a JSON object")
    collect(found, folder / "ledger")
    try:
        _create(folder / IDENTITY_FILE, found.identity.encode())
        if found.snapshot is not None:
            (folder / "snapshots").mkdir()
            shutil.copyfile(found.snapshot, folder / "snapshots" / Path(found.snapshot).name)
        value |= _recovering(value)
        _create(config, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    except OSError as error:
        raise LocalError(f"Could not write {error.filename}: {error.strerror}") from None
    out.line(f"Written: {config}, and the files it needs beside it. Recover with:")
    out.line(f"  cd {shlex.quote(str(folder))}; " + pyccf_line("node", "--config", config.name))
    out.line(f"Compare {folder / IDENTITY_FILE} with the certificate you know the service by.")
    out.line("When the node runs, this says what is next (its address is in its log):")
    cert = str(folder / "service_cert.pem")
    line = pyccf_line("recover", "status", "--url", "https://ADDRESS", "--service-cert", cert)
    out.line(f"  {line}")


def _create(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


def _recovering(base: dict[str, Json]) -> dict[str, Json]:
    """The parts of a configuration by which a node recovers what was collected."""
    command, snapshots = base.get("command"), base.get("snapshots")
    recover: dict[str, Json] = {"previous_service_identity_file": IDENTITY_FILE}
    days = 90
    if isinstance(command, dict) and isinstance(command.get("start"), dict):
        start = command["start"]
        assert isinstance(start, dict)
        given = start.get("initial_service_certificate_validity_days")
        days = given if isinstance(given, int) else days
    recover["initial_service_certificate_validity_days"] = days
    ledger = base.get("ledger")
    return {
        "command": {
            "type": "Recover",
            "service_certificate_file": "service_cert.pem",
            "recover": recover,
        },
        "ledger": {
            **(ledger if isinstance(ledger, dict) else {}),
            "directory": "ledger",
            "read_only_directories": [],
        },
        "snapshots": {
            **(
                {k: v for k, v in snapshots.items() if k != "read_only_directory"}
                if isinstance(snapshots, dict)
                else {}
            ),
            "directory": "snapshots",
        },
    }
