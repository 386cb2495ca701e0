"""The start-up states of a node, as /node/state names them (spec: node-lifecycle.md §1.1)."""

from __future__ import annotations

INITIALIZED = "Initialized"
PENDING = "Pending"
"""It asks to be let in."""
PART_OF_NETWORK = "PartOfNetwork"
PART_OF_PUBLIC_NETWORK = "PartOfPublicNetwork"
"""A recovery: public state only."""
READING_PUBLIC_LEDGER = "ReadingPublicLedger"
READING_PRIVATE_LEDGER = "ReadingPrivateLedger"

TAKES_PART = frozenset((PART_OF_NETWORK, PART_OF_PUBLIC_NETWORK, READING_PRIVATE_LEDGER))
"""States in which a node speaks and listens to its peers."""
