"""Proofs in CBOR and COSE that a transaction is in the ledger.

All but the last take the transaction from the header x-ms-ccf-transaction-id.
"""

from __future__ import annotations

from typing import Any

import msgspec

from logging_sample.model import USER, app
from pyccf.apps.python import AppContext
from pyccf.errors import RpcError

PAST: dict[str, Any] = {"mode": "historical", "forwarding": "never", "auth": USER}


class CoseSignature(msgspec.Struct):
    cose_signature: bytes


class Endorsements(msgspec.Struct):
    endorsements: tuple[bytes, ...]


def none_for(ctx: AppContext, what: str) -> RpcError:
    return RpcError(404, "ResourceNotFound", f"No {what} for transaction {ctx.historical.txid}")


@app.get("/log/public/cbor_merkle_proof", produces="application/cbor", **PAST)
def cbor_merkle_proof(ctx: AppContext) -> bytes:
    """Merkle proof of a transaction"""
    proof = ctx.historical.proof
    if proof is None:
        raise none_for(ctx, "Merkle proof")
    return proof


@app.get("/log/public/cose_receipt", produces="application/cose", **PAST)
def cose_receipt(ctx: AppContext) -> bytes:
    """COSE receipt of a transaction: the service's signature with the proof in its header"""
    receipt = ctx.historical.cose_receipt
    if receipt is None:
        raise none_for(ctx, "COSE receipt")
    return receipt


@app.get("/log/public/cose_signature", **PAST)
def cose_signature(ctx: AppContext) -> CoseSignature:
    """The service's signature over the Merkle root that a transaction is under"""
    signature = ctx.historical.cose_signature
    if signature is None:
        raise none_for(ctx, "COSE signature")
    return CoseSignature(signature)


@app.get("/log/public/cose_endorsements", **PAST)
def cose_endorsements(ctx: AppContext) -> Endorsements:
    """Endorsements from the present service back to the one that signed a transaction"""
    endorsements = ctx.historical.cose_endorsements
    if not endorsements:
        raise none_for(ctx, "COSE endorsements")
    return Endorsements(endorsements)


@app.get("/cose_signatures_config", forwarding="never", auth=USER)
def cose_signatures_config(ctx: AppContext) -> dict[str, str]:
    """Whom the service names as the maker of its COSE signatures"""
    named = ctx.services.signs_as()
    return {"issuer": named.issuer, "subject": named.subject}
