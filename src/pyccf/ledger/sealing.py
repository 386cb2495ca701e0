"""Entries sealed, hashed and opened: in C where that can be had, otherwise in Python.

`Sealer(key, commit_secret).seal(view, seqno, public, private, claims, flags)` makes the bytes of an
entry of today's form from its encoded map sections, and its Merkle leaf. Asserts that the view has
31 bits and the claims digest 32 bytes.

`unseal(data, view, seqno, sealer)` is for backups: public sections, private sections in clear, and
leaf of what should be the entry `view.seqno`. None when it is of another form, has flags, is
another entry, or does not authenticate: the tag covers the public domain, whether or not there is a
private one. Without a sealer that is not asked, and the private part given back is empty.

Both ways give the same bytes. (spec: ledger.md §4-5, crypto.md §2-4; docs/adr/0009)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NATIVE", "Sealer", "unseal"]

if TYPE_CHECKING:
    from pyccf.ledger._sealing import Sealer, unseal

    NATIVE: bool
else:
    try:
        from pyccf.ledger._sealing import Sealer, unseal

        NATIVE = True
    except ImportError:  # not built, or Python has its OpenSSL to itself
        from pyccf.ledger._sealing_python import Sealer, unseal

        NATIVE = False
