"""The ledger secrets of a node: handed out, told by the ledger, and forgotten when it goes back.

A rekey at seqno R tells the secret that seals entries from R+1 on, so going back to R keeps it.
What a node was handed when it joined no roll-back of its own ledger may take: nobody would tell it
again (spec: node-lifecycle.md §10.1, §10.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from pyccf.ledger.secrets import LedgerSecret, LedgerSecrets
from pyccf.types import SeqNo


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
        self._changed()
        self._protected = last

    def add(self, secret: LedgerSecret) -> None:
        """Learn a secret; of two for one version, what the ledger says counts."""
        self._secrets = [s for s in self._secrets if s.version != secret.version]
        super().add(secret)

    def restore(self, former: Sequence[LedgerSecret]) -> None:
        """Learn the secrets of the services before this one; rolling back never forgets them.

        They are older than those of this service (asserted: who restores them sees to it).
        """
        known = {s.version for s in self._secrets}
        assert not known or all(s.version <= self._protected for s in former)
        self._secrets = sorted(
            [*self._secrets, *(s for s in former if s.version not in known)],
            key=lambda secret: secret.version,
        )
        self._changed()

    def stored(self, version: SeqNo, seqno: SeqNo) -> None:
        """The secret before that of `version` was stored in the ledger at `seqno`."""
        for secret in self._secrets:
            if secret.version == version:
                secret.previous_stored_version = seqno
