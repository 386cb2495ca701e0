"""Two halves of one state, read at different times, become one."""

from __future__ import annotations

import pytest

from pyccf.errors import LocalError
from pyccf.kv.changes import Changes
from pyccf.kv.store import Store

STEPS: list[tuple[Changes, Changes]] = [
    ({"public:a": {b"x": b"1"}}, {"p": {b"k": b"1"}}),
    ({"public:a": {b"y": b"1"}}, {}),
    ({}, {"p": {b"k": b"2", b"l": b"2"}, "q": {b"z": b"2"}}),
    ({"public:b": {b"x": b"4"}}, {"p": {b"k": None}}),
    ({"public:a": {b"x": None}}, {"r": {b"k": b"5"}}),
]


def content(store: Store) -> dict[str, dict[bytes, tuple[bytes, int]]]:
    return {
        name: {key: (pair.value, pair.version) for key, pair in state.data.items()}
        for name, state in sorted(store.maps.items())
    }


def halves(committed: int) -> tuple[Store, Store, Store]:
    """The public half, the private half, and the whole."""
    public, private, whole = Store(view=2), Store(view=2), Store(view=2)
    for seqno, (a, b) in enumerate(STEPS, 1):
        public.apply(seqno, a)
        private.apply(seqno, b)
        whole.apply(seqno, {**a, **b})
    for store in (public, private, whole):
        store.compact(committed)
    return public, private, whole


@pytest.mark.parametrize("committed", range(6))
@pytest.mark.parametrize("back", range(6))
def test_the_halves_go_back_and_on_as_one(committed: int, back: int) -> None:
    public, private, whole = halves(committed)
    public.graft(private)
    assert content(public) == content(whole)
    if back >= committed:
        public.rollback(back, 4)
        whole.rollback(back, 4)
    assert content(public) == content(whole)
    tx = public.tx()
    tx.map("p").set(b"new", b"v")
    written = public.commit(tx)
    assert written is not None
    assert written.version == whole.version + 1


def test_what_does_not_fit_is_refused() -> None:
    public, private, _ = halves(2)
    private.apply(6, {})
    with pytest.raises(LocalError, match="does not fit"):
        public.graft(private)
    public, private, _ = halves(2)
    private.compact(3)
    with pytest.raises(LocalError, match="does not fit"):
        public.graft(private)
    public, _, whole = halves(2)
    with pytest.raises(LocalError, match="maps are in both states"):
        public.graft(whole)
