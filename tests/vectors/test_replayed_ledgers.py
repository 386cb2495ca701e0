"""Every signed request in the six recorded ledgers, run again.

Two thirds change the tables byte for byte as the original did. The others differ in what a node
makes with its keys and its engine, and where versions of the original before this one wrote less.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pyccf.appdev.replay import MADE_ANEW, Difference, Replayed, replay
from pyccf.audit.read import entries
from pyccf.service import tables
from support.vectors import vectors_dir

REQUESTS = 99
EQUAL = 74

OLDER = {
    # Written in each case since then.
    tables.PROPOSALS_INFO: {"vote_failures", "final_votes"},
}
"""Members of rows that earlier versions of the original left out."""
OTHERWISE = {
    tables.SERVICE_INFO: "the certificate of a service that renews it; not its identity's version",
    tables.NODES_INFO: "the certificate of a node that comes to be trusted",
    "public:ccf.gov.jwt.public_signing_keys_metadata_v2": "another form of keys, before this one",
}


def requests() -> Iterator[tuple[str, Replayed]]:
    for folder in sorted((vectors_dir() / "ccf" / "ledgers").iterdir()):
        directories: list[Path | str] = [*sorted({p.parent for p in folder.rglob("ledger_*")})]
        for entry in entries(directories):
            if tables.COSE_HISTORY in entry.maps and tables.PROPOSALS_INFO in entry.maps:
                yield folder.name, replay(directories, entry.seqno)


def known(one: Difference) -> bool:
    if one.table in MADE_ANEW or one.table in OTHERWISE:
        return True
    if one.table not in OLDER or one.ledger is None or one.replay is None:
        return False
    ledger, ours = json.loads(one.ledger), json.loads(one.replay)
    since = {name: ours[name] for name in OLDER[one.table] if name in ours and name not in ledger}
    return {**ledger, **since} == ours


def test_signed_requests_have_the_effects_they_had() -> None:
    told: Counter[bool] = Counter()
    for name, done in requests():
        told[done.equal] += 1
        assert done.answer.status == 200, (name, done.txid, done.answer)
        strange = [one for one in done.differences if not known(one)]
        assert not strange, (name, done.txid, strange)
        assert done.claims_equal
        assert any(step.op == "call" for step in done.steps) or "withdraw" in done.request
    assert told == {True: EQUAL, False: REQUESTS - EQUAL}
