"""What makes many runs quick without changing any of them.

A signature that one node found good is good for every other: checking the same bytes against the
same root and keys is done once per run. Objects of a run are given back all at once after it, not
while it goes on.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyccf.ledger import signature as signatures

if TYPE_CHECKING:
    from pyccf.crypto.keys import PublicKey
    from pyccf.ledger.signature import Signature

RUNS_BETWEEN_COLLECTIONS = 8

_runs = 0


@contextmanager
def signatures_remembered() -> Iterator[None]:
    """While this lasts, a signature that was found good is not checked again."""
    verify = signatures.verify
    good: set[tuple[object, ...]] = set()

    def remembered(
        signature: Signature, root: bytes, node_key: PublicKey, service_key: PublicKey
    ) -> None:
        known = (
            signature.view,
            signature.seqno,
            signature.node,
            signature.root,
            signature.sig,
            signature.cose,
            root,
            node_key.der,
            service_key.der,
        )
        if known not in good:
            verify(signature, root, node_key, service_key)
            good.add(known)

    signatures.verify = remembered
    try:
        yield
    finally:
        signatures.verify = verify


@contextmanager
def collected_between() -> Iterator[None]:
    """While this lasts, garbage is collected when it is over, every few times."""
    global _runs
    gc.disable()
    try:
        yield
    finally:
        _runs += 1
        gc.enable()
        if _runs % RUNS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
