"""The Merkle tree over all transactions: `tree.Tree` on a node, `proof.fold` for verifiers.

(spec: merkle-and-receipts.md §2-3)
"""
