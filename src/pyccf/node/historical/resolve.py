"""From entries to a verified state: secrets, covering signature, service identity, proofs.

A resolution that lacks an entry says so (`Missing`) and is run again from the start once it was
read: it keeps what it learned (secrets, signatures, identities), so each run gets further. Entries
read are held only until the slice they came with was worked through.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable

from pyccf.crypto.aead import InvalidTag
from pyccf.errors import InvalidLedger
from pyccf.kv import wire
from pyccf.ledger import signature as signatures
from pyccf.ledger.entry import ParsedEntry, parse
from pyccf.ledger.secrets import LedgerSecrets
from pyccf.ledger.signature import Covering
from pyccf.node.historical.eras import Era, Eras, Row
from pyccf.node.historical.secrets import PastSecrets
from pyccf.node.historical.state import PRESENT, Changes, Endorsements, State
from pyccf.types import SeqNo

COVERINGS_MAX = 64
"""Signature transactions kept taken apart."""
SCAN_SLICE = 256
"""Entries read at once when the next signature is looked for."""
_RAW_MAX = 4096
"""Entries read and not used yet."""


class Missing(Exception):
    """Entries first..last must be read before this goes on."""

    def __init__(self, first: SeqNo, last: SeqNo) -> None:
        super().__init__(f"entries {first} to {last}")
        self.first = first
        self.last = last


class Resolver:
    """Makes states. What it is given to read may be anything: nothing is believed unverified."""

    def __init__(
        self,
        secrets: LedgerSecrets,
        row: Row,
        endorse: Callable[[str], str] | None,
        committed: Callable[[], SeqNo],
    ) -> None:
        """Nothing after what `committed` says is read."""
        self.secrets = PastSecrets(secrets)
        self._eras = Eras(row, endorse)
        self._signatures: list[SeqNo] = []
        """Signature transactions known, ascending; not all there are."""
        self._live: SeqNo = 0
        """The last signature that passed by, 0 before the first."""
        self._scanned: dict[SeqNo, SeqNo] = {}
        """For an entry whose signature is looked for: how far there is none."""
        self._coverings: OrderedDict[SeqNo, tuple[Covering, Era]] = OrderedDict()
        self._raw: dict[SeqNo, bytes] = {}
        self.complaints: dict[str, None] = {}
        """What is wrong with the ledger without making a state wrong, to be reported."""
        self._committed = committed

    # --- signatures that pass by ----------------------------------------------------------------

    def signed(self, seqno: SeqNo) -> None:
        """A signature transaction was ordered at `seqno`."""
        assert seqno > self._live
        self._live = seqno
        self._note(seqno)

    def rollback(self, seqno: SeqNo) -> None:
        """Entries after `seqno` are gone."""
        known = self._signatures
        while known and known[-1] > seqno:
            known.pop()
        self._live = known[-1] if known else 0

    @property
    def last_signed(self) -> SeqNo:
        """Seqno of the last signature transaction, 0 before the first."""
        return self._live

    def _note(self, seqno: SeqNo) -> None:
        known = self._signatures
        if not known or seqno > known[-1]:
            known.append(seqno)
        elif known[bisect_left(known, seqno)] != seqno:
            insort(known, seqno)

    # --- entries --------------------------------------------------------------------------------

    def take(self, first: SeqNo, entries: list[bytes]) -> None:
        """Entries `first` onwards were read."""
        if len(self._raw) + len(entries) > _RAW_MAX:
            self._raw.clear()
        for i, data in enumerate(entries):
            self._raw[first + i] = data

    def let_go(self) -> None:
        """Nothing that was read is needed any more."""
        self._raw.clear()
        self._scanned.clear()

    def entry(self, seqno: SeqNo) -> ParsedEntry:
        """An entry that was read, not proven by anything yet. Raises Missing, InvalidLedger."""
        data = self._raw.get(seqno)
        if data is None:
            raise Missing(seqno, seqno)
        entry = parse(data)
        if entry.seqno != seqno:
            raise InvalidLedger(
                f"The entry read for seqno {seqno} says it is {entry.seqno}.", seqno=seqno
            )
        return entry

    def guess(self, seqno: SeqNo) -> SeqNo:
        """Up to where it is worth reading for an entry: to the signature that covers it."""
        known = self._signatures
        at = bisect_left(known, seqno)
        if at == len(known):
            return min(seqno + SCAN_SLICE, self._committed())
        return known[at] if known[at] <= seqno + SCAN_SLICE else seqno

    # --- states ---------------------------------------------------------------------------------

    def state(self, seqno: SeqNo) -> State:
        """The verified state of a committed transaction.

        Raises Missing, InvalidLedger when something is not what was signed, LocalError when the
        secrets needed cannot be had.
        """
        self._reach_secret(seqno)
        entry = self.entry(seqno)
        covering, era = self._covering(seqno)
        covering.check(entry)
        if covering.entry.seqno == seqno:
            # A signature does not cover itself: that it was sealed here has to do.
            self._open(entry)
        endorsed = PRESENT if self._eras.is_present(era) else self._endorsements(seqno, era)
        return State(entry, covering, self._evidence, endorsed, self._open_private)

    def _endorsements(self, seqno: SeqNo, era: Era) -> Endorsements:
        cose: tuple[bytes, ...] | None = None
        try:
            cose = self._eras.cose(seqno, self)
        except InvalidLedger as e:
            # The transaction is proven all the same, but not by this chain.
            self.complaints[e.message] = None
        return Endorsements(self._eras.certificates(era), cose)

    def _reach_secret(self, seqno: SeqNo) -> None:
        """Walk back to the ledger secret of an entry."""
        while (stored := self.secrets.stored_before(seqno)) is not None:
            entry = self.entry(stored)
            covering, _ = self._covering(stored)
            covering.check(entry)
            self.secrets.learn(entry)

    def _evidence(self, entry: ParsedEntry) -> str | None:
        if entry.evidence_digest is None:
            return None
        return self.secrets.cipher_at(entry.seqno).evidence(entry.view, entry.seqno)

    def _open_private(self, entry: ParsedEntry) -> Changes:
        return wire.decode(self._open(entry)) if entry.ciphertext else {}

    def _open(self, entry: ParsedEntry) -> bytes:
        """The private domain. InvalidLedger when anything in the entry was changed."""
        try:
            cipher = self.secrets.cipher_at(entry.seqno)
            return cipher.open(entry.iv, entry.tag, entry.ciphertext, entry.public)
        except InvalidTag:
            raise InvalidLedger(
                f"Entry {entry.seqno} does not authenticate under its ledger secret.",
                seqno=entry.seqno,
            ) from None

    # --- signatures -----------------------------------------------------------------------------

    def _covering(self, seqno: SeqNo) -> tuple[Covering, Era]:
        """A verified signature that covers an entry, and the service it was made for."""
        known = self._signatures
        at = bisect_left(known, seqno)
        if at < len(known) and known[at] <= self._committed():
            found = self._verified(known[at])
            if found[0].covers(seqno):
                return found
        # The signatures known are others': of what this node did not see pass by.
        return self._verified(self._next_signature(seqno))

    def _next_signature(self, seqno: SeqNo) -> SeqNo:
        """Seqno of the first signature at or after an entry, looked for by reading forward."""
        at = self._scanned.get(seqno, seqno)
        committed = self._committed()
        while at <= committed:
            if at not in self._raw:
                self._scanned[seqno] = at
                raise Missing(at, min(at + SCAN_SLICE - 1, committed))
            if signatures.is_signature(self.entry(at)):
                self._note(at)
                self._scanned[seqno] = at
                return at
            at += 1
        raise InvalidLedger(
            f"No signature covers entry {seqno}, which is committed.",
            seqno=seqno,
            hint="The ledger files were changed or damaged; restore them.",
        )

    def _verified(self, seqno: SeqNo) -> tuple[Covering, Era]:
        """The signature at `seqno`, checked by the service of its time."""
        kept = self._coverings.get(seqno)
        if kept is not None:
            self._coverings.move_to_end(seqno)
            return kept
        covering = Covering(self.entry(seqno))
        era = self._eras.of(covering.signature, self)
        self._check(covering, era)
        self._coverings[seqno] = covering, era
        if len(self._coverings) > COVERINGS_MAX:
            self._coverings.popitem(last=False)
        return covering, era

    def _check(self, covering: Covering, era: Era) -> None:
        covering.check_tree()
        signed = covering.signature
        key = self._eras.key_of_node(signed)
        signatures.verify(signed, covering.tree.root(), key, era.key)

    def check_signed(self, entry: ParsedEntry, era: Era) -> None:
        """Raise InvalidLedger unless a signature of this era covers an entry."""
        covering = Covering(self.entry(self._next_signature(entry.seqno)))
        if not era.endorses(covering.signature):
            raise InvalidLedger(
                f"The signature at {covering.entry.seqno} is not by a node of its service.",
                seqno=covering.entry.seqno,
            )
        self._check(covering, era)
        covering.check(entry)
