"""The versioned key-value store: named maps of bytes, transactions over them, their wire form.

Walk: `store.Store.tx()` gives a `tx.Tx`, its `map(name)` a `tx.MapHandle`; `Store.commit(tx)` turns
what was written into a `changes.WriteSet` with the next seqno, and `wire.encode` into the bytes of
a ledger entry. `maps` knows what a table's name says about who may touch it.

The room holds bytes only: what keys and values mean belongs to whoever owns the table.
(spec: kv-and-tables.md §1-3, ledger.md §6)
"""
