"""`pyccf sandbox`: a service on this machine, opened and ready, until Ctrl-C.

With several nodes it goes on without those that end, and says so, as long as the rest is a
majority; see `cli.local_service`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import click

import pyccf
from pyccf.cli.bundle import runnable_app
from pyccf.cli.examples import Example, curl, examples, node_line, python_line
from pyccf.cli.local_config import MAX_BODY_SIZE
from pyccf.cli.local_service import Cancelled, LocalService, Plan
from pyccf.cli.options import WORKSPACE, SandboxInfo, json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.cli.reading import parse_json, read_text
from pyccf.cli.scripts import sandbox_constitution
from pyccf.client import Client
from pyccf.errors import LocalError
from pyccf.types import Json

NODES_MAX = 9
"""More nodes than this would only be in each other's way on one machine."""
PARTIES_MAX = 100
PORT_MAX = 65535
CHECK_S = 0.2
"""How often the nodes are looked after while the sandbox stands."""


@click.command("sandbox")
@click.argument("app_dir", required=False)
@click.option(
    "--nodes",
    type=click.IntRange(1, NODES_MAX),
    default=1,
    show_default=True,
    help="Nodes of the service; with 3 it survives the loss of any one.",
)
@click.option(
    "--members",
    "--initial-member-count",
    type=click.IntRange(1, PARTIES_MAX),
    default=1,
    show_default=True,
    help="Members of the consortium.",
)
@click.option(
    "--users",
    "--initial-user-count",
    type=click.IntRange(1, PARTIES_MAX),
    default=1,
    show_default=True,
    help="Users of the service.",
)
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    default=0,
    show_default="any free one",
    help="Port of the first node; the others take those after it.",
)
@click.option(
    "--workspace",
    default=str(WORKSPACE),
    show_default=True,
    help="Folder for keys, ledger and logs; an earlier sandbox there is replaced.",
)
@click.option(
    "--constitution",
    "--constitution-dir",
    metavar="PATH",
    multiple=True,
    help="A folder: the whole constitution, instead of one that accepts everything at once. A file:"
    " further actions. May be repeated.",
)
@click.option(
    "--jwt-issuer",
    "jwt_issuers",
    metavar="FILE",
    multiple=True,
    help="Trust an issuer of tokens: JSON as set_jwt_issuer takes it. May be repeated.",
)
@click.option(
    "--max-http-body-size",
    type=click.IntRange(1),
    metavar="BYTES",
    default=MAX_BODY_SIZE,
    show_default=True,
    help="The largest body of a request; an application is proposed in one.",
)
@click.option("--js-app-bundle", metavar="DIR", help="The same as APP_DIR.")
@click.option("--verbose", "-v", is_flag=True, help="Tell every step of governance.")
@json_option
def command(
    app_dir: str | None,
    nodes: int,
    members: int,
    users: int,
    port: int,
    workspace: str,
    constitution: tuple[str, ...],
    jwt_issuers: tuple[str, ...],
    max_http_body_size: int,
    js_app_bundle: str | None,
    verbose: bool,
    out: Output,
) -> None:
    """Start a service on this machine, ready to use, and keep it up until Ctrl-C.

    APP_DIR holds the application: app.py, or app.json with src/, or a built dist/. Without it,
    the logging sample runs.

    The first node starts the service, the others join it. A node that ends is told of on standard
    error; the sandbox ends when those left are no majority of the nodes that the service trusts.

    All members vote for what it takes to open the service. Options and keys may be called as in
    scripts for CCF's sandbox: member0_privk.pem, member0_enc_privk.pem, user0_privk.pem.
    """
    stop = _stop_on_signals()
    if app_dir is not None and js_app_bundle is not None:
        raise click.UsageError("Give APP_DIR or --js-app-bundle, not both.")
    given = app_dir or js_app_bundle
    folder = default_app() if given is None else Path(given)
    if port and port + nodes - 1 > PORT_MAX:
        raise click.UsageError(f"There are no {nodes} ports from {port} on.")
    plan = Plan(
        runnable_app(folder),
        Path(workspace),
        members,
        users,
        port,
        nodes,
        sandbox_constitution(constitution),
        tuple(map(_issuer, jwt_issuers)),
        max_http_body_size,
    )
    service = LocalService(plan, out.line if verbose else lambda _: None, stop.is_set)
    out.line(f"Starting a service with the application in {folder} …")
    codes: dict[str, int] = {}
    try:
        info = service.start()
        out.result(info)
        if not out.as_json:
            _tell(out, info)
        while not stop.wait(CHECK_S):
            for news in service.look_after():
                click.echo(news, err=True)
        out.line("Stopping …")
    except Cancelled:
        out.line("Stopping …")
    finally:
        codes = service.stop()
    for title, code in codes.items():
        if code != 0:
            raise LocalError(
                f"{title} did not stop cleanly (exit code {code})",
                hint=f"See the log, {service.workspace}/node*/out",
            )
    if not codes:
        return  # stopped before there was anything open
    out.line("Stopped. The ledger stays; check it with:")
    for node in service.nodes:
        out.line("  " + pyccf_line("ledger", "verify", str(node.ledger)))


def _issuer(file: str) -> dict[str, Json]:
    """Arguments of `set_jwt_issuer` in a file. Raises LocalError."""
    value = parse_json(read_text(file), file)
    if not isinstance(value, dict) or not isinstance(value.get("issuer"), str):
        raise LocalError(f'{file} names no issuer: {{"issuer": "https://…", "jwks": …}}')
    return value


class _Stop:
    """Whether a signal said so. Without a lock: one may come while another is handled."""

    def __init__(self) -> None:
        self._said = False

    def set(self, number: int, frame: FrameType | None) -> None:
        self._said = True

    def is_set(self) -> bool:
        return self._said

    def wait(self, seconds: float) -> bool:
        """Let time pass, if nothing was said yet."""
        if not self._said:
            time.sleep(seconds)
        return self._said


def _stop_on_signals() -> _Stop:
    """What SIGINT and SIGTERM set."""
    stop = _Stop()
    signal.signal(signal.SIGINT, stop.set)
    signal.signal(signal.SIGTERM, stop.set)
    return stop


def javascript_client() -> Path | None:
    """The JavaScript client of a checkout; None when only the package is installed."""
    return next((root / "clients" / "js" for root in _roots() if _has_client(root)), None)


def _has_client(root: Path) -> bool:
    return (root / "clients" / "js" / "src" / "node.js").is_file()


def _roots() -> tuple[Path, Path]:
    """Where a checkout may be."""
    return Path(pyccf.__file__).resolve().parents[2], Path.cwd()


def default_app() -> Path:
    """The logging sample of a checkout. Raises LocalError when only the package is installed."""
    for root in _roots():
        found = root / "samples" / "logging"
        if found.is_dir():
            return found
    raise LocalError(
        "No application given, and the sample samples/logging is not part of this installation",
        hint="Give the folder of an application: pyccf sandbox APP_DIR",
    )


def _tell(out: Output, info: SandboxInfo) -> None:
    """What a person needs to go on: requests to paste, and where everything lies."""
    node, user = info.nodes[0], info.users[0]
    files = {"cacert": info.service_cert, "cert": user.cert, "key": user.key}
    with Client(node.url, info.service_cert, cert=user.cert, key=user.key) as client:
        lines = examples(client.get("/app/api").check().json())
        latest = client.last_committed()
    addresses = [one.url for one in info.nodes]
    out.line(f"\nThe service is open at {' '.join(addresses)}\n")
    if lines:
        out.line("Try (paste into another terminal):\n")
    for example in lines:
        out.line("  " + curl(example, node.url, files))
    wrote = next((example for example in lines if example.method == "POST"), None)
    if len(info.nodes) > 1:
        _tell_of_backups(out, info, lines, files)
    if wrote is not None:
        out.line("\nA write, answered once it is committed, with its receipt in a header:\n")
        out.line("  " + curl(wrote, node.url, files, "-i", "-H", "x-pyccf-wait: receipt"))
    out.line(
        "\nThe same with the clients for Python and JavaScript (docs/client.md, clients/js):\n"
    )
    out.line("  " + python_line(wrote, node.url, files))
    package = javascript_client()
    if package is not None:
        out.line("  " + node_line(wrote, node.url, files, package))
    where = ("--workspace", info.workspace)
    out.line("\nProof of a transaction, and its check without the service:\n")
    out.line("  " + pyccf_line("receipt", "get", str(latest), *where, "--output", "receipt.json"))
    check = ("--service-cert", info.service_cert)
    out.line("  " + pyccf_line("receipt", "verify", "receipt.json", *check))
    if len(info.nodes) > 1:
        out.line("\nHow the nodes stand; and without the primary, watch the others elect one:\n")
        out.line("  " + pyccf_line("network", "status", *where))
        out.line("  " + pyccf_line("network", "status", "--watch", *where))
        out.line(f"  kill -9 {node.pid}")
    out.line("\nWhere things are:\n")
    logs = [f"{info.workspace}/node{i}/out" for i in range(len(info.nodes))]
    out.fields(
        [
            ("  service certificate", info.service_cert),
            ("  users", " ".join(party.cert for party in info.users)),
            ("  members", " ".join(party.cert for party in info.members)),
            ("  ledger", " ".join(info.ledgers)),
            ("  node log", " ".join(logs)),
        ]
    )
    out.line("\nCtrl-C stops the service.")


def _tell_of_backups(
    out: Output, info: SandboxInfo, lines: Sequence[Example], files: Mapping[str, str]
) -> None:
    """The first read and the first write once more, through other nodes."""
    read = next((example for example in lines if example.method == "GET"), None)
    write = next((example for example in lines if example.method == "POST"), None)
    if read is None and write is None:
        return
    out.line("\nAny node will do: a backup answers reads and passes writes on to the primary:\n")
    if write is not None:
        out.line("  " + curl(write, info.nodes[1].url, files))
    if read is not None:
        out.line("  " + curl(read, info.nodes[-1].url, files))
