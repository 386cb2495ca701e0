"""`python -m bench.ledger DIR [UNTIL]`: verify a ledger in a process of its own, and say its cost.

Prints one line of JSON: entries, seconds, entries per second and the peak of the memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from pyccf.audit.verify import verify
from pyccf.types import SeqNo


def measure(directory: str, until: int | None) -> dict[str, float]:
    """Verify up to the first signature at or after `until`. Raises RuntimeError if it is bad."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    report = verify(directory, until=None if until is None else SeqNo(until))
    took = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    if report.error is not None:
        raise RuntimeError(f"{report.error}")
    return {
        "entries": report.entries,
        "bytes": report.bytes,
        "signatures": report.signatures,
        "seconds": round(took, 3),
        "entries_per_s": round(report.entries / took, 1),
        "cpu_us_per_entry": round(1e6 * (_cpu(after) - _cpu(before)) / report.entries, 2),
        "memory_before_bytes": before.ru_maxrss * 1024,
        "memory_peak_bytes": after.ru_maxrss * 1024,
    }


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)))
