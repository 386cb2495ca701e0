"""The evidence of a node that was let in, judged again by what the members trusted then.

Whoever lets a node in writes its evidence into the ledger, beside the key that it must be bound to,
and what members trust is there, too. The clock that judged it is not: dates are judged by the last
signature that tells one. What this build does not verify, or what no evidence stands for, is told
as not judged: SGX and the virtual platform of versions that recorded none for it, unless members
said what else they trust, and SEV-SNP where members set no minimum TCB version (all else of it is).
"""

from __future__ import annotations

from collections.abc import Mapping

from pyccf.api.trust import TableTrust
from pyccf.attest import policy
from pyccf.attest.evidence import Format, QuoteInfo, check_binding
from pyccf.crypto.keys import PublicKey
from pyccf.errors import InvalidEvidence
from pyccf.kv.tx import Tx
from pyccf.service import tables
from pyccf.types import Json, UnixSeconds

_JUDGED_PLATFORMS = (tables.VIRTUAL_HOST_DATA, tables.SNP_HOST_DATA)
"""Where members say what they trust on the platforms that are judged here."""


class Unjudged(Exception):
    """The evidence cannot be judged here, for this reason."""


def check(tx: Tx, node: str, row: Mapping[str, Json], now: UnixSeconds) -> None:
    """Judge the evidence in a row of the nodes table, `tx` being the state that it came into.

    Raises InvalidEvidence when the node should not have been let in, Unjudged.
    """
    evidence = QuoteInfo.from_json(row.get("quote_info"))
    old = _of_old_versions(evidence)
    if old:
        if any(tx.map(name).size() for name in _JUDGED_PLATFORMS):
            raise InvalidEvidence(f"{old}, and members trusted evidence that is")
        raise Unjudged(old)
    key = _key(row)
    if key.id != node:
        raise InvalidEvidence("the key in its row is not that of its id")
    try:
        policy.judge(evidence, TableTrust(tx), key.der, now)
    except InvalidEvidence as e:
        if e.message == policy.TCB_REFUSED and not tx.map(tables.SNP_TCB_VERSIONS).size():
            claims, _ = policy.verify(evidence, now)
            if not check_binding(claims, key.der):
                raise InvalidEvidence(policy.OTHER_KEY) from None
            raise Unjudged("members of its time set no minimum TCB version") from None
        detail = f" ({e.hint})" if e.hint else ""
        raise InvalidEvidence(e.message + detail) from None


def _of_old_versions(evidence: QuoteInfo) -> str:
    """Why this is no evidence that could be judged here; empty when it is."""
    if evidence.format is Format.SGX:
        return "evidence of SGX is not verified any more"
    if evidence.format is Format.VIRTUAL and not evidence.quote:
        return "the version that let it in recorded no evidence"
    return ""


def _key(row: Mapping[str, Json]) -> PublicKey:
    """The node's key; old versions recorded its certificate instead."""
    try:
        if "public_key" in row:
            return PublicKey.from_pem(str(row["public_key"]))
        return PublicKey.from_certificate(str(row.get("cert")))
    except ValueError:
        raise InvalidEvidence("its row has no key that can be read") from None
