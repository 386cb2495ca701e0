"""Load from wrk: one short run against one server, with what it cost that server.

wrk drives all connections from one thread, so that on two cores it has one and the server the
other. Needs wrk on PATH (`apt-get install wrk`); refuses to run without.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.servers import Server, machine_cpu_s

RECORDS = Path(__file__).with_name("records.lua")
REQUESTS = Path(__file__).with_name("requests.lua")
WRK_MARGIN_S = 30
WARM_UP_S = 1


class WrkMissing(Exception):
    """There is no wrk to make load with."""

    def __str__(self) -> str:
        return "wrk is not installed: apt-get install wrk"


class Target(msgspec.Struct, frozen=True):
    """One kind of request to one server."""

    name: str
    server: Server
    kind: str
    """write or read"""
    path: str
    keys: int
    requests: Path | None = None
    """File of whole requests, for `requests.lua`; None: records, for `records.lua`."""

    def warm_up(self, connections: int) -> None:
        """Requests that are not counted."""
        wrk(self, connections, WARM_UP_S)


class Errors(msgspec.Struct, frozen=True):
    """What went wrong, by kind, as wrk counts it."""

    connect: int
    read: int
    write: int
    status: int
    timeout: int

    @property
    def total(self) -> int:
        return self.connect + self.read + self.write + self.status + self.timeout


class Counted(msgspec.Struct, frozen=True):
    """What wrk says at the end of a run."""

    requests: int
    duration_us: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int
    errors: Errors


class Round(msgspec.Struct, frozen=True):
    """One run: rate, latencies, and the processor time of the server."""

    rate: float
    """Requests answered in a second."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    cpu_us: float
    """Processor time of the server per request."""
    cpu_share: float
    """Part of one core that the server used: well below 1, the load was not enough."""
    others_share: float
    """Part of one core that neither the server nor wrk used: the machine was not ours alone."""
    errors: int


class Figure(msgspec.Struct, frozen=True):
    """Medians over the rounds of one target, and the rounds themselves."""

    target: str
    connections: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: float
    cpu_share: float
    others_share: float
    errors: int
    rounds: list[Round]


def wrk(target: Target, connections: int, seconds: int) -> Counted:
    """Run wrk once. Raises WrkMissing, and RuntimeError with its words if it fails."""
    program = shutil.which("wrk")
    if program is None:
        raise WrkMissing
    script, arguments = RECORDS, [target.kind, target.path, str(target.keys)]
    if target.requests is not None:
        script, arguments = REQUESTS, [str(target.requests)]
    command = [
        *(program, "--threads", "1", "--connections", str(connections)),
        *("--duration", f"{seconds}s", "--latency", "--timeout", "5s"),
        *("--script", str(script), target.server.url),
        *("--", *arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + WRK_MARGIN_S)
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode != 0 or not last.startswith("{"):
        raise RuntimeError(f"wrk failed ({done.returncode}): {done.stdout}{done.stderr}")
    return msgspec.json.decode(last, type=Counted)


def one_round(target: Target, connections: int, seconds: int) -> Round:
    """One measured run."""
    before, ours_before, all_before = target.server.cpu_s(), _children_s(), machine_cpu_s()
    counted = wrk(target, connections, seconds)
    used = target.server.cpu_s() - before
    others = machine_cpu_s() - all_before - (_children_s() - ours_before) - used
    requests = max(counted.requests, 1)
    took_s = counted.duration_us / 1e6
    return Round(
        rate=round(counted.requests / took_s, 1),
        p50_ms=counted.p50_us / 1000,
        p95_ms=counted.p95_us / 1000,
        p99_ms=counted.p99_us / 1000,
        max_ms=counted.max_us / 1000,
        cpu_us=round(1e6 * used / requests, 2),
        cpu_share=round(used / took_s, 3),
        others_share=round(max(others, 0.0) / took_s, 3),
        errors=counted.errors.total,
    )


def _children_s() -> float:
    """Processor time of the children that have ended, such as wrk."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def summary(target: str, connections: int, rounds: list[Round]) -> Figure:
    """Medians of rounds; errors are added up."""

    def median(name: str) -> float:
        values: list[float] = [getattr(r, name) for r in rounds]
        return round(statistics.median(values), 3)

    return Figure(
        target=target,
        connections=connections,
        rate=median("rate"),
        p50_ms=median("p50_ms"),
        p95_ms=median("p95_ms"),
        p99_ms=median("p99_ms"),
        cpu_us=median("cpu_us"),
        cpu_share=median("cpu_share"),
        others_share=median("others_share"),
        errors=sum(r.errors for r in rounds),
        rounds=rounds,
    )


def alternate(
    targets: Sequence[Target], connections: int, seconds: int, rounds: int
) -> dict[str, Figure]:
    """Measure all targets in turn, every other time backwards, so that no drift favours one."""
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for target in targets:
        target.warm_up(connections)
    for number in range(rounds):
        for target in targets if number % 2 == 0 else reversed(targets):
            found[target.name].append(one_round(target, connections, seconds))
    return {name: summary(name, connections, made) for name, made in found.items()}
