"""How many files and connections this process may have open, and that clients do not get the last.

A ledger file that cannot be opened ends the node: connections must leave room for it, and a node
that died while it compared a long ledger has all the rest of it open when it starts again. What the
system usually allows at first is about what one interface admits, but it may be raised.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

RESERVE = 256
"""Descriptors that no client gets: those of ledger and snapshot files, and of other nodes."""
ENOUGH = 1 << 20
"""Nobody needs more, where the system has no limit."""


def raise_limit() -> None:
    """Have this process allowed as many as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else hard
    if soft == resource.RLIM_INFINITY or soft >= most:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        return  # the system has another limit still; `for_clients` tells if it is too low


def for_clients(sessions: int, log: Callable[[str, str], None]) -> int:
    """The first descriptor that no client may have, where so many sessions are admitted.

    `log` takes level and text, for when the system does not allow as many.
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return sys.maxsize
    clients = max(allowed - RESERVE, allowed // 2)
    if clients < sessions:
        log(
            "fail",
            f"This process may have {allowed} files open: of the {sessions} sessions that its"
            f" interfaces admit, about {clients} can be. Raise the limit (ulimit -n) to"
            f" {sessions + RESERVE}.",
        )
    return clients
