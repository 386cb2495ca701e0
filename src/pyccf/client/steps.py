"""One text for two clients: requests as conversations, held by whoever has the hands.

A method of the client is written once, as a generator. It yields what is to be done, a request to
`Send`, a `Rest` to take, a token to `Fetch`, is resumed with what came of it, and returns what the
caller wants. It opens no socket and does not sleep.

`Blocking` does what is asked at once, `Awaiting` lets an event loop do it, and `conversation` makes
of the generator a method that returns the answer for the one and a coroutine for the other. A
conversation given up half way (its task is cancelled) ends where it was: nothing is sent after.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
)
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeAlias, TypeVar, overload

import httpx2
import msgspec

from pyccf.errors import LocalError

P = ParamSpec("P")
T = TypeVar("T")


class Send(msgspec.Struct, frozen=True):
    """Make this request; the fields are named as the arguments of httpx2."""

    method: str
    url: httpx2.URL
    content: bytes | None
    headers: Mapping[str, str]
    timeout: float


class Rest(msgspec.Struct, frozen=True):
    """Do nothing for a while."""

    seconds: float


class Fetch(msgspec.Struct, frozen=True):
    """Call this for a text; what it raises ends the conversation."""

    source: Callable[[], str | Awaitable[str]]


Step: TypeAlias = Send | Rest | Fetch

Outcome: TypeAlias = httpx2.Response | httpx2.RequestError | str | None
"""What came of a `Send` (a response, or why there is none) or of a `Fetch`; nothing of a `Rest`."""

Steps: TypeAlias = Generator[Step, Outcome, T]
"""A conversation that returns a T."""


class Done(msgspec.Struct, Generic[T], frozen=True):
    """The conversation is over, and this is what came of it."""

    answer: T


def advance(steps: Steps[T], outcome: Outcome) -> Step | Done[T]:
    """Tell a conversation what came of its last step (None at first); what it wants next."""
    try:
        return steps.send(outcome)
    except StopIteration as end:
        return Done(end.value)


def send(request: Send) -> Steps[httpx2.Response]:
    """The response to one request; raises httpx2.RequestError if none came."""
    outcome = yield request
    if isinstance(outcome, httpx2.RequestError):
        raise outcome
    assert isinstance(outcome, httpx2.Response), "a Send is resumed with what came of it"
    return outcome


def fetch(source: Callable[[], str | Awaitable[str]]) -> Steps[str]:
    """The text that a source gives."""
    outcome = yield Fetch(source)
    assert isinstance(outcome, str), "a Fetch is resumed with a text"
    return outcome


class Hands:
    """What both kinds of hands are given."""

    _settings: dict[str, Any]
    """Arguments of the httpx2 client: trust, time-out, transport."""


class _InTime(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that must have come by some time: httpx2 limits only the wait for each piece of it."""

    def __init__(
        self, stream: httpx2.SyncByteStream | httpx2.AsyncByteStream, until: float
    ) -> None:
        self._stream = stream
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._stream, httpx2.SyncByteStream)
        for piece in self._stream:
            self._check()
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._stream, httpx2.AsyncByteStream)
        async for piece in self._stream:
            self._check()
            yield piece

    def _check(self) -> None:
        if time.monotonic() > self._until:
            raise httpx2.ReadTimeout("The answer did not come whole in time")

    def close(self) -> None:
        assert isinstance(self._stream, httpx2.SyncByteStream)
        self._stream.close()

    async def aclose(self) -> None:
        assert isinstance(self._stream, httpx2.AsyncByteStream)
        await self._stream.aclose()


class Blocking(Hands):
    """Does what a conversation asks for while the caller waits. For one thread at a time."""

    _sleep: Callable[[float], None] = staticmethod(time.sleep)

    @functools.cached_property
    def _http(self) -> httpx2.Client:
        return httpx2.Client(**self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _hold(self, steps: Steps[T]) -> T:
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, self._do(step))
        return step.answer

    def _do(self, step: Step) -> Outcome:
        if isinstance(step, Rest):
            self._sleep(step.seconds)
            return None
        if isinstance(step, Fetch):
            text = step.source()
            if not isinstance(text, str):
                if isinstance(text, Coroutine):
                    text.close()  # or Python warns that nobody awaited it
                raise LocalError(
                    "What gives the token is asynchronous, and this client is not",
                    hint="Take AsyncClient, or a function that returns the token.",
                )
            return text
        until = time.monotonic() + step.timeout
        try:
            with self._http.stream(**msgspec.structs.asdict(step)) as response:
                response.stream = _InTime(response.stream, until)
                response.read()
                return response
        except httpx2.RequestError as error:
            return error


class Awaiting(Hands):
    """Has the event loop do what a conversation asks for. For any number of tasks of one loop."""

    _sleep: Callable[[float], Coroutine[Any, Any, None]] = staticmethod(asyncio.sleep)

    @functools.cached_property
    def _http(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(**self._settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _hold(self, steps: Steps[T]) -> T:
        step = advance(steps, None)
        while not isinstance(step, Done):
            step = advance(steps, await self._do(step))
        return step.answer

    async def _do(self, step: Step) -> Outcome:
        if isinstance(step, Rest):
            await self._sleep(step.seconds)
            return None
        if isinstance(step, Fetch):
            text = step.source()
            return text if isinstance(text, str) else await text
        until = time.monotonic() + step.timeout
        try:
            async with self._http.stream(**msgspec.structs.asdict(step)) as response:
                response.stream = _InTime(response.stream, until)
                await response.aread()
                return response
        except httpx2.RequestError as error:
            return error


class conversation(Generic[P, T]):
    """Makes a method of both clients out of a generator."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        """The generator, for conversations that this one is a part of."""
        self.__doc__ = steps.__doc__

        @functools.wraps(steps)
        def method(client: Blocking | Awaiting, *args: P.args, **kwargs: P.kwargs) -> object:
            return client._hold(steps(client, *args, **kwargs))

        self._method = method

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> object:
        return self if client is None else MethodType(self._method, client)
