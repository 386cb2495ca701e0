"""The ledger: entries, the history that seals and hashes them, chunk files, signatures, receipts.

Walk: `history.History.append` turns an encoded write set into an `entry.Entry` (sealed with the key
of `secrets.LedgerSecrets`, hashed into the Merkle tree); `signature.build` makes the tables of a
signature transaction; `chunker.Chunker` says where a file ends; `chunk` knows names and layout of
files; `receipt` proves to an outsider that an entry is in the ledger.

Nothing here touches a disk: `shell.disk` writes, `audit` reads.
(spec: ledger.md, merkle-and-receipts.md, crypto.md §2-4)
"""
