"""`python -m replay [DIRECTORY]`: replay recordings and print what was equal."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from replay import play
from replay.report import FileResult, share, table
from support.vectors import find_vectors

DETAIL = 1200


def main() -> int:
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument(
        "directory", nargs="?", type=Path, help="transcripts (*.jsonl) or a folder holding them"
    )
    parser.add_argument("--only", nargs="*", default=[], help="files to report, by name")
    parser.add_argument("--verbose", action="store_true", help="tell every unlisted difference")
    parser.add_argument("--least", type=float, default=97.0, help="percentage that must be equal")
    parser.add_argument("--keep", type=Path, help="keep the nodes' folders here")
    options = parser.parse_args()
    given = options.directory or find_vectors()
    if given is None or not given.is_dir():
        parser.error("no recordings: name their directory, or set PYCCF_VECTORS")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="replay-"))
    started = time.monotonic()
    results: list[FileResult] = []
    try:
        for result in play.everything(given, folder, set(options.only)):
            results.append(result)
            tell(result, options.verbose)
    except Exception:
        traceback.print_exc()
        return 2
    finally:
        print(table(results))
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if results and 100 * share(results) >= options.least else 1


def tell(result: FileResult, verbose: bool) -> None:
    print(
        f"{result.name}: {result.count('equal')} equal, {result.count('listed')} listed,"
        f" {result.count('unlisted')} unlisted, {result.left_out} not played",
        flush=True,
    )
    for one in result.outcomes:
        if verbose and one.kind == "unlisted":
            print(f"  {one.name}")
            for difference in one.differences:
                print(f"      {difference[:DETAIL]}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
