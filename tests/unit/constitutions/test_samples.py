"""The sample constitutions: that all parts are there and in their order."""

from __future__ import annotations

import re

import pytest

from pyccf import constitutions
from pyccf.errors import LocalError


@pytest.mark.parametrize("name", constitutions.SAMPLES)
def test_parts_in_order(name: str) -> None:
    parts = constitutions.sample(name, "virtual", "roles")
    files = [file for file, _ in parts]
    assert files[0] == "default/actions.js"
    assert files[-3:] == ["default/validate.js", f"{name}/resolve.js", "default/apply.js"]
    assert constitutions.text(name, "virtual", "roles") == "\n".join(text for _, text in parts)


def test_test_constitution_brings_its_actions() -> None:
    files = [file for file, _ in constitutions.sample("test")]
    assert files[1] == "test/test_actions.js"
    assert [f for f, _ in constitutions.sample("test", "test")] == files


def test_exports() -> None:
    for name in constitutions.SAMPLES:
        exported = re.findall(r"^export function (\w+)", constitutions.text(name), re.MULTILINE)
        assert exported == ["validate", "resolve", "apply"]


def test_unknown_names_are_told_what_there_is() -> None:
    with pytest.raises(LocalError) as refused:
        constitutions.sample("nonsense")
    assert "sandbox" in refused.value.explain()
    with pytest.raises(LocalError) as refused:
        constitutions.sample("default", "nonsense")
    assert "virtual" in refused.value.explain()
