"""JavaScript probes: what `tests/vectors/test_js_probes.py` compares, counted.

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
MODULES = ("vectors/test_js_probes.py", "vectors/test_js_auth_probes.py")
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
        env={**os.environ, "PYCCF_VECTORS": str(vectors)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    found = _TALLY.findall(done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    rest = {path.stem: len(path.read_text("utf-8").splitlines()) for path in _files(vectors)}
    for name, *counts in found:
        if _file(name) in rest:
            rest[_file(name)] -= sum(map(int, counts))
    return [
        FileResult(
            f"js/{name}",
            [
                *(Outcome("", [], None) for _ in range(int(same))),
                *(Outcome("", ["body"], LISTED) for _ in range(int(listed))),
                *(Outcome("", ["body"], None) for _ in range(int(wrong))),
            ],
            # Of a file in several parts, the first tells what is left.
            rest.pop(_file(name), 0),
        )
        for name, same, listed, wrong in found
    ]


def _file(name: str) -> str:
    """The file of a tally: `modules.source` is a part of `modules`."""
    return name.partition(".")[0]


def _files(vectors: Path) -> list[Path]:
    return sorted((vectors / "ccf" / "js").glob("*.jsonl"))
