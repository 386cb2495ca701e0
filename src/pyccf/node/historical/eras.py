"""The service identities of a ledger: the present one, and those before each recovery.

The present `service.info` names the entry in which the service before stands, and so on back. An
earlier identity is believed when the later one vouches for it: by the COSE endorsement of its key,
or by the certificate that the recovery was told to continue from; ledgers from before both say
neither. From the chain come the certificates by which receipts of earlier services verify under the
present one, and the COSE endorsements for the same purpose
(spec: historical-and-indexing.md §4, merkle-and-receipts.md §5.3, crypto.md §8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from pyccf.codec import cose
from pyccf.codec.text import load_json
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger, LocalError
from pyccf.kv.changes import UNIT
from pyccf.ledger import endorsement
from pyccf.ledger.certchain import endorsed_by, key_of
from pyccf.ledger.endorsement import Endorsement
from pyccf.ledger.entry import ParsedEntry
from pyccf.ledger.signature import Signature
from pyccf.service import tables
from pyccf.types import Json, SeqNo, TxID

ERAS_MAX = 1000
"""Service identities that one ledger may have had."""

CERTIFICATES_MAX = 256
"""Certificates of nodes of which is remembered what was found out."""

Row = Callable[[str, bytes], "bytes | None"]
"""Reads a row of a table by its key."""


class Proven(Protocol):
    """Where entries of the past come from."""

    def entry(self, seqno: SeqNo) -> ParsedEntry:
        """An entry, not proven by anything yet. Raises `resolve.Missing` when it must be read."""
        ...

    def check_signed(self, entry: ParsedEntry, era: Era) -> None:
        """Raise InvalidLedger unless a signature of this era covers an entry."""
        ...


class Era:
    """One service identity, and what led to it."""

    __slots__ = ("_endorsed", "cert", "key", "predecessors", "previous_version")

    def __init__(self, cert: str, previous_version: SeqNo | None, predecessors: list[bytes]):
        self.cert = cert
        self._endorsed: dict[str, bool] = {}
        try:
            self.key: PublicKey = key_of(cert)
        except ValueError as e:
            raise InvalidLedger(f"A service certificate cannot be read: {e}.") from None
        self.previous_version = previous_version
        """Where the identity before stands; None in the first era."""
        self.predecessors = predecessors
        """Keys (DER) that are known to be the identity before; none in old ledgers."""

    def endorses(self, signature: Signature) -> bool:
        """Whether the node that signed was one of this service.

        The first version of the original put no certificates of nodes into signatures, and had no
        recovery that would do it: what was signed so is of the first service.
        """
        if not signature.cert:
            return self.previous_version is None
        known = self._endorsed.get(signature.cert)
        if known is None:
            if len(self._endorsed) >= CERTIFICATES_MAX:
                self._endorsed.clear()
            known = self._endorsed[signature.cert] = endorsed_by(signature.cert, self.cert)
        return known


class Eras:
    """The chain of service identities, newest first, as far as it was needed."""

    def __init__(self, row: Row, endorse: Callable[[str], str] | None) -> None:
        """`row` reads the state as it is committed; `endorse` makes a certificate of an older
        service's by the present one, where this node can."""
        self._row = row
        self._endorse = endorse
        self._present: bytes | None = None
        self._eras: list[Era] = []
        self._certificates: dict[bytes, str] = {}
        self._chain: list[Endorsement] = []
        self._node_keys: dict[str, PublicKey] = {}
        """Keys of nodes by their certificates."""

    # --- identities -----------------------------------------------------------------------------

    def of(self, signature: Signature, past: Proven) -> Era:
        """The era in which something was signed. InvalidLedger when no service endorsed it."""
        self._refresh()
        index = 0
        while True:
            era = self._era(index, past)
            if era is None:
                raise InvalidLedger(
                    f"The signature at {signature.seqno} is by node {signature.node}, which no"
                    " service of this ledger endorsed.",
                    seqno=signature.seqno,
                )
            if era.endorses(signature):
                return era
            index += 1

    def is_present(self, era: Era) -> bool:
        """Whether an era is that of the present service."""
        return bool(self._eras) and era.key.der == self._eras[0].key.der

    def certificates(self, era: Era) -> tuple[str, ...]:
        """What a JSON receipt of an era needs beside it under the present service."""
        if self.is_present(era) or self._endorse is None:
            return ()
        made = self._certificates.get(era.key.der)
        if made is None:
            made = self._certificates[era.key.der] = self._endorse(era.cert)
        return (made,)

    def _refresh(self) -> None:
        """Begin anew when the service changed: it was recovered, opened, or its certificate."""
        raw = self._row(tables.SERVICE_INFO, UNIT)
        if raw is not None and raw == self._present:
            return
        if raw is None:
            raise LocalError("The service does not exist yet.")
        self._present = raw
        self._chain = []
        self._certificates = {}
        self._eras = [_era(raw, self._row)]

    def _era(self, index: int, past: Proven) -> Era | None:
        """The era number `index` from the present back; None before the first one."""
        while index >= len(self._eras):
            newer = self._eras[-1]
            at = newer.previous_version
            if at is None:
                return None
            if len(self._eras) >= ERAS_MAX:
                raise InvalidLedger("The chain of service identities does not end.", seqno=at)
            entry = past.entry(at)
            rows = entry.public_maps()
            raw = _row_of(rows, tables.SERVICE_INFO, UNIT)
            if raw is None:
                raise _bad(at, "should hold an earlier service identity and does not")
            older = _era(raw, partial(_row_of, rows))
            if older.previous_version is not None and older.previous_version >= at:
                raise _bad(at, "names a later entry as that of the service before")
            if older.key.der == newer.key.der:
                # An earlier row of the same service: what it says of its predecessor counts.
                past.check_signed(entry, newer)
                newer.previous_version = older.previous_version
                newer.predecessors += older.predecessors
                continue
            if newer.predecessors and older.key.der not in newer.predecessors:
                raise _bad(at, "holds another service identity than the later one vouches for")
            past.check_signed(entry, older)
            self._eras.append(older)
        return self._eras[index]

    def key_of_node(self, signature: Signature) -> PublicKey:
        """The key that a signature was made with. InvalidLedger when it cannot be told.

        Signatures of the first version of the original do not hold it, the table of nodes does.
        """
        cert = signature.cert or self._cert_in_table(signature)
        known = self._node_keys.get(cert)
        if known is not None and known.id == signature.node:
            return known
        try:
            key = key_of(cert)
        except ValueError as e:
            raise _bad(
                signature.seqno, f"is signed by a node whose certificate cannot be read: {e}"
            ) from None
        if key.id != signature.node:
            raise _bad(
                signature.seqno, f"carries the certificate of another node than {signature.node}"
            )
        if len(self._node_keys) >= CERTIFICATES_MAX:
            self._node_keys.clear()
        self._node_keys[cert] = key
        return key

    def _cert_in_table(self, signature: Signature) -> str:
        raw = self._row(tables.NODES_INFO, signature.node.encode())
        row = None if raw is None else tables.decode_row(tables.NODES_INFO, raw)
        cert = row.get("cert") if isinstance(row, dict) else None
        if not isinstance(cert, str):
            raise _bad(signature.seqno, "is signed by a node whose certificate nobody knows")
        return cert

    # --- COSE endorsements ----------------------------------------------------------------------

    def cose(self, seqno: SeqNo, past: Proven) -> tuple[bytes, ...] | None:
        """Endorsements from the present service back to the one that answers for `seqno`.

        None when the present service does, or nothing goes back that far. Raises InvalidLedger
        when an endorsement does not hold.
        """
        self._refresh()
        info = load_json(self._present or b"{}")
        text = info.get("current_service_create_txid") if isinstance(info, dict) else None
        created = TxID.parse(text) if isinstance(text, str) else None
        if created is None or seqno >= created.seqno:
            return None
        chain = self._chain
        if not chain:
            raw = self._row(tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, UNIT)
            if raw is None:
                # A service of an earlier version of the original that was not recovered since.
                return None
            chain.append(_checked(endorsement.parse(raw), self._eras[0].key, created.seqno))
        while not chain[-1].of_itself and chain[-1].begin.seqno > seqno:
            newer = chain[-1]
            at = newer.previous_version
            assert at is not None
            raw = _endorsement_row(past.entry(at))
            older = endorsement.parse(raw)
            _checked(older, PublicKey.from_der(older.endorsing), at)
            _check_follows(newer, older, at)
            chain.append(older)
        return _upto(chain, seqno)


def _era(raw: bytes, row: Row) -> Era:
    """An era from its `service.info` and the other rows written with it."""
    try:
        info = load_json(raw)
    except ValueError:
        info = None
    cert = info.get("cert") if isinstance(info, dict) else None
    if not isinstance(info, dict) or not isinstance(cert, str):
        raise InvalidLedger("A row of service.info has no certificate.")
    previous = info.get("previous_service_identity_version")
    if not isinstance(previous, int) or isinstance(previous, bool) or previous < 1:
        previous = None
    era = Era(cert, previous, [])
    era.predecessors = _predecessors(era, row)
    return era


def _predecessors(era: Era, row: Row) -> list[bytes]:
    known: list[bytes] = []
    told = row(tables.PREVIOUS_SERVICE_IDENTITY, UNIT)
    if told is not None:
        try:
            pem: Json = load_json(told)
        except ValueError:
            pem = None
        if isinstance(pem, str):
            try:
                known.append(key_of(pem).der)
            except ValueError:
                raise InvalidLedger("The previous service identity cannot be read.") from None
    raw = row(tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT, UNIT)
    if raw is not None:
        vouched = endorsement.parse(raw)
        # Before a recovered service is open again, the row is still its predecessor's.
        if vouched.endorsing == era.key.der and not vouched.of_itself:
            known.append(vouched.endorsed)
    return known


def _row_of(
    maps: Mapping[str, Mapping[bytes, bytes | None]], table: str, key: bytes
) -> bytes | None:
    """A row that an entry wrote."""
    return maps.get(table, {}).get(key)


def _endorsement_row(entry: ParsedEntry) -> bytes:
    table = tables.PREVIOUS_SERVICE_IDENTITY_ENDORSEMENT
    raw = _row_of(entry.public_maps(), table, UNIT)
    if raw is None:
        raise _bad(entry.seqno, "should hold an endorsement of a service identity and does not")
    return raw


def _checked(vouched: Endorsement, key: PublicKey, at: SeqNo) -> Endorsement:
    if vouched.of_itself:
        sound = cosesign.verify1(cose.parse_sign1(vouched.envelope), key)
        reason = "" if sound else "is not signed by its own key"
    else:
        reason = endorsement.fault(vouched, key)
        if not reason and vouched.end is None:
            reason = "does not say where it ends"
    if reason:
        raise InvalidLedger(f"The endorsement of a service identity at {at} {reason}.", seqno=at)
    return vouched


def _check_follows(newer: Endorsement, older: Endorsement, at: SeqNo) -> None:
    """The older service's key is the one that was endorsed, and no transaction is left out."""
    if older.endorsing != newer.endorsed:
        raise _bad(at, "holds an endorsement by another key than the later one endorses")
    if older.of_itself or older.end is None:
        return
    if newer.begin != TxID(older.end.view + 2, older.end.seqno + 1):
        raise _bad(at, "holds an endorsement that does not end where the later one begins")


def _upto(chain: list[Endorsement], seqno: SeqNo) -> tuple[bytes, ...] | None:
    """The endorsements a verifier of `seqno` walks, newest first."""
    found: list[bytes] = []
    for vouched in chain:
        if vouched.of_itself:
            break
        found.append(vouched.envelope)
        if vouched.begin.seqno <= seqno:
            return tuple(found)
    return None


def _bad(seqno: SeqNo, what: str) -> InvalidLedger:
    return InvalidLedger(f"Entry {seqno} {what}.", seqno=seqno)
