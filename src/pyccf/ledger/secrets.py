"""Ledger secrets: which key seals which entry.

A secret is valid from its version (a seqno) until the next one's. An entry is sealed with the
secret of the greatest version not above its seqno. Keys never appear in a repr or an error.
(spec: crypto.md §3-4)
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pyccf.crypto import kdf
from pyccf.errors import InvalidLedger, LocalError
from pyccf.ledger.sealing import Sealer
from pyccf.types import SeqNo, View

KEY_SIZE = 32


class EntryCipher:
    """What a ledger secret can do: seal and open private domains, make commit evidence.

    `sealer` does it for whole entries, on the hot paths of `history.History.append` and
    `follow.Follower.take`; `seal_parts` is AES-256-GCM with the 16-byte tag last.
    """

    __slots__ = ("_aead", "_evidence", "seal_parts", "sealer")

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self.seal_parts = self._aead.encrypt
        self._evidence = kdf.EvidenceMaker(key)
        self.sealer = Sealer(key, kdf.commit_secret(key))

    def open(self, iv: bytes, tag: bytes, ciphertext: bytes, public: bytes) -> bytes:
        """The private domain. Raises InvalidTag when anything was changed or the key is wrong."""
        return self._aead.decrypt(iv, ciphertext + tag, public)

    def evidence(self, view: View, seqno: SeqNo) -> str:
        """Commit evidence "ce:<view>.<seqno>:<hex nonce>" (spec: crypto.md §4)."""
        return self._evidence.text(view, seqno)

    def __repr__(self) -> str:
        return "EntryCipher(...)"


class LedgerSecret:
    """A key of 32 bytes, the seqno it is valid from, and where the one before it was stored."""

    __slots__ = ("_cipher", "key", "previous_stored_version", "version")

    def __init__(
        self, version: SeqNo, key: bytes, previous_stored_version: SeqNo | None = None
    ) -> None:
        assert len(key) == KEY_SIZE, "a ledger secret has 32 bytes"
        self.version = version
        self.key = key
        self.previous_stored_version = previous_stored_version
        self._cipher: EntryCipher | None = None

    @property
    def cipher(self) -> EntryCipher:
        """The secret at work; made once."""
        cipher = self._cipher
        if cipher is None:
            cipher = self._cipher = EntryCipher(self.key)
        return cipher

    def __repr__(self) -> str:
        return f"LedgerSecret(version={self.version}, key=...)"


_NEVER = (1 << 62) - 1
"""Beyond all seqnos there will be; compiled code still compares it as a machine word."""


class LedgerSecrets:
    """All secrets of a ledger that are known here, in order of version."""

    __slots__ = ("_cipher", "_high", "_low", "_protected", "_secrets", "changes")

    def __init__(self, secrets: Iterable[LedgerSecret] = ()) -> None:
        self._secrets: list[LedgerSecret] = []
        self._cipher: EntryCipher | None = None
        self._low = self._high = 0
        self.changes = 0
        """How often secrets were learnt or forgotten: what was looked up before may be wrong."""
        for secret in secrets:
            self.add(secret)
        self._protected = self._secrets[-1].version if self._secrets else 0

    def __len__(self) -> int:
        return len(self._secrets)

    def all(self) -> list[LedgerSecret]:
        """Every secret, ascending."""
        return list(self._secrets)

    def earliest(self) -> LedgerSecret | None:
        """The secret of the smallest version, None when there is none."""
        return self._secrets[0] if self._secrets else None

    def latest(self) -> LedgerSecret:
        """The secret of the greatest version. LocalError when there is none."""
        if not self._secrets:
            raise LocalError("No ledger secret is known.")
        return self._secrets[-1]

    def at(self, seqno: SeqNo) -> LedgerSecret:
        """The secret that seals the entry at `seqno`. LocalError when it is not known."""
        i = bisect_right(self._secrets, seqno, key=_version)
        if i == 0:
            raise LocalError(f"No ledger secret is known for seqno {seqno}.")
        return self._secrets[i - 1]

    def cipher_at(self, seqno: SeqNo) -> EntryCipher:
        """The cipher for `seqno`: as `at`, remembering the last answer."""
        cipher = self._cipher
        if cipher is not None and self._low <= seqno < self._high:
            return cipher
        secret = self.at(seqno)
        i = bisect_right(self._secrets, seqno, key=_version)
        self._low = secret.version
        self._high = self._secrets[i].version if i < len(self._secrets) else _NEVER
        self._cipher = secret.cipher
        return secret.cipher

    def span_at(self, seqno: SeqNo) -> tuple[EntryCipher, SeqNo]:
        """The cipher for `seqno`, and the first seqno after it for which it is another one."""
        return self.cipher_at(seqno), self._high

    def add(self, secret: LedgerSecret) -> None:
        """Learn a secret. A known version must come with the same key (LocalError otherwise)."""
        i = bisect_right(self._secrets, secret.version, key=_version)
        if i and self._secrets[i - 1].version == secret.version:
            if self._secrets[i - 1].key != secret.key:
                raise LocalError(f"Two different ledger secrets for version {secret.version}.")
            return
        insort(self._secrets, secret, key=_version)
        self._changed()

    def rollback(self, seqno: SeqNo) -> None:
        """Forget secrets that transactions after `seqno` told.

        A rekey at seqno R tells the secret of version R+1: going back to R keeps it. The latest one
        known at construction and the last one left are never forgotten.
        """
        secrets = self._secrets
        while len(secrets) > 1 and secrets[-1].version > max(seqno + 1, self._protected):
            secrets.pop()
        self._changed()

    def _changed(self) -> None:
        self._cipher = None
        self.changes += 1

    def open(self, seqno: SeqNo, iv: bytes, tag: bytes, ciphertext: bytes, public: bytes) -> bytes:
        """The private domain of an entry. InvalidLedger when it does not authenticate."""
        try:
            return self.cipher_at(seqno).open(iv, tag, ciphertext, public)
        except InvalidTag:
            raise InvalidLedger(
                f"Entry {seqno} does not authenticate under its ledger secret.", seqno=seqno
            ) from None

    def __repr__(self) -> str:
        return f"LedgerSecrets(versions={[s.version for s in self._secrets]})"


def _version(secret: LedgerSecret) -> SeqNo:
    return secret.version
