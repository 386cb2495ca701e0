"""A constitution at work on a `World`, and what its actions wrote."""

from __future__ import annotations

import json
from typing import Any, cast

from pyccf import constitutions
from pyccf.api.gov.scripts import Scripts
from pyccf.apps.context import Services
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.service.genesis import ServiceConfiguration
from pyccf.service.proposals import Vote
from support.gov import NodeFacts
from support.service import World, member, person, service_identity, world

NAMES = ("member0", "member1", "member2")
PROPOSAL_ID = "ab" * 32
GOV = "public:ccf.gov."


class Constitution:
    """One of the sample constitutions over a service of three active members, threshold 2."""

    def __init__(self, name: str = "default", *extras: str, opened: bool = True) -> None:
        self.text = constitutions.text(name, *extras)
        self.world: World = world(
            *(member(n) for n in NAMES),
            constitution=self.text,
            configuration=ServiceConfiguration(recovery_threshold=2),
        )
        self.world.sign(b"\5" * 32)
        self.world.activate(*NAMES)
        self.scripts = Scripts(cast(Services, NodeFacts()), self.world.operations)
        if opened:
            self.apply(("transition_service_to_open", identity()))

    def validate(self, *actions: tuple[str, Any]) -> str:
        """What is wrong with a proposal, without traces; empty when it is valid."""
        verdict = self.scripts.validate(self.world.store.tx(), self.text, proposal(*actions))
        lines = verdict.description.split("\n")
        return "\n".join(line for line in lines if line and not line.startswith("    at "))

    def apply(self, *actions: tuple[str, Any]) -> dict[str, dict[str, Any]]:
        """Apply actions and commit; what was written, by table without its prefix and key."""
        assert self.validate(*actions) == ""
        tx = self.world.store.tx()
        self.scripts.apply(tx, self.text, proposal(*actions), PROPOSAL_ID)
        written = decode(tx)
        if written:
            self.world.commit(tx)
        return written

    def resolve(self, proposer: str, votes: dict[str, bool], *actions: tuple[str, Any]) -> str:
        """What becomes of a proposal with these votes, by names of members."""
        listed = [Vote(person(name).id, vote) for name, vote in votes.items()]
        return self.scripts.resolve(
            self.world.store.tx(),
            self.text,
            proposal(*actions),
            person(proposer).id,
            listed,
            PROPOSAL_ID,
        )

    def put(self, table: str, key: str | bytes, value: Any) -> None:
        """Write a row directly."""
        tx = self.world.store.tx()
        tables.put_json(tx, table, key, value)
        self.world.commit(tx)

    def set_member_data(self, name: str, data: Any, **changes: Any) -> None:
        """Give a member data."""
        row = {"status": "Active", "member_data": data, **changes}
        self.put(tables.MEMBERS_INFO, person(name).id, row)


def identity() -> dict[str, str]:
    """Arguments that open the service."""
    return {"next_service_identity": service_identity().cert_pem}


def proposal(*actions: tuple[str, Any]) -> str:
    """Text of a proposal."""
    return json.dumps({"actions": [{"name": name, "args": args} for name, args in actions]})


def decode(tx: Tx) -> dict[str, dict[str, Any]]:
    """Pending writes: JSON and text as such, zeros as UNIT, removals as None."""
    return {
        name.removeprefix(GOV): {_key(k): _value(v) for k, v in rows.items()}
        for name, rows in tx.writes.items()
    }


def _key(raw: bytes) -> str:
    return "UNIT" if raw == tables.UNIT else raw.decode()


def _value(raw: bytes | None) -> Any:
    if raw is None:
        return None
    if raw == tables.UNIT:
        return "UNIT"
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")
