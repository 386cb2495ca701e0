"""The replay window against a plain model of its rule."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from pyccf.errors import RpcError
from pyccf.kv.store import Store
from pyccf.service import proposals, tables

SUBMISSIONS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), max_size=40)


class Model:
    """Spec gov-api.md §4.1: replay, then too old, then remember and cut.

    What is of a second that is still accepted is not cut: it could be replayed.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.known: dict[str, str] = {}

    def submit(self, created_at: int, signature: bytes, ident: str) -> str:
        key = f"{created_at:010d}:{hashlib.sha256(signature).hexdigest()}"
        if key in self.known:
            return f"replay {self.known[key]}"
        before = sorted(self.known)
        if before and key[:10] < before[len(before) // 2][:10]:
            return f"old {before[len(before) // 2][:10]}"
        self.known[key] = ident
        surplus = before[: max(0, len(before) - (self.window - 1))]
        kept = sorted(set(self.known) - set(surplus))
        accepted = kept[len(kept) // 2][:10]
        for old in surplus:
            if old[:10] < accepted:
                del self.known[old]
        return "taken"


@settings(max_examples=150, deadline=None)
@given(window=st.integers(1, 8), submissions=SUBMISSIONS)
def test_window_follows_the_rule(window: int, submissions: list[tuple[int, int]]) -> None:
    store, model = Store(view=2), Model(window)
    tx = store.tx()
    config = {"recovery_threshold": 1, "recent_cose_proposals_window_size": window}
    tables.put_json(tx, tables.SERVICE_CONFIG, tables.UNIT, {**config})
    store.commit(tx)
    for number, (created_at, who) in enumerate(submissions):
        signature, ident = bytes([who]), f"p{number}"
        expected = model.submit(created_at, signature, ident)
        tx = store.tx()
        try:
            proposals.check_recent(tx, created_at, signature, ident)
            store.commit(tx)
            found = "taken"
        except RpcError as e:
            last = e.message.rsplit(" ", 1)[1]
            found = f"{'replay' if e.code == 'ProposalReplay' else 'old'} {last}"
        assert found == expected
    kept = {
        key.decode(): tables.decode_row(tables.COSE_RECENT_PROPOSALS, raw)
        for key, raw in store.tx().map(tables.COSE_RECENT_PROPOSALS).foreach()
    }
    assert kept == model.known
