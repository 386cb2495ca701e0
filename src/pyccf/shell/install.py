"""Puts the endpoints and the application into a node.

An application is a Python object named by `--app module:object`; without one, the node runs
whatever JavaScript application its members install.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec

from pyccf.api import common, gov, join, jwt_refresh, node_schemas, snapshot
from pyccf.api import node as node_api
from pyccf.apps import openapi
from pyccf.apps.context import Context
from pyccf.apps.js.registry import JsApp
from pyccf.apps.python import App
from pyccf.apps.router import Endpoint
from pyccf.crypto.entropy import Entropy
from pyccf.errors import LocalError
from pyccf.service.operations import Operations

if TYPE_CHECKING:
    from pyccf.api.snapshot import Snapshots
    from pyccf.node.create import Parts
    from pyccf.node.frontend import Frontend
    from pyccf.types import Json

NODE_API_VERSION = "4.14.0"


class AppSource(msgspec.Struct, frozen=True):
    """Where the application and its digest come from."""

    app: str | None = None
    package: str | None = None


class LoadedApp(msgspec.Struct, frozen=True):
    """An application ready to be asked for its endpoints."""

    python: App | None
    js: JsApp
    roots: tuple[Path, ...] = ()
    """Files whose digest belongs to the program's."""

    @property
    def app(self) -> App | JsApp:
        return self.js if self.python is None else self.python

    def idle(self) -> None:
        """The node has nothing to do: prepare for the next requests."""
        if self.python is None:
            self.js.refill()


def load_app(source: AppSource) -> LoadedApp:
    """Load the application. Raises LocalError naming what is wrong with `--app`."""
    js = JsApp()
    if source.app is None:
        return LoadedApp(None, js)
    module_name, colon, attribute = source.app.partition(":")
    if not colon or not module_name or not attribute:
        raise LocalError(
            f"--app {source.app}: not of the form module:object",
            hint="For example --app app:app for the object `app` in app.py.",
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    before = frozenset(sys.modules)
    try:
        module = importlib.import_module(module_name)
    except ImportError as e:
        raise LocalError(f"--app {source.app}: cannot import {module_name}: {e}") from None
    found = getattr(module, attribute, None)
    if not isinstance(found, App):
        raise LocalError(
            f"--app {source.app}: {attribute} is not a pyccf.apps.python.App",
            hint=f"Define `{attribute} = App(...)` in {module_name}.",
        )
    return LoadedApp(found, js, _files_of(module, before))


def _files_of(module: ModuleType, before: frozenset[str]) -> tuple[Path, ...]:
    """The files of an application: its module, and those below the same folder that it imported."""
    if module.__file__ is None:
        return ()
    main = Path(module.__file__)
    folder = main.resolve().parent
    others = {
        Path(file)
        for name in sys.modules.keys() - before
        if (file := getattr(sys.modules[name], "__file__", None)) is not None
        and folder in Path(file).resolve().parents
        and "site-packages" not in Path(file).parts
    }
    return (main, *sorted(others - {main}))


def install_endpoints(
    parts: Parts,
    app: LoadedApp,
    entropy: Entropy,
    sessions: Callable[[], dict[str, Json]],
    memory: Callable[[], dict[str, Json]],
    snapshots: Snapshots | None = None,
) -> None:
    """Add every built-in endpoint to the three frontends; without snapshots none are served."""
    node = parts.node
    operations = Operations(
        secrets=parts.secrets,
        service=parts.service,
        entropy=entropy,
        unix_time=node.unix_time,
        node_state=lambda: node.state,
        flags=node.flags,
        past=parts.past,
        sealed=lambda: parts.sealed,
    )
    shell = node_api.ShellFacts(
        sessions=sessions,
        memory=memory,
        self_signed_certificate=lambda: parts.self_signed_pem,
        engine_version=app.js.engine_version,
        js_metrics=app.js.metrics,
        entry=parts.entry,
    )
    for make in app.python.indexes if app.python else ():
        node.indexes.install(make())
    _add(node.node, node_api.endpoints(node, shell))
    _add(node.node, [join.endpoint(parts)])
    if snapshots is not None:
        _add(node.node, snapshot.endpoints(node, snapshots))
    _add(node.node, jwt_refresh.endpoints(node))
    _add(node.node, common.endpoints(node, _node_document(node.node)))
    for endpoint in common.endpoints(node, _plain_document(node.gov)):
        node.gov.add(gov.with_versions(endpoint) if endpoint.path == "/api" else endpoint)
    _add(node.gov, gov.endpoints(node, operations))
    _add(node.app, common.endpoints(node, _app_document(node.app, app)))


def _add(frontend: Frontend, endpoints: list[Endpoint]) -> None:
    for endpoint in endpoints:
        frontend.add(endpoint)


def _node_document(frontend: Frontend) -> Callable[[Context], Json]:
    def document(ctx: Context) -> Json:
        return openapi.document(
            title="CCF Public Node API",
            description="State of the service and of this node, open to everybody.",
            version=NODE_API_VERSION,
            prefix=frontend.prefix,
            endpoints=frontend.templates.all(),
            schemas=node_schemas.SCHEMAS,
        )

    return document


def _plain_document(frontend: Frontend) -> Callable[[Context], Json]:
    def document(ctx: Context) -> Json:
        return openapi.document(
            title="Empty title",
            description="Empty description",
            version="0.0.1",
            prefix=frontend.prefix,
            endpoints=frontend.templates.all(),
        )

    return document


def _app_document(frontend: Frontend, app: LoadedApp) -> Callable[[Context], Json]:
    def document(ctx: Context) -> Json:
        python = app.python
        return openapi.document(
            title=python.title if python else "Empty title",
            description=python.description if python else "Empty description",
            version=python.version if python else "0.0.1",
            prefix=frontend.prefix,
            endpoints=[*frontend.templates.all(), *(python.endpoints() if python else ())],
            schemas=python.schemas if python else None,
            paths=None if python else openapi.js_paths(ctx.tx),
        )

    return document
