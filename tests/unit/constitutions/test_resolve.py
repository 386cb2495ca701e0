"""How each sample constitution decides, and the actions of the extra parts."""

from __future__ import annotations

from typing import Any

import pytest

from pyccf.service import tables
from pyccf.service.proposals import ScriptFailure
from support.action_arguments import ENC_KEY
from support.constitution import PROPOSAL_ID, Constitution, proposal
from support.service import person

NOTHING: tuple[str, Any] = ("trigger_snapshot", None)
FOR = {"member0": True, "member1": True}


@pytest.mark.parametrize(
    ("name", "votes", "state"),
    [
        ("default", {}, "Open"),
        ("default", {"member0": True}, "Open"),
        ("default", {"member0": True, "member1": True}, "Accepted"),
        ("default", {"member0": True, "member1": False, "member2": False}, "Open"),
        ("sandbox", {}, "Accepted"),
        ("sandbox", {"member0": False}, "Accepted"),
        ("veto", {"member0": True}, "Open"),
        ("veto", {"member0": True, "member1": True}, "Accepted"),
        ("veto", {"member0": True, "member1": False}, "Rejected"),
        ("operator", {"member0": True}, "Open"),
        ("operator", {"member0": True, "member1": True}, "Accepted"),
        ("operator_provisioner", {"member0": True}, "Open"),
        ("operator_provisioner", {"member0": True, "member1": True}, "Accepted"),
        ("test", {"member0": True}, "Open"),
        ("test", {"member0": True, "member1": True}, "Accepted"),
    ],
)
def test_votes_of_three_members(name: str, votes: dict[str, bool], state: str) -> None:
    assert Constitution(name).resolve("member0", votes, NOTHING) == state


def test_members_that_are_not_active_do_not_count() -> None:
    c = Constitution("default")
    c.put(tables.MEMBERS_INFO, person("member2").id, {"status": "Accepted"})
    c.put(tables.MEMBERS_INFO, person("member1").id, {"status": "Accepted"})
    assert c.resolve("member0", {"member0": True}, NOTHING) == "Accepted"


def operator_of(c: Constitution, name: str, mark: str = "is_operator") -> None:
    """Make a member an operator: marked, and without an encryption key."""
    c.set_member_data(name, {mark: True})
    tx = c.world.store.tx()
    tx.map(tables.MEMBERS_ENCRYPTION_KEYS).delete(person(name).id.encode())
    c.world.commit(tx)


def test_operators_carry_out_operator_actions_alone() -> None:
    c = Constitution("operator")
    operator_of(c, "member2")
    add = ("set_member", {"cert": "x", "member_data": {"is_operator": True}})
    remove = ("remove_member", {"member_id": person("member2").id})
    assert c.resolve("member2", {}, add, remove, ("trust_node", {})) == "Accepted"
    assert c.resolve("member2", {}, add, NOTHING) == "Open"
    assert c.resolve("member0", {}, add) == "Open"
    assert c.resolve("member2", {}, ("set_member", {"cert": "x"})) == "Open"
    # With a key it would hold a share in the recovery, which is no operator's.
    holder = {"cert": "x", "member_data": {"is_operator": True}, "encryption_pub_key": ENC_KEY}
    assert c.resolve("member2", {}, ("set_member", holder)) == "Open"
    other = ("remove_member", {"member_id": person("member0").id})
    assert c.resolve("member2", {}, other) == "Open"


def test_operators_have_no_vote_in_the_rest() -> None:
    c = Constitution("operator")
    operator_of(c, "member2")
    # Two others are left: both must agree.
    assert c.resolve("member0", {"member0": True, "member2": True}, NOTHING) == "Open"
    assert c.resolve("member0", FOR, NOTHING) == "Accepted"


def test_a_member_with_a_key_is_no_operator() -> None:
    c = Constitution("operator")
    c.set_member_data("member2", {"is_operator": True})
    assert c.resolve("member2", {}, ("trust_node", {})) == "Open"


@pytest.mark.parametrize("name", ["operator_provisioner", "test"])
def test_provisioners_appoint_operators_and_nothing_else(name: str) -> None:
    c = Constitution(name)
    operator_of(c, "member0", "is_operator_provisioner")
    operator_of(c, "member1")
    add = ("set_member", {"cert": "x", "member_data": {"is_operator": True}})
    remove = ("remove_member", {"member_id": person("member1").id})
    assert c.resolve("member0", {}, add, remove) == "Accepted"
    assert c.resolve("member0", {}, add, NOTHING) == "Rejected"
    assert c.resolve("member0", {}, ("remove_member", {"member_id": person("member2").id})) == (
        "Rejected"
    )
    # Only member2 is left to decide the rest.
    assert c.resolve("member2", {"member2": True}, NOTHING) == "Accepted"


def test_provisioners_admit_nobody_with_a_key() -> None:
    c = Constitution("operator_provisioner")
    operator_of(c, "member0", "is_operator_provisioner")
    c.set_member_data("member1", {"is_operator": True})
    holder = {"cert": "x", "member_data": {"is_operator": True}, "encryption_pub_key": ENC_KEY}
    assert c.resolve("member0", {}, ("set_member", holder)) == "Rejected"
    assert c.resolve("member0", {}, ("remove_member", {"member_id": person("member1").id})) == (
        "Rejected"
    )


@pytest.mark.parametrize("name", ["operator_provisioner", "test"])
def test_marks_of_members_with_a_key_do_not_count(name: str) -> None:
    c = Constitution(name)
    c.set_member_data("member1", {"is_operator": True})
    assert c.resolve("member2", {"member2": True}, NOTHING) == "Open"
    assert c.resolve("member2", {"member1": True, "member2": True}, NOTHING) == "Accepted"


def test_votes_of_provisioners_and_operators_do_not_count() -> None:
    c = Constitution("operator_provisioner")
    operator_of(c, "member0", "is_operator_provisioner")
    operator_of(c, "member1")
    assert c.resolve("member2", FOR, NOTHING) == "Open"


@pytest.mark.parametrize(
    ("action", "votes", "state"),
    [
        ("always_accept_noop", {}, "Accepted"),
        ("always_reject_noop", {}, "Rejected"),
        ("always_throw_in_apply", {}, "Accepted"),
        ("always_accept_with_one_vote", {}, "Open"),
        ("always_accept_with_one_vote", {"member0": True}, "Accepted"),
        ("always_accept_with_one_vote", {"member0": False}, "Open"),
        ("always_reject_with_one_vote", {"member0": False}, "Rejected"),
        ("always_accept_with_two_votes", {"member0": True}, "Open"),
        ("always_accept_with_two_votes", FOR, "Accepted"),
        # What the shortcut does not decide, the majority does.
        ("always_accept_with_two_votes", {**FOR, "member2": True}, "Accepted"),
        ("always_accept_with_two_votes", {"member0": True, "member1": False}, "Open"),
        ("always_accept_with_one_vote", {**FOR, "member2": False}, "Accepted"),
        ("always_accept_if_proposed_by_operator", FOR, "Accepted"),
        ("always_reject_with_two_votes", {"member0": False, "member1": False}, "Rejected"),
        ("always_reject_with_two_votes", {"member0": False, "member1": True}, "Open"),
        ("always_accept_if_voted_by_operator", {}, "Open"),
        ("always_accept_if_voted_by_operator", {"member0": False}, "Accepted"),
        ("always_accept_if_proposed_by_operator", {}, "Open"),
    ],
)
def test_shortcuts_of_the_test_constitution(
    action: str, votes: dict[str, bool], state: str
) -> None:
    c = Constitution("test")
    assert c.validate((action, None)) == ""
    assert c.resolve("member0", votes, (action, None)) == state


def test_shortcuts_are_for_single_actions() -> None:
    c = Constitution("test")
    assert c.resolve("member0", {}, ("always_accept_noop", None), NOTHING) == "Open"


def test_proposed_by_an_operator() -> None:
    c = Constitution("test")
    c.set_member_data("member0", {"is_operator": True})
    action = ("always_accept_if_proposed_by_operator", None)
    assert c.resolve("member0", {}, action) == "Accepted"


def test_proposal_id_is_handed_to_resolve() -> None:
    c = Constitution("test")
    action = ("check_proposal_id_is_set_correctly", None)
    assert c.resolve("member0", {}, action) == "Rejected"
    tx = c.world.store.tx()
    tables.put_raw(tx, tables.PROPOSALS, PROPOSAL_ID, proposal(action))
    c.world.commit(tx)
    assert c.resolve("member0", {}, action) == "Accepted"


def test_throwing_on_purpose() -> None:
    c = Constitution("test")
    with pytest.raises(ScriptFailure) as failed:
        c.resolve("member0", {}, ("always_throw_in_resolve", None))
    assert failed.value.reason == "Error: Resolve message"
    with pytest.raises(ScriptFailure) as failed:
        c.apply(("always_throw_in_apply", None))
    assert failed.value.reason == "Error: Error message"


def test_other_actions_of_the_test_constitution() -> None:
    c = Constitution("test")
    name = "set_service_recent_cose_proposals_window_size"
    written = c.apply((name, {"proposal_count": 7}))
    assert written["service.config"]["UNIT"]["recent_cose_proposals_window_size"] == 7
    assert "lower than 100000" in c.validate((name, {"proposal_count": 100001}))
    assert c.validate(("valid_pem", {"pem": person("member0").cert})) == ""
    assert "pem must be a valid" in c.validate(("valid_pem", {"pem": "x"}))
    assert c.apply(("always_accept_noop", None)) == {}


def test_roles() -> None:
    c = Constitution("default", "roles")
    table = "public:programmability.roles.admin"
    written = c.apply(("set_role_definition", {"role": "admin", "actions": ["a", "b", "a"]}))
    assert written == {table: {'"a"': "UNIT", '"b"': "UNIT"}}
    written = c.apply(("set_role_definition", {"role": "admin", "actions": ["c"]}))
    assert written == {table: {'"a"': None, '"b"': None, '"c"': "UNIT"}}
    assert "actions[1] must be of type string" in c.validate(
        ("set_role_definition", {"role": "admin", "actions": ["c", 5]})
    )
