"""`pyccf sandbox`: a service on this machine, opened and ready, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

import click

import pyccf
from pyccf.cli.bundle import find_app
from pyccf.cli.examples import curl, examples
from pyccf.cli.local_service import Cancelled, LocalService, Plan
from pyccf.cli.options import WORKSPACE, SandboxInfo, json_option
from pyccf.cli.output import Output, pyccf_line
from pyccf.client import Client
from pyccf.errors import LocalError

NODES_MAX = 1
"""Nodes that this version can run together."""
PARTIES_MAX = 100
CHECK_S = 0.2
"""How often the node is looked after while the sandbox stands."""


@click.command("sandbox")
@click.argument("app_dir", required=False)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Nodes.")
@click.option(
    "--members",
    type=click.IntRange(1, PARTIES_MAX),
    default=1,
    show_default=True,
    help="Members of the consortium.",
)
@click.option(
    "--users",
    type=click.IntRange(1, PARTIES_MAX),
    default=1,
    show_default=True,
    help="Users of the service.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default="any free one",
    help="Port of the first node.",
)
@click.option(
    "--workspace",
    default=str(WORKSPACE),
    show_default=True,
    help="Folder for keys, ledger and logs; an earlier sandbox there is replaced.",
)
@click.option("--verbose", is_flag=True, help="Tell every step of governance.")
@json_option
def command(
    app_dir: str | None,
    nodes: int,
    members: int,
    users: int,
    port: int,
    workspace: str,
    verbose: bool,
    out: Output,
) -> None:
    """Start a service on this machine, ready to use, and keep it up until Ctrl-C.

    APP_DIR holds the application: app.py, or app.json with src/, or a built dist/. Without it,
    the logging sample runs.
    """
    if nodes > NODES_MAX:
        raise LocalError(
            f"A sandbox of {nodes} nodes is not possible in this version",
            hint="Leave out --nodes: one node is a whole service.",
        )
    stop = _stop_on_signals()
    folder = default_app() if app_dir is None else Path(app_dir)
    plan = Plan(find_app(folder), Path(workspace), members, users, port)
    service = LocalService(plan, out.line if verbose else lambda _: None, stop.is_set)
    out.line(f"Starting a service with the application in {folder} …")
    code = None
    try:
        info = service.start()
        out.result(info)
        if not out.as_json:
            _tell(out, info)
        while not stop.wait(CHECK_S):
            service.check_running()
        out.line("Stopping …")
    except Cancelled:
        out.line("Stopping …")
    finally:
        code = service.stop()
    if code is None:
        return  # stopped before there was anything open
    if code != 0:
        raise LocalError(
            f"The node did not stop cleanly (exit code {code})",
            hint=f"See its log, {service.folder / 'out'}",
        )
    out.line("Stopped. The ledger stays; check it with:")
    out.line("  " + pyccf_line("ledger", "verify", str(service.folder / "ledger")))


def _stop_on_signals() -> threading.Event:
    """The event that SIGINT and SIGTERM set."""
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    return stop


def default_app() -> Path:
    """The logging sample of a checkout. Raises LocalError when only the package is installed."""
    for root in (Path(pyccf.__file__).resolve().parents[2], Path.cwd()):
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
    out.line(f"\nThe service is open at {node.url}\n")
    out.line("Try (paste into another terminal):\n")
    wrote = None
    for example in lines:
        out.line("  " + curl(example, node.url, files))
        if example.method == "POST" and wrote is None:
            wrote = example
    if wrote is not None:
        out.line("\nThe same, answered once it is committed, with its receipt in a header:\n")
        out.line("  " + curl(wrote, node.url, files, "-i", "-H", "x-pyccf-wait: receipt"))
    out.line("\nProof of a transaction, and its check without the service:\n")
    where = ("--workspace", info.workspace)
    out.line("  " + pyccf_line("receipt", "get", str(latest), *where, "--output", "receipt.json"))
    check = ("--service-cert", info.service_cert)
    out.line("  " + pyccf_line("receipt", "verify", "receipt.json", *check))
    out.line("\nWhere things are:\n")
    out.fields(
        [
            ("  service certificate", info.service_cert),
            ("  users", " ".join(party.cert for party in info.users)),
            ("  members", " ".join(party.cert for party in info.members)),
            ("  ledger", " ".join(info.ledgers)),
            ("  node log", f"{info.workspace}/node0/out"),
        ]
    )
    out.line("\nCtrl-C stops the service.")
