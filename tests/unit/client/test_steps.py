"""pyccf.client.steps: both clients say the same, tasks do not wait for others."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import suppress

import httpx2
import pytest

from pyccf.client import (
    AsyncClient,
    Client,
    Identity,
    NotCommitted,
    ServiceError,
    Unanswered,
    Unreachable,
)
from pyccf.client.steps import Awaiting, conversation
from pyccf.errors import LocalError
from pyccf.types import TxID
from support.fake_service import NOW, URLS, FakeService

Handler = Callable[[httpx2.Request], object]


def make(
    service: FakeService,
    member: Identity,
    handle: Handler | None = None,
    patience_s: float = 0.0,
    token: Callable[[], str | Awaitable[str]] | None = None,
) -> AsyncClient:
    """An asynchronous client of the fake service, whose clock is the service's."""
    client = AsyncClient(
        URLS,
        member.cert_pem,
        cert=member.cert_path,
        key=member.key_path,
        patience_s=patience_s,
        token=token,
        transport=httpx2.MockTransport(handle or service.handle),  # type: ignore[arg-type]
        unix_time=lambda: float(NOW),
        monotonic=lambda: service.clock,
    )

    async def sleep(seconds: float) -> None:
        service.sleep(seconds)

    client._sleep = sleep
    return client


def conversations(of: type) -> set[str]:
    return {name for name, made in inspect.getmembers(of) if isinstance(made, conversation)}


def test_both_clients_have_the_same_methods() -> None:
    assert conversations(Client) == conversations(AsyncClient)
    assert {"get", "node_state", "submit", "post_signed", "receipt"} <= conversations(Client)
    public = {name for name in dir(Client) if not name.startswith("_")}
    assert public == {name for name in dir(AsyncClient) if not name.startswith("_")}
    assert Client.post.__doc__ == "POST; the reply whatever its status."


def test_the_same_answers_and_errors(service: FakeService, member: Identity) -> None:
    service.on("GET", "/node/commit", {"transaction_id": "2.31"})
    service.on("POST", "/app/x", {"ok": True}, headers={"x-ms-ccf-transaction-id": "2.9"})
    service.refuse("GET", "/app/y", 404, "ResourceNotFound", "no such thing")
    service.on("POST", "/gov/members/proposals:create", {"bad": 1})

    async def run() -> None:
        async with make(service, member) as client:
            assert await client.last_committed() == TxID(2, 31)
            reply = await client.post("/app/x", json=1, wait="commit")
            assert (reply.json(), reply.txid) == ({"ok": True}, TxID(2, 9))
            refused = await client.get("/app/y")
            with pytest.raises(ServiceError, match="no such thing"):
                refused.check()
            with pytest.raises(ServiceError, match="Unknown path"):
                await client.node_state()
            signed = await client.post_signed("/app/x", b"hello")
            assert signed.status == 200

    asyncio.run(run())
    assert service.requests[1].headers["x-pyccf-wait"] == "commit"
    assert service.requests[-1].headers["content-type"] == "application/cose"


def test_redirects_failing_nodes_and_patience(service: FakeService, member: Identity) -> None:
    service.down = {"service.test:8000"}
    for _ in range(2):
        service.refuse("POST", "/app/log", 503, "PrimaryNotFound", "unknown")
    there = {"location": f"{URLS[2]}/app/there"}
    service.on("POST", "/app/log", status=307, headers=there)
    service.on("POST", f"{URLS[2]}/app/there", "x")

    async def run() -> None:
        async with make(service, member, patience_s=5) as client:
            assert (await client.post("/app/log", json=1)).text() == "x"
            service.down = {str(httpx2.URL(url).netloc, "ascii") for url in URLS}
            with pytest.raises(Unreachable):
                await client.get("/app/log")

    asyncio.run(run())
    assert len(service.slept) > 2


def test_commit_is_waited_for_with_the_pauses_of_the_loop(
    service: FakeService, member: Identity
) -> None:
    for status in ("Unknown", "Pending", "Committed", "Invalid"):
        service.on("GET", "/node/tx", {"transaction_id": "2.9", "status": status})

    async def run() -> None:
        async with make(service, member) as client:
            await client.wait_for_commit(TxID(2, 9))
            assert len(service.slept) == 2
            with pytest.raises(NotCommitted):
                await client.wait_for_commit(TxID(2, 9))

    asyncio.run(run())
    assert Awaiting._sleep is asyncio.sleep


def test_many_requests_are_under_way_at_a_time(service: FakeService, member: Identity) -> None:
    tasks = 30

    async def run() -> None:
        all_there = asyncio.Barrier(tasks)

        async def handle(request: httpx2.Request) -> httpx2.Response:
            await all_there.wait()
            return httpx2.Response(200, content=request.url.query)

        async with make(service, member, handle) as client, asyncio.timeout(10):
            replies = await asyncio.gather(*(client.get(f"/app/x?{n}") for n in range(tasks)))
            assert [reply.text() for reply in replies] == [str(n) for n in range(tasks)]

    asyncio.run(run())


def test_tasks_that_find_a_node_down_agree_on_the_next(
    service: FakeService, member: Identity
) -> None:
    service.down = {"service.test:8000"}
    service.on("GET", "/app/x", "x")

    async def handle(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        return service.handle(request)

    async def run() -> None:
        async with make(service, member, handle) as client:
            await asyncio.gather(*(client.get("/app/x") for _ in range(5)))
            assert client.url == URLS[1]

    asyncio.run(run())
    assert {request.url.host for request in service.requests} == {"second.test"}


def test_a_cancelled_task_sends_nothing_more(service: FakeService, member: Identity) -> None:
    """Neither the request again nor the next question, and the client goes on."""
    asked: list[str] = []

    async def run() -> None:
        reached, never = asyncio.Event(), asyncio.Event()

        async def handle(request: httpx2.Request) -> httpx2.Response:
            asked.append(request.url.path)
            if request.url.path == "/app/slow":
                reached.set()
                await never.wait()
            return httpx2.Response(200, content=b'{"transaction_id":"2.9","status":"Pending"}')

        async with make(service, member, handle, patience_s=5) as client:
            slow = asyncio.create_task(client.get("/app/slow"))
            await reached.wait()
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow
            client._sleep = asyncio.sleep
            waiting = asyncio.create_task(client.wait_for_commit(TxID(2, 9)))
            while "/node/tx" not in asked:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            before = len(asked)
            await asyncio.sleep(0.02)
            assert len(asked) == before
            assert (await client.tx_status(TxID(2, 9))).value == "Pending"

    asyncio.run(run())
    assert asked.count("/app/slow") == 1


GIVEN_UP = 150
"""More than there are connections at a time."""


def test_connections_of_cancelled_tasks_are_given_back(member: Identity) -> None:
    """Over real sockets: none is kept for an answer that nobody waits for."""

    async def run() -> None:
        asked: asyncio.Queue[bytes] = asyncio.Queue()
        gone = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal gone
            head = await reader.readuntil(b"\r\n\r\n")
            await asked.put(head)
            if b"/app/slow" in head:
                assert await reader.read() == b""  # until the client hangs up
                gone += 1
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1")
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with server, AsyncClient(url, member.cert_pem) as client, asyncio.timeout(60):
            for _ in range(GIVEN_UP):
                slow = asyncio.create_task(client.get("/app/slow"))
                await asked.get()
                slow.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await slow
            assert (await client.get("/app/quick")).json() == 1
            while gone < GIVEN_UP:
                await asyncio.sleep(0)

    asyncio.run(run())


def test_a_write_that_broke_off_is_not_sent_again(service: FakeService, member: Identity) -> None:
    def broken(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("reset", request=request)

    service.do("POST", "/app/x", broken)

    async def run() -> None:
        async with make(service, member, patience_s=5) as client:
            with pytest.raises(Unanswered):
                await client.post("/app/x", json=1)

    asyncio.run(run())
    assert len(service.requests) == 1


def test_tokens_may_be_waited_for(service: FakeService, member: Identity) -> None:
    service.on("GET", "/app/x", "1")

    async def fresh() -> str:
        await asyncio.sleep(0)
        return "waited-for"

    async def run() -> None:
        for token in (fresh, lambda: "at-once"):
            async with make(service, member, token=token) as client:
                await client.get("/app/x")

    asyncio.run(run())
    sent = [request.headers["authorization"] for request in service.requests]
    assert sent == ["Bearer waited-for", "Bearer at-once"]
    transport = httpx2.MockTransport(service.handle)

    class Later:
        def __await__(self) -> Generator[None, None, str]:
            yield
            return "never"

    with (
        Client(URLS, member.cert_pem, token=Later, transport=transport) as client,
        pytest.raises(LocalError, match="asynchronous"),
    ):
        client.get("/app/x")
    assert len(service.requests) == 2


def test_a_token_that_cannot_be_waited_for_is_closed(
    service: FakeService, member: Identity
) -> None:
    begun = []

    async def fresh() -> str:
        return "never"

    def token() -> Awaitable[str]:
        begun.append(fresh())
        return begun[-1]

    transport = httpx2.MockTransport(service.handle)
    with (
        Client(URLS, member.cert_pem, token=token, transport=transport) as client,
        pytest.raises(LocalError, match="asynchronous"),
    ):
        client.get("/app/x")
    assert [inspect.getcoroutinestate(one) for one in begun] == [inspect.CORO_CLOSED]


@pytest.fixture
def slow() -> Iterator[str]:
    """The address of a node that gives its answers bit by bit, without an end."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not ended.wait(0.02):
                connection.sendall(b"x")

    def accept() -> None:
        for _ in range(2):
            answer(listener.accept()[0])

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        thread.join()


def test_an_answer_comes_whole_in_time(slow: str, member: Identity) -> None:
    begin = time.monotonic()
    with (
        Client(slow, member.cert_pem, timeout_s=0.2) as client,
        pytest.raises(Unreachable, match="in time"),
    ):
        client.get("/x")

    async def ask() -> None:
        async with AsyncClient(slow, member.cert_pem, timeout_s=0.2) as other:
            with pytest.raises(Unanswered):
                await other.post("/x", content=b"")

    asyncio.run(ask())
    assert time.monotonic() - begin < 10
