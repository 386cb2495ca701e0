"""Endorsements of service identities: each service key vouches for the one before it.

The row of `public:ccf.internal.previous_service_identity_endorsement` holds a COSE_Sign1 whose
payload is the endorsed key, signed by the service key of the time, and the range of transactions
the endorsed key answers for. The first service of a ledger endorses itself. `parse` refuses
(InvalidLedger) rows that are not that; `fault` says in words why one does not hold.
(spec: crypto.md §8)
"""

from __future__ import annotations

import msgspec

from pyccf.codec import cose
from pyccf.codec.text import load_json, unb64
from pyccf.crypto import cosesign
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidLedger
from pyccf.types import SeqNo, TxID

TABLE = "public:ccf.internal.previous_service_identity_endorsement"
_CCF_V1 = "ccf.v1"


class Endorsement(msgspec.Struct, frozen=True):
    """One row. `endorsed` and `endorsing` are keys as DER SubjectPublicKeyInfo."""

    envelope: bytes
    endorsed: bytes
    endorsing: bytes
    begin: TxID
    end: TxID | None
    previous_version: SeqNo | None
    root: bytes | None

    @property
    def of_itself(self) -> bool:
        """Whether this is the first in its ledger: the service endorses its own key."""
        return self.previous_version is None


def parse(row: bytes) -> Endorsement:
    """Read a row of the table. Raises InvalidLedger."""
    try:
        value = load_json(row)
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        previous = value.get("previous_version")
        if previous is not None and (not isinstance(previous, int) or isinstance(previous, bool)):
            raise ValueError("previous_version is no integer")
        envelope = unb64(_text(value.get("endorsement"), "endorsement"))
        sign1 = cose.parse_sign1(envelope)
        if sign1.payload is None:
            raise ValueError("its envelope has no payload")
        epoch = sign1.headers.get(_CCF_V1)
        root = epoch.get("epoch.end.merkle.root") if isinstance(epoch, dict) else None
        if root is not None and (not isinstance(root, bytes) or len(root) != 32):
            raise ValueError("the root in its header is no digest")
        end = value.get("endorsement_epoch_end")
        return Endorsement(
            envelope,
            sign1.payload,
            unb64(_text(value.get("endorsing_key"), "endorsing_key")),
            _txid(value.get("endorsement_epoch_begin")),
            None if end is None else _txid(end),
            previous,
            root,
        )
    except ValueError as error:
        raise InvalidLedger(f"Malformed endorsement of a service identity: {error}.") from None


def fault(endorsement: Endorsement, service_key: PublicKey) -> str:
    """Why an endorsement by the present service key does not hold, "" when it does."""
    sign1 = cose.parse_sign1(endorsement.envelope)
    if endorsement.endorsing != service_key.der:
        return "names another endorsing key than the service's"
    if not cosesign.verify1(sign1, service_key):
        return "is not signed by the service key"
    epoch = sign1.headers.get(_CCF_V1)
    if not isinstance(epoch, dict):
        return "has no range of transactions in its header"
    end = None if endorsement.end is None else str(endorsement.end)
    signed = (epoch.get("epoch.start.txid"), epoch.get("epoch.end.txid"))
    if signed != (str(endorsement.begin), end):
        return "has a range of transactions that differs from the signed one"
    if endorsement.of_itself and endorsement.endorsed != service_key.der:
        return "has no previous one but endorses another key than its own"
    return ""


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _txid(value: object) -> TxID:
    txid = TxID.parse(value) if isinstance(value, str) else None
    if txid is None:
        raise ValueError("its range of transactions is malformed")
    return txid
