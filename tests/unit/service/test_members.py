"""Roles and activation of members."""

from __future__ import annotations

import pytest

from pyccf.service import members, tables
from pyccf.service.members import RecoveryRole
from support.service import member, person, world


@pytest.mark.parametrize(
    ("given", "key", "role"),
    [
        (None, None, RecoveryRole.NON_PARTICIPANT),
        (None, "PEM", RecoveryRole.PARTICIPANT),
        ("Owner", "PEM", RecoveryRole.OWNER),
        ("NonParticipant", "PEM", RecoveryRole.NON_PARTICIPANT),
    ],
)
def test_effective_role(given: str | None, key: str | None, role: RecoveryRole) -> None:
    assert members.effective_role({"recovery_role": given}, key) is role


def test_activation_happens_once_and_keeps_what_is_set() -> None:
    made = world(member("member0", RecoveryRole.OWNER), member("member1"))
    tx = made.store.tx()
    ident = person("member0").id
    assert members.activate(tx, ident)
    assert tables.get_object(tx, tables.MEMBERS_INFO, ident) == {
        "status": "Active",
        "recovery_role": "Owner",
    }
    assert not members.activate(tx, ident)
    assert not members.activate(tx, "unknown")
    found = members.holders(tx)
    assert list(found.owners) == [ident]
    assert not found.participants


def test_latest_signed_root() -> None:
    made = world(member("member0"))
    assert members.latest_signed_root(made.store.tx()) is None
    made.sign(b"\1" * 32)
    assert members.latest_signed_root(made.store.tx()) == "01" * 32
