"""What every action says to arguments that are missing, of another type, or out of range.

A last test sees to it that no action and no argument was forgotten.
"""

from __future__ import annotations

from typing import Any

import pytest

from pyccf.cli.actions import ACTIONS
from support.action_arguments import CASES, GOOD, changed
from support.constitution import Constitution


@pytest.fixture(scope="module")
def constitution() -> Constitution:
    return Constitution("default", "roles", "virtual")


@pytest.mark.parametrize("action", GOOD)
def test_good_arguments(constitution: Constitution, action: str) -> None:
    assert constitution.validate((action, GOOD[action])) == ""


@pytest.mark.parametrize(
    ("action", "name", "value", "text"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_bad_arguments(
    constitution: Constitution, action: str, name: str, value: Any, text: str
) -> None:
    found = constitution.validate((action, changed(action, name, value)))
    assert found == f"{action} at position 0 failed validation: {text}"


@pytest.mark.parametrize("action", [name for name, args in GOOD.items() if args])
def test_no_arguments_at_all(constitution: Constitution, action: str) -> None:
    # What is no object has no settings in it, so that there is nothing to change.
    others = () if action == "set_service_configuration" else (5, "x", [])
    for args in (None, *others):
        assert f"{action} at position 0 failed validation" in constitution.validate((action, args))


ANYTHING = {"trigger_ledger_chunk", "trigger_snapshot", "remove_js_app"}
ANYTHING |= {"refresh_js_app_bytecode_cache"}
"""Actions that look at no argument."""


@pytest.mark.parametrize("action", sorted(ANYTHING))
def test_actions_that_take_anything(constitution: Constitution, action: str) -> None:
    for args in (None, 5, {"x": 1}):
        assert constitution.validate((action, args)) == ""


def test_no_action_and_no_argument_is_forgotten() -> None:
    known = {name: spec for name, spec in ACTIONS.items() if spec.of != "test"}
    assert GOOD.keys() == known.keys()
    refused = {(action, name) for action, name, _, _ in CASES}
    assert {action for action, _ in refused} | ANYTHING == known.keys()
    wanted = {(name, flag.name) for name, spec in known.items() for flag in spec.flags}
    assert wanted - refused == {("set_node_data", "node_data")}  # which may be anything
