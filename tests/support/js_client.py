"""The JavaScript client, run by Node, and a service for it to talk to.

`python -m support.js_client`, in the folder tests, writes what is generated of it anew.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.programs import program
from support.sandbox import Sandbox
from support.transcripts import make_service

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "js"
TIMEOUT_S = 60
NODE_MAJOR = 20


APP = """\
import hashlib
import msgspec
from pathlib import Path
from pyccf.apps.python import App, AppContext, Reply, Table
from pyccf.errors import RpcError

app = App(title="Notes", version="1.0.0")
notes = Table("public:notes", key=str, value=str)

class Note(msgspec.Struct):
    text: str

@app.post("/notes", auth=["user_cert", "jwt"])
def write(ctx: AppContext, body: Note) -> bool:
    notes(ctx).set("last", body.text)
    ctx.set_claims_digest(hashlib.sha256(body.text.encode()).digest())
    return True

@app.get("/who", auth=["jwt"])
def who(ctx: AppContext) -> str:
    return ctx.caller.jwt.payload["sub"]

@app.post("/signed", auth=["user_cose_sign1"])
def signed(ctx: AppContext) -> list[str]:
    return [ctx.caller.id, ctx.caller.cose.content.decode()]

@app.get("/proof", mode="historical", produces="application/cose")
def proof(ctx: AppContext) -> bytes:
    return ctx.historical.cose_receipt

# What a page needs: the page itself, and the client, from the node's own address.
FILES = {path.name: path.read_bytes() for path in (Path(__file__).parent / "client").iterdir()}

class File(msgspec.Struct):
    name: str

@app.get("/page")
def page(ctx: AppContext) -> Reply:
    return Reply(200, "<!doctype html><title>Notes</title>", {"content-type": "text/html"})

@app.get("/client/{name}")
def client(ctx: AppContext, path: File) -> Reply:
    if path.name not in FILES:
        raise RpcError(404, "ResourceNotFound", f"There is no {path.name}")
    return Reply(200, FILES[path.name], {"content-type": "text/javascript"})
"""


@contextmanager
def notes(folders: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Two nodes and two members with an application that keeps notes and serves the client."""
    folder = folders.mktemp("app")
    (folder / "app.py").write_text(APP)
    shutil.copytree(PACKAGE / "src", folder / "client", ignore=shutil.ignore_patterns("*.ts"))
    with Sandbox(folder, folders.mktemp("workspace"), "--nodes", "2", "--members", "2") as one:
        yield one


def node() -> str:
    """The program; skips the test where there is none that is new enough."""
    found = program("node")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(said.strip().lstrip("v").partition(".")[0]) < NODE_MAJOR:
        pytest.skip(f"the JavaScript client needs Node {NODE_MAJOR}, here is {said.strip()}")
    return found


def run(script: str, *arguments: str, cwd: Path | None = None, **environment: str) -> Any:
    """Run a module that may import from PACKAGE; the JSON that it prints last."""
    done = subprocess.run(
        [node(), "--input-type=module", "-e", script, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=cwd or PACKAGE,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().rpartition("\n")[2])


def documents() -> list[Any]:
    """Of /node, /gov and /app, as a service without an application gives them."""
    service = make_service()
    service.tick()
    service.open_app()
    return [
        service.call("GET", f"/{name}/api?api-version=2024-07-01").json
        for name in ("node", "gov", "app")
    ]


def generate() -> dict[str, str]:
    """What the package's generated files should hold, by name."""
    made: dict[str, str] = generator().generate(*documents(), whole_app=False)
    return made


def generator() -> ModuleType:
    """`generate.py` of the package."""
    spec = importlib.util.spec_from_file_location("js_generate", PACKAGE / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    for name, text in generate().items():
        (PACKAGE / "src" / name).write_text(text, encoding="utf-8")
