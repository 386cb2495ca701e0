"""JavaScript probes: what `tests/vectors/test_js_*probes.py` compare, counted.

Every probe runs in our engine over a store of its own, as that module does it for the tests; here
the directory may be another one, and what differs is counted instead of ending the run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from replay.report import FileResult, Outcome

TIMEOUT_S = 900
MODULES = (
    "vectors/test_js_probes.py",
    "vectors/test_js_auth_probes.py",
    "vectors/test_js_service_probes.py",
)
CRASHES = "crashes"
"""What ends or blocks the original, which answers nothing there."""
SLOW = "PYCCF_SLOW_PROBES"
"""Tells the tests to play those that wait for the real time limits, too."""
_TALLY = re.compile(
    r"^[.FsE]*?((?:\w+\.)?[a-z_]+): (\d+) same, (\d+) listed, (\d+) wrong", re.MULTILINE
)
LISTED = "listed in tests/vectors/test_js_probes.py, with the reason"


def run(vectors: Path) -> list[FileResult]:
    """Run the probes of a directory that holds `ccf/js`."""
    tests = Path(__file__).resolve().parents[1]
    modules = [name for name in MODULES if (tests / name).exists()]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *modules],
        cwd=tests,
        env={**os.environ, "PYCCF_VECTORS": str(vectors), SLOW: "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    found = _TALLY.findall(done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    rest = {path.stem: len(path.read_text("utf-8").splitlines()) for path in _files(vectors)}
    outcomes: dict[str, list[Outcome]] = {}
    for name, same, listed, wrong in found:
        # `modules.source` is a part of `modules`.
        outcomes.setdefault(name.partition(".")[0], []).extend(
            [
                *(Outcome("", [], None) for _ in range(int(same))),
                *(Outcome("", ["body"], LISTED) for _ in range(int(listed))),
                *(Outcome("", ["body"], None) for _ in range(int(wrong))),
            ]
        )
    return [
        FileResult(f"js/{name}", outcomes.get(name, []), rest[name] - len(outcomes.get(name, [])))
        for name in rest
        if name != CRASHES
    ]


def _files(vectors: Path) -> list[Path]:
    return sorted((vectors / "ccf" / "js").glob("*.jsonl"))
