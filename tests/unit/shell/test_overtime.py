"""Application code in Python that does not end: when it is ended, and when it is not."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, cast

import msgspec
import pytest

from pyccf.apps.context import Context, Services
from pyccf.apps.handlers import HandlerFailed, Plan, executor, run
from pyccf.apps.router import Endpoint
from pyccf.http.message import Request
from pyccf.http.session import Session
from pyccf.kv.store import Store
from pyccf.shell.overtime import TICK_S, Overtime

LIMIT_MS = 300


@pytest.fixture(autouse=True)
def overtime() -> Iterator[Overtime]:
    made = Overtime(LIMIT_MS)
    made.start()
    yield made
    made.stop()
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def endless() -> None:
    while True:
        pass


def of_ours(text: str, module: str = "pyccf.kv.made_up") -> Callable[..., Any]:
    """A function as if it stood in this package."""
    space: dict[str, Any] = {"__name__": module, "time": time}
    exec(text, space)
    found: Callable[..., Any] = space["f"]
    return found


def test_what_does_not_end_is_ended() -> None:
    began = time.monotonic()
    words = rf"TookTooLong: It took longer than 300 ms \({re.escape(__file__)}:\d+\)"
    with pytest.raises(HandlerFailed, match=words):
        run(endless)
    assert time.monotonic() - began >= LIMIT_MS / 1000


@pytest.mark.parametrize("limit_ms", [20, 100, 260])
def test_short_calls_are_left_alone_however_short_the_limit(
    overtime: Overtime, limit_ms: int
) -> None:
    overtime.stop()
    made = Overtime(limit_ms)
    made.start()
    try:
        end = time.monotonic() + 4 * TICK_S
        while time.monotonic() < end:
            assert run(time.sleep, 0.002) is None
        with pytest.raises(HandlerFailed, match=f"longer than {limit_ms} ms"):
            run(endless)
    finally:
        made.stop()


def test_each_call_has_the_whole_time() -> None:
    end = time.monotonic() + 3 * LIMIT_MS / 1000 + 3 * TICK_S
    while time.monotonic() < end:
        assert run(time.sleep, 0.02) is None


def test_one_call_after_another_is_ended() -> None:
    for _ in range(2):
        with pytest.raises(HandlerFailed, match="TookTooLong"):
            run(endless)


def test_who_catches_everything_gets_some_more_blows() -> None:
    blows = 0

    def stubborn() -> None:
        nonlocal blows
        while blows < 5:
            try:
                endless()
            except BaseException:
                blows += 1
        endless()

    with pytest.raises(HandlerFailed, match="TookTooLong"):
        run(stubborn)
    assert blows == 5


def test_a_function_of_ours_is_not_left_in_the_middle() -> None:
    steps: list[str] = []
    ours = of_ours(
        "def f(steps):\n"
        "    steps.append('begun')\n"
        "    end = time.monotonic() + 1.2\n"
        "    while time.monotonic() < end: pass\n"
        "    steps.append('done')\n"
    )

    def handler() -> None:
        ours(steps)
        endless()

    with pytest.raises(HandlerFailed, match="TookTooLong"):
        run(handler)
    assert steps == ["begun", "done"]


def test_reading_a_value_of_the_applications_types_is() -> None:
    reads = of_ours("def f():\n    while True: pass\n", "pyccf.apps.typed")
    with pytest.raises(HandlerFailed, match="TookTooLong"):
        run(lambda: reads())


def test_nor_is_what_it_calls() -> None:
    """Which might be of the standard library, and change what is ours."""
    ours = of_ours("def f(step): step(); return 'whole'")
    told = []

    def handler() -> None:
        end = time.monotonic() + 1.2
        told.append(ours(lambda: [None for _ in iter(lambda: time.monotonic() < end, False)]))
        endless()

    with pytest.raises(HandlerFailed, match="TookTooLong"):
        run(handler)
    assert told == ["whole"]


def test_what_is_not_an_applications_is_left_alone() -> None:
    end = time.monotonic() + 3 * LIMIT_MS / 1000
    while time.monotonic() < end:
        pass


class Unspeakable(Exception):
    """An error that is never done with its words."""

    def __str__(self) -> str:
        endless()
        return ""


def test_words_of_an_error_that_do_not_end_are_ended() -> None:
    def handler() -> None:
        raise Unspeakable

    with pytest.raises(HandlerFailed, match=r"Unspeakable: \(an error that cannot"):
        run(handler)


class Never(msgspec.Struct):
    """A body whose judgement never ends."""

    name: Annotated[str, msgspec.Meta(pattern="^(a+)+$")]


@pytest.mark.parametrize(
    "plan",
    [
        Plan(msgspec.json.Decoder(Never), False, None, None, False, None, None),
        Plan(None, False, Never, None, False, None, None),
        Plan(None, False, None, Never, False, None, None),
    ],
    ids=["body", "query", "path"],
)
def test_types_of_an_application_that_do_not_end_are_ended(plan: Plan) -> None:
    text = "a" * 60 + "!"
    request = Request("POST", f"/app/x?name={text}", {}, b'{"name":"%b"}' % text.encode())
    tx = Store(2).tx()
    endpoint = Endpoint(verb="POST", path="/x", execute=lambda _: None)
    ctx = Context(request, Session(1, "test"), tx, cast("Services", None), endpoint)
    ctx.params = {"name": text}
    with pytest.raises(HandlerFailed, match="TookTooLong"):
        executor(endless, plan, lambda _: None)(ctx)
