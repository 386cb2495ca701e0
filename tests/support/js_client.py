"""The JavaScript client, run by Node.

`python -m support.js_client`, in the folder tests, writes what is generated of it anew.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.transcripts import make_service

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "js"
TIMEOUT_S = 60
NODE_MAJOR = 20


def node() -> str:
    """The program; skips the test where there is none that is new enough."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed: the JavaScript client cannot be run")
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
