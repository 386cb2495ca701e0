from __future__ import annotations

import pytest

from pyccf.consensus.solo import Solo
from pyccf.errors import LocalError
from pyccf.types import TxID


def test_commits_only_what_is_signed_and_persisted() -> None:
    solo = Solo("n")
    solo.append(1, False)
    solo.append(2, True)
    solo.append(3, False)
    assert not solo.persisted(1)
    assert solo.committed == 0
    assert solo.persisted(3)
    assert solo.committed == 2
    assert not solo.persisted(3)


def test_knows_views_only_of_what_was_ordered() -> None:
    solo = Solo("n")
    solo.append(1, False)
    assert solo.view_of(1) == 2
    assert solo.view_of(2) is None
    assert solo.view_history() == [TxID(2, 1)]


def test_gaps_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        Solo("n").append(2, False)


def test_refuses_a_second_node() -> None:
    solo = Solo("n")
    solo.configure(1, {"n": "127.0.0.1:1"})
    with pytest.raises(LocalError, match="one node"):
        solo.configure(2, {"n": "127.0.0.1:1", "m": "127.0.0.1:2"})
    assert solo.nodes() == {"n": "127.0.0.1:1"}


def test_old_configurations_go_once_a_newer_one_is_committed() -> None:
    solo = Solo("n")
    solo.configure(1, {"n": "a:1"})
    solo.configure(2, {"n": "a:2"})
    solo.append(1, False)
    solo.append(2, True)
    solo.persisted(2)
    assert [c["idx"] for c in solo.details()["configs"]] == [2]  # type: ignore[union-attr,index,call-overload]
