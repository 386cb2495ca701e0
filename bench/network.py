"""`python -m bench.network`: four nodes and a load generator on one machine.

Writes to the primary of a network and to a service of one node, in turn; reads from one node and
from all; and a new node that has a long ledger to fetch. Prints a report and writes the figures to
`results/network-<date>.json`. Needs wrk.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench.__main__ import numbers, positive
from bench.load import WrkMissing
from bench.network_nodes import Network, Settings
from bench.network_parts import CatchUp, ReadFigure, WriteFigure, catch_up, reads, writes
from bench.report import QUIET, Goal, Machine, machine
from bench.servers import BENCH

PARTS = ("writes", "reads", "catch-up")

NATIVE_WRITES = {32: 15_000, 128: 23_000}
"""JavaScript writes in a second that four nodes of the C++ CCF reached on the same machine."""
P95_MS = 15.0
WRITES_AIM = 28_000
COMMITTED_P95_MS = 100.0
BACKUP_CPU_US = 10.0
OF_ONE_NODE = 0.70
CATCH_UP_PER_S = 40_000
CATCH_UP_P99_TIMES = 2.0


class Plan(msgspec.Struct, frozen=True):
    """How long and how much to measure."""

    nodes: int
    seconds: int
    rounds: int
    connections: list[int]
    entries: int
    settings: Settings


class Results(msgspec.Struct, frozen=True, omit_defaults=True):
    """One run, as written to `results/`."""

    date: str
    machine: Machine
    plan: Plan
    writes: list[WriteFigure] = []
    reads: list[ReadFigure] = []
    catch_up: CatchUp | None = None
    goals: list[Goal] = []


def arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program when it cannot be understood."""
    parser = argparse.ArgumentParser(prog="python -m bench.network", description=__doc__)
    parser.add_argument("--nodes", type=positive, default=4, help="nodes of the network (4)")
    parser.add_argument("--seconds", type=positive, default=4, help="length of one round (4)")
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of each target (3)")
    parser.add_argument(
        "--connections", type=numbers, default=[32, 64, 128], help="one part each (32,64,128)"
    )
    parser.add_argument("--entries", type=positive, default=1_000_000, help="to catch up (1000000)")
    parser.add_argument(
        "--signature-tx-count", type=positive, default=5000, help="transactions per signature"
    )
    parser.add_argument(
        "--signature-delay-ms", type=positive, default=50, help="time between signatures (50)"
    )
    parser.add_argument(
        "--only", choices=PARTS, action="append", help="measure this part alone (may be repeated)"
    )
    parser.add_argument("--output", type=Path, help="file for the figures")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Measure; the exit code."""
    chosen = arguments(given)
    only = chosen.only or PARTS
    settings = Settings(chosen.signature_tx_count, chosen.signature_delay_ms)
    plan = Plan(
        chosen.nodes, chosen.seconds, chosen.rounds, chosen.connections, chosen.entries, settings
    )
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    try:
        results = measure(plan, only, Results(now.isoformat(), machine(), plan))
    except WrkMissing as error:
        print(error, file=sys.stderr)
        return 1
    results = msgspec.structs.replace(results, goals=goals(results))
    print(text(results))
    path = chosen.output or BENCH / "results" / f"network-{now:%Y-%m-%dT%H%M}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    print(f"\nFigures: {path}")
    return 0


def measure(plan: Plan, only: tuple[str, ...] | list[str], results: Results) -> Results:
    """All parts that are asked for, on services of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        say(f"starting {plan.nodes} nodes …")
        network = stack.enter_context(Network(plan.nodes, plan.settings, folder / "network"))
        write_figures: list[WriteFigure] = []
        read_figures: list[ReadFigure] = []
        caught = None
        if "writes" in only:
            with Network(1, plan.settings, folder / "one") as one:
                for connections in plan.connections:
                    say(f"writes: {connections} connections …")
                    write_figures += writes([one, network], connections, plan.seconds, plan.rounds)
        if "reads" in only:
            for connections in plan.connections:
                say(f"reads: {connections} connections …")
                read_figures.append(reads(network, connections, plan.seconds, plan.rounds))
        if "catch-up" in only:
            caught = catch_up(network, plan.entries, say)
        return msgspec.structs.replace(
            results, writes=write_figures, reads=read_figures, catch_up=caught
        )


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def goals(results: Results) -> list[Goal]:
    """What is to be reached, as far as it was measured."""
    found = []

    def least(what: str, wanted: float, measured: float) -> None:
        found.append(Goal(what, wanted, round(measured, 3), measured >= wanted))

    def most(what: str, wanted: float, measured: float) -> None:
        found.append(Goal(what, wanted, round(measured, 3), measured <= wanted))

    alone = {one.connections: one for one in results.writes if one.nodes == 1}
    for one in results.writes:
        if one.nodes == 1:
            continue
        at = f"at {one.connections} connections"
        if one.connections in NATIVE_WRITES:
            least(
                f"JS writes/s of four C++ nodes, {at}",
                NATIVE_WRITES[one.connections],
                one.answered_rate,
            )
        least(f"JS writes/s aimed at, {at}", WRITES_AIM, one.answered_rate)
        most(f"p95 in ms of answers, {at}", P95_MS, one.p95_ms)
        most(f"p95 in ms of commits, {at}", COMMITTED_P95_MS, one.committed_p95_ms)
        most(f"CPU µs per entry of a backup, {at}", BACKUP_CPU_US, one.backup_cpu_us)
        if one.connections in alone:
            share = one.answered_rate / alone[one.connections].answered_rate
            least(f"of our own one-node rate, {at}", OF_ONE_NODE, share)
        most(f"errors {at}", 0, one.errors)
    if results.catch_up is not None:
        late = results.catch_up
        least("entries/s of catching up", CATCH_UP_PER_S, late.entries_per_s)
        times = late.p99_meanwhile_ms / late.p99_before_ms
        most("write p99 while a node catches up, of before", CATCH_UP_P99_TIMES, times)
    return found


def text(results: Results) -> str:
    """The report for a person."""
    where, plan = results.machine, results.plan
    signed = plan.settings
    lines = [
        f"pyccf {where.pyccf} ({where.commit}), {results.date}",
        f"{where.processor}, {where.cores} cores; {where.system}; Python {where.python}",
        f"{plan.nodes} nodes and wrk on this machine; medians of {plan.rounds} rounds of"
        f" {plan.seconds} s each.",
        f"A signature every {signed.signature_delay_ms} ms or"
        f" {signed.signature_tx_count} transactions.",
    ]
    if results.writes:
        lines += ["", "JS writes to the primary over TLS", _WRITE_HEAD]
        for one in results.writes:
            lines.append(
                f"  {one.nodes:>5}{one.connections:>6}{one.answered_rate:>10.0f}"
                f"{one.committed_rate:>11.0f}{one.p50_ms:>8.2f}{one.p95_ms:>8.2f}{one.p99_ms:>8.2f}"
                f"{one.committed_p50_ms:>9.1f}{one.committed_p95_ms:>8.1f}"
                f"{one.committed_p99_ms:>8.1f}{one.primary_cpu_us:>9.1f}{one.backup_cpu_us:>8.1f}"
                f"{one.primary_share:>6.2f}{one.others_share:>7.2f}{one.errors:>7}"
            )
    for read in results.reads:
        lines += [
            "",
            f"Reads, {read.connections} connections: {read.one_rate:.0f}/s from one backup,"
            f" {read.all_rate:.0f}/s spread over {read.nodes} nodes (p99 {read.all_p99_ms:.2f} ms,"
            f" {read.cpu_us:.1f} CPU µs, {read.errors} errors)",
        ]
    late = results.catch_up
    if late is not None:
        lines += [
            "",
            f"Catching up: {late.entries} entries in {late.seconds:.1f} s,"
            f" {late.entries_per_s:.0f} entries/s; CPU µs per entry: {late.node_cpu_us:.1f} on the"
            f" new node, {late.primary_cpu_us:.1f} on the primary",
            f"  {late.pace_rate:.0f} writes/s of clients: p99 {late.p99_before_ms:.2f} ms before,"
            f" {late.p99_meanwhile_ms:.2f} ms meanwhile ({late.errors} errors)",
        ]
    if results.goals:
        lines += ["", "To reach"]
        for goal in results.goals:
            mark = "reached" if goal.reached else "NOT reached"
            lines.append(f"  {goal.what}: {goal.measured:g} (wanted {goal.wanted:g}) {mark}")
    disturbed = max((one.others_share for one in results.writes), default=0.0)
    if disturbed > QUIET:
        lines += [
            "",
            f"Others used up to {disturbed:.2f} of a core meanwhile: rates are too low.",
        ]
    return "\n".join(lines)


_WRITE_HEAD = (
    "  nodes conns answered committed   p50ms   p95ms   p99ms  com. p50    p95     p99"
    "   primary  backup  core  others errors"
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
