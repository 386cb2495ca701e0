"""`python -m fuzz TARGET…`: give a reader bytes for as long as wanted, and watch what it does.

With atheris the bytes follow what the code does with them (coverage); where it is not installed, or
for targets in C, sound samples are damaged at random. Anything but the documented errors ends the
run and the input is kept, as does an input that takes longer than `INPUT_S_MAX` or a process that
grows beyond `MEMORY_MB_MAX`. Each target runs in a process of its own and its figures are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path

INPUT_S_MAX = 10
MEMORY_MB_MAX = 1500
INPUT_SIZE_MAX = 4096
REPORT_PREFIX = "fuzzed "


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="names; default: the ways in of clients")
    parser.add_argument("--seconds", type=int, default=600, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.inside:
        (name,) = wanted.targets
        return run_here(name, wanted.seconds, wanted.corpus / name, wanted.plain)
    from fuzz.targets import ALL, MAIN

    if wanted.list:
        print("\n".join(sorted(ALL)))
        return 0
    names = wanted.targets or [target.name for target in MAIN]
    unknown = [name for name in names if name not in ALL]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)} (--list shows them)")
    return max([run_apart(name, wanted) for name in names])


def run_apart(name: str, wanted: argparse.Namespace) -> int:
    """One target in its own process; its summary is the last line it prints."""
    command = [sys.executable, "-m", "fuzz", "--inside", name]
    command += ["--seconds", str(wanted.seconds), "--corpus", str(wanted.corpus)]
    if wanted.plain:
        command.append("--plain")
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    told = [line for line in lines if line.startswith(REPORT_PREFIX)]
    executed = [line for line in lines if "DONE" in line or "pulse" in line or "#" in line]
    if done.returncode == 0:
        print(f"{name}: {time.monotonic() - started:.0f} s, no failure. {(told or executed)[-1:]}")
        return 0
    print(f"{name}: FAILED after {time.monotonic() - started:.0f} s")
    at = next((i for i, line in enumerate(lines) if "and failed" in line), -40)
    print("\n".join(lines[at:][:60]))
    return 1


def run_here(name: str, seconds: int, corpus: Path, plain: bool) -> int:
    corpus.mkdir(parents=True, exist_ok=True)
    faulthandler.dump_traceback_later(seconds + 120, exit=True)
    atheris = None
    if not plain:
        try:
            import atheris
        except ImportError:
            print("atheris is not installed: damaging samples at random", file=sys.stderr)
    if atheris is None:
        return run_plain(name, seconds, corpus)
    with atheris.instrument_imports(include=["pyccf", "h2", "hpack", "hyperframe"]):
        from fuzz.targets import ALL
    target = ALL[name]
    for number, sample in enumerate(target.samples()):
        (corpus / f"sample{number}").write_bytes(sample)
    count = 0
    started = time.monotonic()

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % 500 == 0 and time.monotonic() - started > seconds:
            report(name, count, started, corpus)
            # Without the interpreter's own end, which libFuzzer's threads do not survive.
            os._exit(0)
        try:
            target.run(data)
        except target.errors:
            return
        except BaseException:
            # Ends the process before anything else is printed.
            print(REPORT_PREFIX + "and failed: " + traceback.format_exc(), flush=True)
            raise

    options = [
        sys.argv[0],
        f"-max_total_time={seconds + 60}",
        f"-timeout={INPUT_S_MAX}",
        f"-rss_limit_mb={MEMORY_MB_MAX}",
        f"-max_len={INPUT_SIZE_MAX}",
        f"-artifact_prefix={corpus.parent}/failed-{name}-",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(options, one)
    atheris.Fuzz()
    return 0


def run_plain(name: str, seconds: int, corpus: Path) -> int:
    """Damage at random: for targets whose code cannot be watched."""
    from fuzz.targets import ALL

    target = ALL[name]
    samples = list(target.samples())
    chance = random.Random(name)
    started = time.monotonic()
    count = 0
    while time.monotonic() - started < seconds:
        data = damage(chance.choice(samples), chance)
        began = time.monotonic()
        try:
            with contextlib.suppress(*target.errors):
                target.run(data)
        except BaseException:
            kept = corpus.parent / f"failed-{name}"
            kept.write_bytes(data)
            print(f"input kept in {kept}", file=sys.stderr)
            raise
        took = time.monotonic() - began
        assert took < INPUT_S_MAX, f"{took:.1f} s for {data!r}"
        assert memory_mb() < MEMORY_MB_MAX
        count += 1
    report(name, count, started, corpus)
    return 0


def damage(data: bytes, chance: random.Random) -> bytes:
    """One to four accidents."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(0, 40))
        data = chance.choice(
            (
                data[:at] + chance.randbytes(chance.randint(0, 12)) + data[at + 1 :],
                data[:at] + data[end:],
                data[:at] + data[at:end] * 2 + data[end:],
                data[:at] + chance.choice((b"\0" * 8, b"\xff" * 8)) + data[end:],
                data[:at],
            )
        )
    return data[:INPUT_SIZE_MAX]


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(name: str, count: int, started: float, corpus: Path) -> None:
    seconds = time.monotonic() - started
    figures = {
        "target": name,
        "inputs": count,
        "per_second": round(count / max(seconds, 1e-9)),
        "memory_mb": round(memory_mb()),
        "corpus": sum(1 for _ in corpus.iterdir()),
    }
    print(REPORT_PREFIX + json.dumps(figures), flush=True)


if __name__ == "__main__":
    sys.exit(main())
