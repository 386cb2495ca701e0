"""The client for event loops: the same answers and errors, without holding up the loop."""

from __future__ import annotations

import asyncio
import threading

import httpx2
import pytest

from pyccf.client import Client, Identity, ServiceError
from pyccf.client.aio import AsyncClient
from pyccf.types import TxID
from support.fake_service import URL, FakeService


def make(service: FakeService, member: Identity) -> AsyncClient:
    transport = httpx2.MockTransport(service.handle)
    return AsyncClient(Client(URL, member.cert_pem, transport=transport))


def test_calls_give_what_the_client_gives(service: FakeService, member: Identity) -> None:
    service.on("GET", "/node/commit", {"transaction_id": "2.31"})
    service.on("POST", "/app/x", {"ok": True})
    service.refuse("GET", "/app/y", 404, "ResourceNotFound", "no such thing")

    async def run() -> None:
        async with make(service, member) as client:
            txid: TxID = await client.call(Client.last_committed)
            assert txid == TxID(2, 31)
            reply = await client.call(Client.post, "/app/x", json=1)
            assert reply.json() == {"ok": True}
            refused = await client.call(Client.get, "/app/y")
            with pytest.raises(ServiceError, match="no such thing"):
                refused.check()
            with pytest.raises(ServiceError):
                await client.call(Client.node_state)

    asyncio.run(run())


def test_the_loop_goes_on_meanwhile(service: FakeService, member: Identity) -> None:
    answer = threading.Event()

    def slow(_: httpx2.Request) -> httpx2.Response:
        assert answer.wait(10)
        return httpx2.Response(200, content=b"1")

    service.do("GET", "/app/slow", slow)

    async def run() -> None:
        async with make(service, member) as client:
            asked = asyncio.create_task(client.call(Client.get, "/app/slow"))
            await asyncio.sleep(0)
            assert not asked.done()
            answer.set()
            assert (await asked).json() == 1

    asyncio.run(run())
