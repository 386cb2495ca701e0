"""pyccf.client.retry: which refusals mean that nothing was done, and pauses that grow."""

from __future__ import annotations

import pytest

from pyccf.client.retry import POLL_FIRST_S, POLL_LAST_S, Pause, may_try_again


@pytest.mark.parametrize(
    ("status", "code", "message", "executed", "again"),
    [
        (503, "TooManyPendingTransactions", "", False, True),
        (503, "SessionCapExhausted", "", False, True),
        (503, "BackupNotFound", "", False, True),
        (503, "BackupNotFound", "", True, False),
        (500, "BackupNotFound", "", False, False),
        (503, "HTTP503", "", False, False),
        (
            503,
            "InternalError",
            "Unable to establish channel to forward to primary.",
            False,
            True,
        ),
        (503, "InternalError", "an application's own", False, False),
    ],
)
def test_what_may_be_sent_again(
    status: int, code: str, message: str, executed: bool, again: bool
) -> None:
    assert may_try_again(status, code, message, executed) is again


def test_pauses_grow_and_end_in_time() -> None:
    clock = [10.0]
    waits: list[float] = []
    pause = Pause(lambda: clock[0], 1.0)
    while (seconds := pause.next_s()) is not None:
        waits.append(seconds)
        clock[0] += seconds
        assert clock[0] <= 11.0 + 1e-9
    assert waits[0] == POLL_FIRST_S
    assert max(waits) == POLL_LAST_S
    assert sum(waits) == pytest.approx(1.0)
    assert Pause(lambda: 0.0, 0.0).next_s() is None
