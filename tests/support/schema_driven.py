"""Requests made up from a service's own OpenAPI documents, by schemathesis.

Every answer must be one the document describes, of a described status, type and shape, and no
answer may be a server error. Requests are valid and invalid by turns.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from support import signed_bodies
from support.samples import sample
from support.sandbox import Sandbox

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
DOCUMENTS = {
    "node": "/node/api",
    "gov": "/gov/api",
    "gov 2024-07-01": "/gov/api?api-version=2024-07-01",
    "gov 2023-06-01-preview": "/gov/api?api-version=2023-06-01-preview",
    "app": "/app/api",
}
"""The three documents, and what each version of the governance API says of itself."""


PHASES = "coverage,fuzzing"
_OPERATIONS = re.compile(r"Tested: (\d+)")
_REQUESTS = re.compile(r"([\d,]+) generated")


REQUEST_TIMEOUT_S = 60


class Target(NamedTuple):
    """A live service."""

    url: str
    ca: str
    cert: str
    key: str
    signer_cert: str
    """A member's, for messages that are signed."""
    signer_key: str


class Run(NamedTuple):
    """What came of one document."""

    document: str
    operations: int
    requests: int
    passed: bool
    output: str


def run(
    target: Target, document: str, examples: int, *, seed: int = 1, phases: str = PHASES
) -> Run:
    """Make up to so many requests for each operation of a document, more in the coverage phase."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                *(target.url + DOCUMENTS[document], "--url", target.url),
                *("--tls-verify", target.ca, "--request-cert", target.cert),
                *("--request-cert-key", target.key, "--checks", ",".join(CHECKS)),
                *("--max-examples", str(examples), "--seed", str(seed)),
                *("--request-timeout", str(REQUEST_TIMEOUT_S)),
                *("--phases", phases, "--suppress-health-check", "all"),
                *("--continue-on-failure", "--no-color", "--warnings", "off"),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": signed_bodies.__name__,
                "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
                signed_bodies.KEY: target.signer_key,
                signed_bodies.CERT: target.signer_cert,
            },
        )
    output = done.stdout + done.stderr
    operations, requests = _OPERATIONS.search(output), _REQUESTS.search(output)
    assert operations is not None, output
    made = int(requests[1].replace(",", "")) if requests else 0
    return Run(document, int(operations[1]), made, done.returncode == 0, output)


def target_of(sandbox: Sandbox) -> Target:
    """A sandbox as its user0 and member0 see it."""
    user, member = sandbox.info.party("user0"), sandbox.info.party("member0")
    return Target(
        sandbox.info.nodes[0].url,
        sandbox.info.service_cert,
        user.cert,
        user.key,
        member.cert,
        member.key,
    )


def main() -> int:
    """Run until so many requests were made; print a table of what came of them."""
    parser = argparse.ArgumentParser(prog="schema_driven", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="how many, at least")
    parser.add_argument("--examples", type=int, default=100, help="per operation and round")
    options = parser.parse_args()
    made: dict[str, list[Run]] = {name: [] for name in DOCUMENTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(sample("logging"), Path(folder) / "workspace") as sandbox,
        ThreadPoolExecutor(len(DOCUMENTS)) as pool,
    ):
        target, seed = target_of(sandbox), 0
        while sum(r.requests for runs in made.values() for r in runs) < options.requests:
            seed += 1

            def one(name: str, seed: int = seed) -> Run:
                return run(target, name, options.examples, seed=seed)

            # All at once: answers must be right under concurrency, too.
            for done in pool.map(one, made):
                made[done.document].append(done)
                print(f"seed {seed}, {done.document}: {done.requests} requests", flush=True)
                if not done.passed:
                    print(done.output)
        assert sandbox.process.poll() is None, "the node is still there"
    print("| document | operations | requests | server errors and violations |")
    print("| --- | --- | --- | --- |")
    for name, runs in made.items():
        failed = sum(not r.passed for r in runs)
        total = sum(r.requests for r in runs)
        print(f"| `{DOCUMENTS[name]}` | {runs[-1].operations} | {total} | {failed or 'none'} |")
    return 0 if all(r.passed for runs in made.values() for r in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
