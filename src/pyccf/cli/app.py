"""`pyccf app`: install an application by proposal, show the one that runs, test, replay."""

from __future__ import annotations

from pathlib import Path

import click

from pyccf.cli import app_replay, app_test
from pyccf.cli.bundle import PythonApp, runnable_app
from pyccf.cli.governing import tell
from pyccf.cli.options import Target, connection_options, json_option
from pyccf.cli.output import Output
from pyccf.client.types import Action
from pyccf.errors import LocalError

MODULES_SHOWN = 20
"""Modules that are listed by name; packages bring hundreds."""


@click.group("app")
def command() -> None:
    """Install an application, show the one that runs, test one, replay its requests."""


command.add_command(app_test.command)
command.add_command(app_replay.command)


@command.command("deploy")
@click.argument("app_dir")
@click.option(
    "--source-maps/--no-source-maps",
    default=True,
    help="Put the build's source maps into the modules, so that stack traces name the sources.",
)
@connection_options("member0")
@json_option
def deploy(app_dir: str, source_maps: bool, target: Target, out: Output) -> None:
    """Propose to install the JavaScript application in APP_DIR (action set_js_app).

    APP_DIR holds app.json with src/, or a built dist/; a bundle.json may be given instead.
    """
    bundle = runnable_app(Path(app_dir), source_maps=source_maps)
    if isinstance(bundle, PythonApp):
        raise LocalError(
            f"{app_dir} holds a Python application, which is part of the node's program",
            hint="Start nodes with it: pyccf node --app app:app, or pyccf sandbox APP_DIR.",
        )
    args = {"bundle": bundle.as_json(), "disable_bytecode_cache": not bundle.compiles}
    with target.connect() as client:
        proposal = client.submit([Action("set_js_app", args)])
    out.result(proposal)
    out.line(f"Proposed an application of {len(bundle.modules)} module(s).")
    tell(out, proposal)


@command.command("show")
@connection_options()
@json_option
def show(target: Target, out: Output) -> None:
    """Show endpoints and modules of the JavaScript application."""
    with target.connect() as client:
        endpoints = client.javascript_app(original=True)
        modules = client.javascript_modules()
    out.result({"endpoints": endpoints, "modules": modules})
    rows = [
        (
            method,
            f"/app{url}",
            str(endpoint.get("mode", "")),
            f"{endpoint.get('js_module')}:{endpoint.get('js_function')}",
            ", ".join(map(_policy, _list(endpoint.get("authn_policies")))) or "anyone",
        )
        for url, methods in endpoints.items()
        for method, endpoint in methods.items()
    ]
    empty = "No JavaScript application is installed."
    out.table(("method", "path", "mode", "function", "callers"), rows, empty)
    if modules:
        shown = ", ".join(modules[:MODULES_SHOWN])
        more = len(modules) - MODULES_SHOWN
        out.line(f"Modules: {shown}{f' and {more} more (see --json)' if more > 0 else ''}")


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _policy(policy: object) -> str:
    if isinstance(policy, dict):
        return "+".join(str(name) for name in _list(policy.get("all_of")))
    return str(policy) if policy else "anyone"
