"""The parts of a benchmark: what is started, measured, and found out in each.

Every part starts its own servers in a folder that goes away, and stops them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.load import Figure, Target, alternate, wrk
from bench.servers import ROOT, Echo, Service

KEYS = 1000
"""Records that the load writes and reads."""
PATH = "/app/records"
FRESH = "/app/fresh/records"
LEDGER_ENTRIES = 200_000
LEDGER_PART = 20_000
"""How much of the ledger is verified for the comparison of memory."""
LEDGER_CONNECTIONS = 64
LEDGER_ROUNDS_MAX = 60
LEDGER_ROUND_S = 2

Say = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """How long and how much to measure."""

    seconds: int
    rounds: int
    connections: list[int]
    keys: list[int]
    ledger_entries: int


class Growth(msgspec.Struct, frozen=True):
    """The same requests with so many keys in the table."""

    keys: int
    bytes_per_key: float
    write: Figure
    read: Figure


class Verified(msgspec.Struct, frozen=True):
    """What `bench.ledger` printed."""

    entries: int
    bytes: int
    signatures: int
    seconds: float
    entries_per_s: float
    cpu_us_per_entry: float
    memory_before_bytes: int
    memory_peak_bytes: int


class LedgerCost(msgspec.Struct, frozen=True):
    """Verification of the first part of a ledger, and of the whole."""

    part: Verified
    whole: Verified


def load(plan: Plan, say: Say) -> dict[str, list[Figure]]:
    """Echo, JavaScript and Python, writes and reads, by number of connections."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        echo = stack.enter_context(Echo())
        js = stack.enter_context(Service("app-js", folder / "js"))
        python = stack.enter_context(Service("app-py", folder / "py"))
        js.fill(KEYS)
        python.fill(KEYS)
        targets = [
            Target(f"{name} {kind}", server, kind, path, KEYS)
            for name, server, path in (
                ("echo", echo, PATH),
                ("js", js, PATH),
                ("js fresh", js, FRESH),
                ("python", python, PATH),
            )
            for kind in ("write", "read")
        ]
        found = {}
        for connections in plan.connections:
            say(f"load: {connections} connections …")
            figures = alternate(targets, connections, plan.seconds, plan.rounds)
            found[str(connections)] = list(figures.values())
        return found


def auth(plan: Plan, say: Say) -> dict[str, list[Figure]]:
    """The same write behind each way of telling who calls, by number of connections."""
    # Needed here alone: it makes keys and signs.
    from bench import callers

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        service = stack.enter_context(Service("app-auth", folder / "auth"))
        targets = callers.targets(service, folder)
        found = {}
        for connections in plan.connections:
            say(f"auth: {connections} connections …")
            figures = alternate(targets, connections, plan.seconds, plan.rounds)
            found[str(connections)] = list(figures.values())
        return found


def growth(plan: Plan, say: Say) -> list[Growth]:
    """Services whose tables have ever more keys, measured in turn."""
    connections = plan.connections[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets, memory = [], {}
        for keys in plan.keys:
            say(f"growth: filling {keys} keys …")
            service = stack.enter_context(Service("app-js", folder / str(keys)))
            service.fill(1)
            before = service.rss_bytes()
            service.fill(keys)
            memory[keys] = (service.rss_bytes() - before) / keys
            for kind in ("write", "read"):
                targets.append(Target(f"{keys} {kind}", service, kind, PATH, keys))
        say(f"growth: {connections} connections …")
        figures = alternate(targets, connections, plan.seconds, plan.rounds)
        return [
            Growth(keys, round(memory[keys], 1), figures[f"{keys} write"], figures[f"{keys} read"])
            for keys in plan.keys
        ]


def ledger(plan: Plan, say: Say) -> LedgerCost:
    """Have a service write a ledger, stop it, verify what it left."""
    with tempfile.TemporaryDirectory() as folder:
        say(f"ledger: writing {plan.ledger_entries} entries …")
        with Service("app-js", Path(folder) / "js") as service:
            target = Target("ledger", service, "write", PATH, KEYS)
            with service.client() as client:
                for _ in range(LEDGER_ROUNDS_MAX):
                    if client.last_committed().seqno >= plan.ledger_entries:
                        break
                    wrk(target, LEDGER_CONNECTIONS, LEDGER_ROUND_S)
            directory = service.ledger
        say("ledger: verifying …")
        part = min(LEDGER_PART, plan.ledger_entries // 2)
        return LedgerCost(_verify(directory, part), _verify(directory, None))


def _verify(directory: Path, until: int | None) -> Verified:
    command = [sys.executable, "-m", "bench.ledger", str(directory)]
    command += [] if until is None else [str(until)]
    return msgspec.json.decode(_run(command), type=Verified)


def stages(plan: Plan, say: Say) -> dict[str, dict[str, float]]:
    """Processor time by stage, as `bench.stages` prints it."""
    say("stages …")
    found: dict[str, dict[str, float]] = json.loads(_run([sys.executable, "-m", "bench.stages"]))
    return found


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout
