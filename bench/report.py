"""The report: what was measured, where, and how it stands to what is to be reached."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from pathlib import Path

import msgspec

import pyccf
from bench.governance import FEW, LISTING, MEMBERS, PROPOSALS, Operation
from bench.history import QUERIES, RANGE, Cost, History
from bench.http import Http
from bench.load import Figure
from bench.parts import Growth, LedgerCost, Plan
from bench.servers import ROOT

WRITE_OF_ECHO = 0.60
READ_OF_ECHO = 0.65
NATIVE_WRITES = {"32": 15_800, "64": 21_900}
"""JavaScript writes in a second that the C++ CCF reached on the development machine."""
WRITES_AIM = 30_000
P99_MS = 15.0
GOVERNANCE_KEPT = 0.5
GROWTH_KEPT = 0.85
BYTES_PER_KEY = 600
VERIFIED_PER_S = 20_000
FLAT_BYTES = 32 * 1024 * 1024
"""Memory that verifying a longer ledger may take besides."""
QUIET = 0.10
"""Share of a core that others may use before figures are called disturbed."""

MIB = 1024 * 1024


class Machine(msgspec.Struct, frozen=True):
    """Where it was measured."""

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    openssl: str
    pyccf: str
    commit: str


class Goal(msgspec.Struct, frozen=True):
    """Something to be reached, and what was measured."""

    what: str
    wanted: float
    measured: float
    reached: bool


class Results(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run, as written to `results/`."""

    date: str
    machine: Machine
    plan: Plan
    load: dict[str, list[Figure]] | None = None
    auth: dict[str, list[Figure]] | None = None
    http: Http | None = None
    growth: list[Growth] | None = None
    ledger: LedgerCost | None = None
    governance: list[Operation] | None = None
    history: list[History] | None = None
    stages: dict[str, dict[str, float]] | None = None
    goals: list[Goal] = []


def machine() -> Machine:
    """This machine, this interpreter, this checkout."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return Machine(
        processor=models[0] if models else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        openssl=ssl.OPENSSL_VERSION,
        pyccf=pyccf.__version__,
        commit=_commit(),
    )


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def goals(results: Results) -> list[Goal]:
    """What is to be reached, as far as it was measured."""
    found = []

    def least(what: str, wanted: float, measured: float) -> None:
        found.append(Goal(what, wanted, round(measured, 3), measured >= wanted))

    def most(what: str, wanted: float, measured: float) -> None:
        found.append(Goal(what, wanted, round(measured, 3), measured <= wanted))

    for connections, figures in (results.load or {}).items():
        by_name = {figure.target: figure for figure in figures}
        at = f"at {connections} connections"
        write, read = by_name["js write"], by_name["js read"]
        least(f"JS write, of echo, {at}", WRITE_OF_ECHO, write.rate / by_name["echo write"].rate)
        least(f"JS read, of echo, {at}", READ_OF_ECHO, read.rate / by_name["echo read"].rate)
        if connections in NATIVE_WRITES:
            least(f"JS writes/s of the C++ CCF, {at}", NATIVE_WRITES[connections], write.rate)
        least(f"JS writes/s aimed at, {at}", WRITES_AIM, write.rate)
        for figure in figures:
            if not figure.target.startswith("echo"):
                most(f"p99 in ms of {figure.target}, {at}", P99_MS, figure.p99_ms)
        errors = sum(figure.errors for figure in figures)
        most(f"errors {at}", 0, errors)
    if results.growth:
        first, last = results.growth[0], results.growth[-1]
        span = f"{last.keys} keys against {first.keys}"
        least(f"JS write rate, {span}", GROWTH_KEPT, last.write.rate / first.write.rate)
        least(f"JS read rate, {span}", GROWTH_KEPT, last.read.rate / first.read.rate)
        most(f"bytes per key at {last.keys} keys", BYTES_PER_KEY, last.bytes_per_key)
    if results.ledger:
        part, whole = results.ledger.part, results.ledger.whole
        least("entries/s of ledger verify", VERIFIED_PER_S, whole.entries_per_s)
        more = whole.memory_peak_bytes - part.memory_peak_bytes
        most(
            f"MiB more for {whole.entries} entries than for {part.entries}",
            FLAT_BYTES / MIB,
            more / MIB,
        )
    for kind in results.governance or ():
        if kind.name != LISTING:
            what = f"{kind.name}, {PROPOSALS} proposals against {FEW}"
            least(what, GOVERNANCE_KEPT, kind.many / kind.few)
    return found


def text(results: Results) -> str:
    """The report for a person."""
    where = results.machine
    plan = results.plan
    lines = [
        f"pyccf {where.pyccf} ({where.commit}), {results.date}",
        f"{where.processor}, {where.cores} cores, {where.memory_bytes / MIB / 1024:.0f} GiB;"
        f" {where.system}; Python {where.python}; {where.openssl}",
        f"Medians of {plan.rounds} rounds of {plan.seconds} s each, load from wrk over TLS.",
    ]
    for connections, figures in (results.load or {}).items():
        echo = {f.target.rpartition(" ")[2]: f for f in figures if f.target.startswith("echo")}
        lines += ["", f"Load, {connections} connections", _head("of echo")]
        for figure in figures:
            share = figure.rate / echo[figure.target.rpartition(" ")[2]].rate
            lines.append(_row(figure.target, figure, f"{share:.2f}"))
    for connections, figures in (results.auth or {}).items():
        lines += ["", f"Writes by authentication, {connections} connections", _head("of none")]
        for figure in figures:
            lines.append(_row(figure.target, figure, f"{figure.rate / figures[0].rate:.2f}"))
    if results.http:
        lines += ["", "HTTP: a bare echo under h2load"]
        for rate in results.http.rates:
            lines.append(
                f"  {rate.protocol:<9} {rate.clients:>4} connections of {rate.streams:>2} at once"
                f" {rate.rate:>9.0f} req/s {rate.cpu_us:>8.2f} CPU µs  failed {rate.failed}"
            )
        for held in results.http.memory:
            lines.append(
                f"  {held.protocol:<9} {held.connections:>4} {held.state} connections:"
                f" {held.bytes_each / 1024:.1f} KiB each, failed {held.failed}"
            )
    if results.growth:
        lines += ["", f"Growth, {plan.connections[0]} connections", _head("B/key")]
        for size in results.growth:
            for figure in (size.write, size.read):
                lines.append(_row(figure.target, figure, f"{size.bytes_per_key:.0f}"))
    if results.ledger:
        lines += ["", "Ledger verify"]
        for verified in (results.ledger.part, results.ledger.whole):
            lines.append(
                f"  {verified.entries:>9} entries {verified.entries_per_s:>10.0f} entries/s"
                f" {verified.cpu_us_per_entry:>7.2f} CPU µs/entry"
                f" {verified.memory_peak_bytes / MIB:>7.0f} MiB peak"
            )
    for past in results.history or ():
        lines += ["", *_past(past)]
    if results.governance:
        lines += ["", f"Governance, {MEMBERS} members: operations per second of one core"]
        lines.append(f"  {'proposals kept':<24}{FEW:>10}{PROPOSALS:>10}")
        for kind in results.governance:
            lines.append(f"  {kind.name:<24}{kind.few:>10.0f}{kind.many:>10.0f}")
    if results.stages:
        lines += ["", "Processor time by stage, µs per request"]
        for name, figures_ in results.stages.items():
            lines.append(f"  {name}")
            shown = [f"{key} {value:.2f}" for key, value in figures_.items()]
            lines += ["    " + "  ".join(shown[:7]), "    " + "  ".join(shown[7:])]
    if results.goals:
        lines += ["", "To reach"]
        for goal in results.goals:
            mark = "reached" if goal.reached else "NOT reached"
            lines.append(f"  {goal.what}: {goal.measured:g} (wanted {goal.wanted:g}) {mark}")
    disturbed = _disturbed(results)
    if disturbed:
        lines += [
            "",
            f"Others used up to {disturbed:.2f} of a core meanwhile: rates are too low.",
        ]
    return "\n".join(lines)


def _disturbed(results: Results) -> float:
    loads = [*(results.load or {}).values(), *(results.auth or {}).values()]
    shares = [f.others_share for figures in loads for f in figures]
    shares += [f.others_share for size in results.growth or () for f in (size.write, size.read)]
    worst = max(shares, default=0.0)
    return worst if worst > QUIET else 0.0


def _head(extra: str) -> str:
    return (
        f"  {'':<18}{'req/s':>9}{extra:>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
        f"{'CPU µs':>9}{'core':>7}{'others':>8}{'errors':>8}"
    )


def _row(name: str, figure: Figure, extra: str) -> str:
    return (
        f"  {name:<18}{figure.rate:>9.0f}{extra:>9}{figure.p50_ms:>9.2f}{figure.p95_ms:>9.2f}"
        f"{figure.p99_ms:>9.2f}{figure.cpu_us:>9.2f}{figure.cpu_share:>7.2f}"
        f"{figure.others_share:>8.2f}{figure.errors:>8}"
    )


def _past(past: History) -> list[str]:
    """Historical queries and an index over one ledger."""
    title = (
        f"History, ms of processor time ({past.entries} entries, signed every"
        f" {past.signed_every}; {QUERIES} receipts)"
    )
    lines = [title, f"{'':24}{'p50':>10}{'p95':>10}"]
    rows: tuple[tuple[str, Cost], ...] = (
        ("receipt, cold", past.receipt_cold),
        ("receipt, warm", past.receipt_warm),
        (f"{RANGE} transactions, cold", past.range_cold),
        (f"{RANGE} transactions, warm", past.range_warm),
    )
    lines += [f"{name:24}{cost.p50:>10.3f}{cost.p95:>10.3f}" for name, cost in rows]
    return [*lines, f"{'indexed entries/s':24}{past.indexed_per_s:>10.0f}"]
