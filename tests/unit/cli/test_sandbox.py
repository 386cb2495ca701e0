"""`pyccf sandbox` before there is a service: arguments and the default application."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyccf
from pyccf.cli import sandbox
from pyccf.errors import LocalError
from support.cli import Run


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Puts back what happens on signals."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nodes", "0"],
        ["--nodes", "10"],
        ["--members", "0"],
        ["--users", "x"],
        ["--port", "65536"],
    ],
)
def test_impossible_numbers_are_refused(run: Run, arguments: list[str]) -> None:
    ran = run("sandbox", *arguments)
    assert ran.code == 2
    assert arguments[0] in ran.err


def test_there_must_be_a_port_for_each_node(run: Run, tmp_path: Path) -> None:
    ran = run("sandbox", "--nodes", 3, "--port", 65534, "--workspace", tmp_path / "ws")
    assert ran.code == 2
    assert "no 3 ports from 65534 on" in ran.err


def test_a_folder_without_application(run: Run, tmp_path: Path) -> None:
    ran = run("sandbox", tmp_path, "--workspace", tmp_path / "ws")
    assert ran.code == 1
    assert "There is no application" in ran.err
    assert not (tmp_path / "ws").exists()


def test_an_application_given_twice(run: Run, tmp_path: Path) -> None:
    ran = run("sandbox", tmp_path, "--js-app-bundle", tmp_path, "--workspace", tmp_path / "ws")
    assert ran.code == 2
    assert "APP_DIR or --js-app-bundle, not both" in ran.err


def test_token_issuers_and_constitutions_are_read_before_anything_starts(
    run: Run, tmp_path: Path
) -> None:
    app = write_app(tmp_path / "app")
    issuer = tmp_path / "issuer.json"
    for text, words in (
        ("[", "issuer.json is not JSON"),
        ('{"jwks": {"keys": []}}', "issuer.json names no issuer"),
    ):
        issuer.write_text(text)
        ran = run("sandbox", app, "--jwt-issuer", issuer, "--workspace", tmp_path / "ws")
        assert (ran.code, words in ran.err) == (1, True)
    more = tmp_path / "more.js"
    more.write_text("actions.set(;")
    ran = run("sandbox", app, "--constitution", more, "--workspace", tmp_path / "ws")
    assert (ran.code, "more.js:1: SyntaxError" in ran.err) == (1, True)
    assert not (tmp_path / "ws").exists()


def write_app(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.js").write_text("export const f = () => ({});")
    (folder / "app.json").write_text('{"endpoints": {}}')
    return folder


def test_the_default_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pyccf, "__file__", str(tmp_path / "a" / "b" / "c" / "__init__.py"))
    with pytest.raises(LocalError, match="samples/logging is not part of this installation"):
        sandbox.default_app()
    (tmp_path / "samples" / "logging").mkdir(parents=True)
    assert sandbox.default_app() == tmp_path / "samples" / "logging"
    (tmp_path / "a" / "samples" / "logging").mkdir(parents=True)
    assert sandbox.default_app() == tmp_path / "a" / "samples" / "logging"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_noted(number: int) -> None:
    stop = sandbox._stop_on_signals()
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.is_set()
    signal.raise_signal(number)


FLOOD = """
import os, signal, threading
from pyccf.cli import sandbox
stop = sandbox._stop_on_signals()
def send():
    for _ in range(20_000):
        os.kill(os.getpid(), signal.SIGTERM)
sender = threading.Thread(target=send)
sender.start()
while sender.is_alive():
    stop.wait(0)
"""


def test_signals_may_come_while_one_is_handled() -> None:
    """As when make is told to stop, which tells its children, and they are told as well."""
    subprocess.run([sys.executable, "-c", FLOOD], check=True, timeout=60)
