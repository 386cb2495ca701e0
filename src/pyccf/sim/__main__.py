"""The simulator as a program.

    python -m pyccf.sim run --seeds N --steps M [--seed S] [--nodes K] [--theme T] [--bug NAME]
                            [--keep ACTS] [--transcript FILE] [--no-shrink] [--go-on]
    python -m pyccf.sim scenario FILE...
    python -m pyccf.sim bugs
    python -m pyccf.sim drill --seeds N [--seed S]

`run` plays N schedules of M acts each, from seed S on (a fresh one if none is given), `drill` has
everything die and come back from what is left, a few times for each of N seeds. Exit status 0: no
rule was violated; 1: one was, and the line to replay it is printed; 2: the arguments are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from pyccf.sim import drill, explore, scenario
from pyccf.sim.bugs import BUGS
from pyccf.sim.explore import Figures, Outcome
from pyccf.sim.schedule import THEMES, Schedule, generate

SEEDS = 100
STEPS = 100
PROGRESS_SECONDS = 10.0


def main(arguments: list[str]) -> int:
    """Run the simulator; the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "scenario":
        return scenario.main(options.files)
    if options.command == "bugs":
        for name, bug in BUGS.items():
            print(f"{name:40} {bug.about}")
        return 0
    if options.command == "drill":
        return _drill(options)
    return _run(options)


def _drill(options: argparse.Namespace) -> int:
    first = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    total = drill.DrillFigures()
    failed = 0
    began = said = time.monotonic()
    print(f"drills {first} to {first + options.seeds - 1}", flush=True)
    for seed in range(first, first + options.seeds):
        try:
            total.add(drill.run(seed))
        except drill.Lost as e:
            failed += 1
            print(f"drill {seed}: {e}")
            print(f"replay: python -m pyccf.sim drill --seeds 1 --seed {seed}", flush=True)
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"  {_drilled(total, said - began)}", flush=True)
    print(_drilled(total, time.monotonic() - began))
    print(f"{failed} failed" if failed else "no rule was violated")
    return 1 if failed else 0


def _drilled(total: drill.DrillFigures, seconds: float) -> str:
    return (
        f"{total.drills} drills in {seconds:.0f} s: {total.lives} recoveries of"
        f" {total.entries} entries, {total.cut_short} of them interrupted by the next disaster,"
        f" {total.joined} nodes joined meanwhile and {total.joined_late} later,"
        f" {total.successions} primaries died before the opening; {total.files} files,"
        f" {total.files_lost} lost, {total.files_hurt} torn or damaged;"
        f" {total.snapshots} snapshots, {total.snapshots_lost} lost,"
        f" {total.snapshots_hurt} torn or damaged;"
        f" {total.from_snapshots} recoveries from one, {total.without_beginning} of them without"
        f" the ledger before it, {total.of_earlier_service} from one of an earlier service;"
        f" {total.nothing_lost} disasters without loss,"
        f" {total.unrecoverable} before which no shares were left"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pyccf.sim", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="explore schedules made from seeds")
    run.add_argument("--seeds", type=int, default=SEEDS, help="how many schedules")
    run.add_argument("--steps", type=int, default=STEPS, help="acts of each schedule")
    run.add_argument("--seed", type=int, help="the first seed; a fresh one if not given")
    run.add_argument("--nodes", type=int, help="nodes at the beginning; else the seed decides")
    run.add_argument("--theme", choices=sorted(THEMES), help="else the seed decides")
    run.add_argument("--bug", choices=sorted(BUGS), help="a protocol bug to switch on")
    run.add_argument("--keep", type=explore.parse_ranges, help="only these acts, such as 3,7-9")
    run.add_argument("--transcript", type=Path, help="draw the (first failing) run into this file")
    run.add_argument("--no-shrink", action="store_true", help="leave a failing schedule as it is")
    run.add_argument("--go-on", action="store_true", help="do not stop at a failing schedule")
    files = commands.add_parser("scenario", help="play scenario files against the engine")
    files.add_argument("files", nargs="+")
    drills = commands.add_parser("drill", help="kill everything, lose files, recover, repeat")
    drills.add_argument("--seeds", type=int, default=SEEDS, help="how many drills")
    drills.add_argument("--seed", type=int, help="the first seed; a fresh one if not given")
    commands.add_parser("bugs", help="list the protocol bugs that can be switched on")
    return parser


def _run(options: argparse.Namespace) -> int:
    first = options.seed if options.seed is not None else int.from_bytes(os.urandom(4), "big")
    total = Figures()
    failed = 0
    began = said = time.monotonic()
    print(f"seeds {first} to {first + options.seeds - 1}, {options.steps} acts each", flush=True)
    with BUGS[options.bug].on() if options.bug else nullcontext():
        for seed in range(first, first + options.seeds):
            schedule = generate(seed, options.steps, options.nodes, options.theme)
            if options.keep is not None:
                schedule = schedule.only(options.keep)
            drawn = options.transcript is not None and options.seeds == 1
            outcome, simulation = explore.run(schedule, drawn=drawn)
            total.add(outcome.figures)
            if outcome.violation is not None:
                failed += 1
                _explain(options, seed, schedule, outcome)
                if not options.go_on:
                    break
            elif simulation.transcript is not None:
                options.transcript.write_text(simulation.transcript.text())
            if time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                print(f"  {summary(total, said - began)}", flush=True)
    print(summary(total, time.monotonic() - began))
    print(f"{failed} failed" if failed else "no rule was violated")
    return 1 if failed else 0


def _explain(options: argparse.Namespace, seed: int, schedule: Schedule, outcome: Outcome) -> None:
    """Say what is wrong, how to see it again, and with how little."""
    assert outcome.violation is not None
    print(f"seed {seed} ({schedule.theme}, {schedule.setup.nodes} nodes): {outcome.violation}")
    if outcome.where:
        print(outcome.where)
    print(f"replay: {replay_line(options, seed, options.keep)}", flush=True)
    keep: list[int] | None = options.keep
    if not options.no_shrink and keep is None:
        keep = explore.shrink(schedule, outcome.violation.rule)
        print(f"shrunk to {len(keep)} of {len(schedule.acts)} acts:")
        print(f"replay: {replay_line(options, seed, keep)}", flush=True)
    if options.transcript is not None:
        small = schedule if keep is None or keep is options.keep else schedule.only(keep)
        simulation = explore.run(small, drawn=True)[1]
        assert simulation.transcript is not None
        options.transcript.write_text(simulation.transcript.text())
        print(f"drawn in {options.transcript}")


def replay_line(options: argparse.Namespace, seed: int, keep: list[int] | None) -> str:
    """The one line that plays a run again."""
    words = ["python -m pyccf.sim run --seeds 1", f"--seed {seed}", f"--steps {options.steps}"]
    if options.nodes is not None:
        words.append(f"--nodes {options.nodes}")
    if options.theme is not None:
        words.append(f"--theme {options.theme}")
    if options.bug is not None:
        words.append(f"--bug {options.bug}")
    if keep is not None:
        words.append(f"--keep {explore.ranges(keep)}")
    return " ".join(words)


def summary(total: Figures, seconds: float) -> str:
    """Figures in one line."""
    rate = total.schedules / seconds if seconds else 0.0
    return (
        f"{total.schedules} schedules in {seconds:.0f} s ({rate:.1f}/s): {total.acts} acts,"
        f" {total.steps} steps, {total.virtual_ms // 1000} s of virtual time, {total.nodes} nodes,"
        f" {total.elections} elections, {total.reconfigurations} reconfigurations,"
        f" {total.commits} entries committed, {total.committed_writes} of {total.writes} writes,"
        f" {total.messages} messages, {total.lost} lost; recovery not judged in {total.unjudged}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
