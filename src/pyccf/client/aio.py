"""The client for programs with an event loop.

    async with AsyncClient(Client(url, "service_cert.pem")) as client:
        reply = await client.call(Client.post, "/app/log/public", json={"id": 1, "msg": "hello"})

Every method of `Client` may be called, with its own arguments and types. Calls run one after the
other in a thread of their own, as a `Client` wants it; several at a time need several clients. A
call that is cancelled is no longer waited for, but may still be executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from pyccf.client.client import Client

P = ParamSpec("P")
T = TypeVar("T")


class AsyncClient:
    """A `Client` that an event loop may wait for."""

    def __init__(self, client: Client) -> None:
        """`client` is from now on to be used through this alone, and closed with it."""
        self._client = client
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pyccf-client")

    async def call(
        self, method: Callable[Concatenate[Client, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What a method of `Client` returns or raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, partial(method, self._client, *args, **kwargs)
        )

    async def close(self) -> None:
        """Close all connections, after what is under way."""
        await self.call(Client.close)
        self._thread.shutdown()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
