"""The node program in this process: what ends it, and what does not."""

from __future__ import annotations

import asyncio
import errno
import gc
import io
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pyccf.audit.verify import verify
from pyccf.errors import StorageError
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.node.node import Node
from pyccf.node.outputs import Channel, Stop
from pyccf.observe.log import LogSink
from pyccf.shell import config as cfg
from pyccf.shell import start
from pyccf.shell.config import ExitCode
from pyccf.shell.install import AppSource
from pyccf.shell.listen import split_address
from pyccf.shell.program import Program, _memory
from support.process import Member, make_config


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


class _Full(io.StringIO):
    """Where the disk that failed is also the one that stderr goes to."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _full_disk(program: Program) -> None:
    with patch.object(program._disk, "append", side_effect=StorageError("The disk is full")):
        program._node.sign()
        program.flush()


def _refusal(program: Program) -> None:
    program._node._outputs.append(Stop("Refused, and that is that"))
    program.flush()


def _mistake(program: Program) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("trouble", [_full_disk, _refusal, _mistake])
def test_nothing_keeps_it_alive_that_cannot_be_said(
    trouble: Callable[[Program], None], running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", _Full())

    async def ends(program: Program) -> None:
        asyncio.get_running_loop().call_soon(trouble, program)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert program._over

    assert running.run(ends) in (ExitCode.FAILED, ExitCode.ABORTED)
    assert "[fatal]" in running.log


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


class Receiving:
    """A node that takes messages of others in another way."""

    def __init__(self, node: Node, receive: Callable[..., None]) -> None:
        self._node = node
        self.receive = receive

    def __getattr__(self, name: str) -> object:
        return getattr(self._node, name)


async def speak(program: Program) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client's connection that was answered once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    (listener,) = program.listeners.values()
    host, port = split_address(listener.address)
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.write(b"GET /node/ready/gov HTTP/1.1\r\n\r\n")
    assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


@pytest.mark.parametrize("pipelined", [1, 2])
def test_a_mistake_about_one_request_ends_its_connection_only(
    pipelined: int, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trouble(program: Program) -> None:
        reader, writer = await speak(program)
        other, another = await speak(program)

        def broken(session: Session, request: Request) -> bytes:
            raise AssertionError("this cannot be")

        with monkeypatch.context() as patch:
            patch.setattr(program, "handle", broken)
            writer.write(b"GET /node/state HTTP/1.1\r\n\r\n" * pipelined)
            assert await reader.read() == b""
        another.write(b"GET /node/state HTTP/1.1\r\n\r\n")
        assert b" 200 " in await other.readuntil(b"\r\n\r\n")
        for kept in (writer, another):
            kept.transport.abort()
        await terminate(program)

    assert running.run(trouble) == ExitCode.OK
    assert "[fatal]" not in running.log


@pytest.mark.parametrize(
    ("channel", "code"), [(Channel.FORWARD, ExitCode.OK), (Channel.CONSENSUS, ExitCode.FAILED)]
)
def test_a_mistake_ends_the_node_unless_it_is_about_a_forwarded_request(
    channel: Channel, code: ExitCode, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trouble(program: Program) -> None:
        def broken(*message: object) -> None:
            raise AssertionError("this cannot be")

        with monkeypatch.context() as patch:
            patch.setattr(program, "_node", Receiving(program._node, broken))
            loop = asyncio.get_running_loop()
            loop.call_soon(program._receive, "another", channel, b"")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert program._stopping.is_set() is (code is not ExitCode.OK)
        await terminate(program)

    assert running.run(trouble) == code


@pytest.mark.parametrize("wait", [b"", b"x-pyccf-wait: commit\r\n"])
def test_what_was_asked_as_it_ends_is_answered_and_signed(
    wait: bytes, running: Running, tmp_path: Path
) -> None:
    """A request that is read after the signal, and handled once everything was signed."""
    told: list[bytes] = []

    async def ask(program: Program) -> None:
        member = Member(tmp_path)
        body = member.sign("state_digest")
        reader, _ = await speak(program)
        (wire,) = next(iter(program.listeners.values())).connections
        path = f"/gov/members/state-digests/{member.id}:update?api-version=2024-07-01"
        head = f"POST {path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n"
        program._node._last_signature_at = program._node.now
        program._signalled(signal.SIGTERM)
        wire._turn(head.encode() + b"content-type: application/cose\r\n" + wait + b"\r\n" + body)
        told.append(await reader.read())

    assert running.run(ask) == ExitCode.OK
    assert told[0].startswith(b"HTTP/1.1 200 OK")
    report = verify([tmp_path / "ledger"])
    assert report.last.seqno > 3
    assert report.unsigned == 0


def test_a_node_whose_disk_failed_says_nothing_to_others(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what it was told next it might confirm more than is on its disk."""
    received: list[tuple[object, ...]] = []

    async def fail(program: Program) -> None:
        def full(entries: object) -> None:
            raise StorageError("The disk is full")

        monkeypatch.setattr(program._disk, "append", full)
        node = Receiving(program._node, lambda *message: received.append(message))
        monkeypatch.setattr(program, "_node", node)
        program._receive("another", Channel.CONSENSUS, b"before")
        program._node.sign()
        program.flush()
        program._receive("another", Channel.CONSENSUS, b"after")

    assert running.run(fail) == ExitCode.FAILED
    assert received == [("another", Channel.CONSENSUS, b"before")]


def test_memory_was_never_less_than_it_is() -> None:
    held = []
    for _ in range(50):
        held.append(bytearray(b"x" * 100_000))
        told = _memory()
        current, peak = told["current_allocated_heap_size"], told["peak_allocated_heap_size"]
        assert isinstance(current, int)
        assert isinstance(peak, int)
        assert 0 < current <= peak
