"""Bodies of type application/cose for schemathesis: what was generated, signed by a member.

Loaded by schemathesis itself (`SCHEMATHESIS_HOOKS`). The signer's key and certificate come from the
environment; the message type is what the operation asks for, so that what is signed gets past
authentication and meets the parser of its payload. Bodies that are no COSE messages are not sent:
the answer to them is 500, as it is the original's (recorded exchanges say so).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import schemathesis

from pyccf.codec import cbor
from pyccf.crypto import certs, cosesign
from pyccf.crypto.keys import PrivateKey

KEY = "PYCCF_SIGNER_KEY"
CERT = "PYCCF_SIGNER_CERT"


def signed(payload: bytes, operation: dict[str, Any], proposal: str) -> bytes:
    """A message of the signer, of the type an operation asks for."""
    key = PrivateKey.from_pem(Path(os.environ[KEY]).read_text())
    ident = certs.fingerprint(Path(os.environ[CERT]).read_text())
    fields = [
        (cbor.integer(1), cbor.integer(key.public.curve.cose_alg)),
        (cbor.integer(4), cbor.bstr(ident.encode())),
        (cbor.tstr("ccf.gov.msg.created_at"), cbor.integer(int(time.time()))),
        (
            cbor.tstr("ccf.gov.msg.type"),
            cbor.tstr(str(operation.get("x-ccf-message-type", "proposal"))),
        ),
        (cbor.tstr("ccf.gov.msg.proposal_id"), cbor.tstr(proposal)),
    ]
    return cosesign.sign1(key, cbor.mapping(fields), payload, detached=False)


@schemathesis.serializer("application/cose")
def cose_body(context: Any, value: Any) -> bytes:
    data = getattr(value, "data", value)
    raw = data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass")
    case = context.case
    proposal = str(case.path_parameters.get("proposalId", ""))
    clean = proposal.encode("utf-8", "replace").decode()
    return signed(raw, case.operation.definition.raw, clean)
