"""The node program in this process: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pyccf.errors import StorageError
from pyccf.node.outputs import Stop
from pyccf.observe.log import LogSink
from pyccf.shell import config as cfg
from pyccf.shell import start
from pyccf.shell.config import ExitCode
from pyccf.shell.install import AppSource
from pyccf.shell.program import Program, _memory
from support.process import make_config


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class Running:
    """A program that runs, and what it said."""

    def __init__(self, folder: Path, level: str = "info") -> None:
        make_config(folder)
        (folder / "package").write_bytes(b"code")
        self.out = io.BytesIO()
        config = cfg.load_config("config.json")
        prepared = start.prepare(config, AppSource(None, "package"))
        self.program = Program(config, LogSink(self.out, level=level), prepared)

    def run(self, act: Callable[[Program], Awaitable[None]]) -> int:
        """Run until it ends by what `act` does; the exit code."""

        async def both() -> int:
            running = asyncio.create_task(self.program.run())
            while not hasattr(self.program, "_node") or not self.program._node.gov_open:
                await asyncio.sleep(0.01)
            await act(self.program)
            async with asyncio.timeout(60):
                return await running

        return asyncio.run(both())

    @property
    def log(self) -> str:
        return self.out.getvalue().decode()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.chdir(tmp_path)
    return Running(tmp_path)


async def terminate(program: Program) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_it_well(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    assert running.run(terminate) == ExitCode.OK
    assert running.log.rstrip().endswith("Host stopped successfully")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("level", "told"), [("debug", True), ("info", False)])
def test_calls_are_logged_for_who_debugs(
    level: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Running(tmp_path, level).program._app.js.log_calls is told


def test_a_node_that_cannot_go_on_ends_it(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    async def stop(program: Program) -> None:
        program._node._outputs.append(Stop("Refused, and that is that"))
        program.flush()

    assert running.run(stop) == ExitCode.ABORTED
    assert "[fatal]" in running.log
    assert capsys.readouterr().err == "Refused, and that is that\n"


def test_a_disk_that_fails_ends_it(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(program: Program) -> None:
        def full(entries: object) -> None:
            raise StorageError("The disk is full")

        monkeypatch.setattr(program._disk, "append", full)
        program._node.sign()
        program.flush()

    assert running.run(fail) == ExitCode.FAILED
    assert "The disk is full" in capsys.readouterr().err


def test_a_mistake_of_ours_ends_it(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    async def break_down(program: Program) -> None:
        def passes(now: int) -> None:
            raise AssertionError("two primaries in one view")

        program._node.conversations.append(passes)

    assert running.run(break_down) == ExitCode.FAILED
    assert "This node cannot go on: AssertionError: two primaries in one view" in running.log
    assert "Traceback" in capsys.readouterr().err


def test_trouble_with_one_client_does_not_end_it(running: Running) -> None:
    async def trouble(program: Program) -> None:
        loop = asyncio.get_running_loop()
        for context in (
            {"message": "a client", "exception": ValueError("x"), "protocol": asyncio.Protocol()},
            {"message": "a socket", "exception": OSError("x")},
            {"message": "a warning"},
        ):
            loop.call_exception_handler(context)
        await asyncio.sleep(0.05)
        assert not program._stopping.is_set()
        await terminate(program)

    assert running.run(trouble) == ExitCode.OK
    assert "[fatal]" not in running.log


def test_memory_was_never_less_than_it_is() -> None:
    held = []
    for _ in range(50):
        held.append(bytearray(b"x" * 100_000))
        told = _memory()
        current, peak = told["current_allocated_heap_size"], told["peak_allocated_heap_size"]
        assert isinstance(current, int)
        assert isinstance(peak, int)
        assert 0 < current <= peak
