"""How many files and connections this process may have open, and that clients do not get the last.

A ledger file that cannot be opened ends the node: connections must leave room for it. The system's
usual limit is about what one interface admits.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable

RESERVE = 256
"""Descriptors that no client gets: those of ledger and snapshot files, and of other nodes."""


def for_clients(sessions: int, log: Callable[[str, str], None]) -> int:
    """Have the system allow what so many sessions need; the first descriptor that none may have.

    `log` takes level and text, for when the system does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sessions + RESERVE
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        except (OSError, ValueError, OverflowError):
            pass  # the system has a limit of its own
        else:
            soft = most
    clients = max(soft - RESERVE, soft // 2)
    if clients < sessions:
        log(
            "fail",
            f"This process may have {soft} files open: of the {sessions} sessions that its"
            f" interfaces admit, about {clients} can be. Raise the limit (ulimit -n) to {wanted}.",
        )
    return clients
