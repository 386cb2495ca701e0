"""The targets of `make fuzz-bytes`, each for a moment: sound samples and some damage."""

from __future__ import annotations

import contextlib
import random

import pytest

from fuzz.__main__ import damage
from fuzz.targets import MAIN, Target


@pytest.mark.parametrize("target", MAIN, ids=[target.name for target in MAIN])
def test_a_moment_of_fuzzing(target: Target) -> None:
    chance = random.Random(target.name)
    samples = list(target.samples())
    assert samples
    for data in [*samples, *(damage(chance.choice(samples), chance) for _ in range(60))]:
        with contextlib.suppress(*target.errors):
            target.run(data)
