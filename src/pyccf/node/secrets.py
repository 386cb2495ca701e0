"""The ledger secrets of a node: handed out, told by the ledger, and forgotten when it goes back.

A rekey at seqno R tells the secret that seals entries from R+1 on, so going back to R keeps it.
What a node was handed when it joined no roll-back of its own ledger may take: nobody would tell it
again (spec: node-lifecycle.md §10.1, §10.3).
"""

from __future__ import annotations

from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets


class NodeSecrets(LedgerSecrets):
    """Secrets that follow the ledger of one node."""

    __slots__ = ()

    def receive(self, handed_over: tuple[LedgerSecret, ...]) -> None:
        """Take over what was handed out; rolling back never forgets it.

        Said again (the addition of this node was undone and repeated), what was handed out last
        counts and what was before does not; what was learned since from the ledger stays.
        """
        last = handed_over[-1].version
        told = max(last, self._protected)
        later = [s for s in self._secrets if s.version > told]
        self._secrets = [*handed_over, *later]
        self._cipher = None
        self._protected = last

    def add(self, secret: LedgerSecret) -> None:
        """Learn a secret; of two for one version, what the ledger says counts."""
        self._secrets = [s for s in self._secrets if s.version != secret.version]
        super().add(secret)
