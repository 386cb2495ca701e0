"""Requests made up from the documents a live node serves: no server error, nothing undescribed.

A short run; `make conform` makes many more requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import schema_driven
from support.samples import sample
from support.sandbox import Sandbox

EXAMPLES = 8


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder: Path = tmp_path_factory.mktemp("schema")
    with Sandbox(sample("logging"), folder / "workspace") as made:
        yield made


@pytest.mark.parametrize("document", ["app", "node", "gov"])
def test_answers_are_as_the_document_says(sandbox: Sandbox, document: str) -> None:
    target = schema_driven.target_of(sandbox)
    made = schema_driven.run(target, document, EXAMPLES, phases="fuzzing")
    assert made.passed, made.output[-4000:]
    assert made.requests >= made.operations >= 3
    assert sandbox.process.poll() is None
