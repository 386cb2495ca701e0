"""What a client of an application needs besides plain requests: signed requests, and proofs.

Receipts are verified here and now, against the service certificate that the client was given: no
node is believed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyccf.client.connection import Connection, Reply, Wait
from pyccf.client.signing import COSE_TYPE, Identity, sign_user
from pyccf.client.steps import Steps, conversation
from pyccf.crypto import certs
from pyccf.errors import LocalError
from pyccf.ledger.receipt import Proven, verify_cose_receipt, verify_json_receipt
from pyccf.types import Json


class AppApi(Connection):
    """Endpoints under /app, and what they answer with."""

    @conversation
    def app_document(self) -> Steps[Json]:
        """The OpenAPI document of the application."""
        return (yield from self._get("/app/api")).check().json()

    @conversation
    def post_signed(
        self,
        path: str,
        payload: bytes,
        *,
        signer: Identity | None = None,
        message: str | None = None,
        wait: Wait | None = None,
        wait_timeout_ms: int | None = None,
    ) -> Steps[Reply]:
        """POST a payload signed by a user, for endpoints with the policy user_cose_sign1.

        Signed by the client's identity or by `signer`; `message` is the type that the endpoint may
        ask for. Raises LocalError without an identity.
        """
        who = signer or self.identity
        if who is None:
            raise LocalError(
                "This request must be signed by a user", hint="Give a certificate and its key."
            )
        return (
            yield from self._post(
                path,
                content=sign_user(who, payload, int(self._unix_time()), message),
                headers={"content-type": COSE_TYPE},
                wait=wait,
                wait_timeout_ms=wait_timeout_ms,
            )
        )

    def verify_receipt(
        self, receipt: Mapping[str, Json] | bytes, *, claims: bytes | None = None
    ) -> Proven:
        """Check a receipt, JSON (an object) or COSE (bytes), against the service certificate.

        `claims` is the claims digest that the receipt must hold. Says what was proven; raises
        InvalidReceipt. A receipt from before a recovery must carry the endorsements that lead to
        the service's certificate of today.
        """
        if isinstance(receipt, bytes):
            key = certs.public_key(self.service_cert_pem)
            return verify_cose_receipt(receipt, key, claims=claims)
        return verify_json_receipt(receipt, self.service_cert_pem, claims=claims)
