"""A run is a function of its schedule: not of hashing, nor the process, nor what ran before."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from pyccf.sim import explore
from pyccf.sim.explore import Simulation
from pyccf.sim.schedule import generate

SEEDS = (3, 11, 18)
ACTS = 60


def ledgers(simulation: Simulation) -> bytes:
    """Everything every node wrote, byte by byte, and what was committed of it."""
    digest = hashlib.sha256()
    for shell in simulation.cluster.shells:
        digest.update(f"{shell.name} {shell.disk.committed} {shell.disk.last}".encode())
        for entry in shell.disk.entries:
            digest.update(entry.data)
    return digest.digest()


def all_ledgers() -> str:
    return hashlib.sha256(
        b"".join(ledgers(explore.run(generate(seed, ACTS))[1]) for seed in SEEDS)
    ).hexdigest()


def elsewhere(hash_seed: str) -> str:
    """The same in another process with another hash seed."""
    program = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('determinism', {__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(module.all_ledgers())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_equal_seeds_give_equal_ledgers_whatever_the_hash_seed() -> None:
    here = all_ledgers()
    assert elsewhere("1") == here
    assert elsewhere("4242") == here


def test_drawing_a_run_does_not_change_it() -> None:
    schedule = generate(SEEDS[0], ACTS)
    plain = explore.run(schedule)[1]
    drawn = explore.run(schedule, drawn=True)[1]
    assert ledgers(plain) == ledgers(drawn)
    assert drawn.transcript is not None
    assert "no rule was violated" in drawn.transcript.text()


def test_another_seed_gives_other_ledgers() -> None:
    assert ledgers(explore.run(generate(3, 20))[1]) != ledgers(explore.run(generate(4, 20))[1])
