"""The sample applications of this checkout."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from pyccf.apps.python import App
from support.programs import program

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
NPM_TIMEOUT_S = 300


def sample(name: str) -> Path:
    """Folder of a sample, built if it needs that."""
    if name == "logging-ts":
        _build(SAMPLES / name)
    return SAMPLES / name


@cache
def python_app(name: str) -> App:
    """The application of a sample in Python."""
    return fresh_python_app(name)


def fresh_python_app(name: str) -> App:
    """The same, made for one node: what it remembers of tables is of no other."""
    # Every sample has a module `app`; types are looked up in it by its name later on.
    spec = importlib.util.spec_from_file_location(f"app of {name}", SAMPLES / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SAMPLES / name))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(SAMPLES / name))
    assert isinstance(module.app, App)
    return module.app


@cache
def _build(folder: Path) -> None:
    """Type-check and bundle a TypeScript application with npm, as its README says."""
    npm = program("npm")
    if not _installed(folder):
        done = _run([npm, "ci", "--no-audit", "--no-fund"], folder)
        if done.returncode != 0 and _offline(done.stderr):
            pytest.skip("the npm registry cannot be reached: no TypeScript, no esbuild")
        assert done.returncode == 0, done.stdout + done.stderr
    done = _run([npm, "run", "build"], folder)
    assert done.returncode == 0, done.stdout + done.stderr


def _installed(folder: Path) -> bool:
    """Whether `npm ci` ran here since the lock file last changed."""
    marker = folder / "node_modules" / ".package-lock.json"
    lock = folder / "package-lock.json"
    return marker.exists() and marker.stat().st_mtime >= lock.stat().st_mtime


def _offline(text: str) -> bool:
    return any(word in text for word in ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT"))


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=NPM_TIMEOUT_S
    )
