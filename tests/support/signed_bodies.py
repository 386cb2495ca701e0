"""Bodies of type application/cose for schemathesis: what was generated, signed by a member.

Loaded by schemathesis itself (`SCHEMATHESIS_HOOKS`). The signer's key and certificate come from the
environment; the message type is what the operation asks for, so that what is signed gets past
authentication and meets the parser of its payload.

What the original answers otherwise than a document can say, and we as it does, is kept out (as
recorded): bodies that are no COSE messages, and proposals that the constitution cannot read
as such, are answered with 500; the actions of a proposal come without a content type.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import schemathesis

from pyccf.codec import cbor
from pyccf.codec.text import b64
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


def is_proposal(payload: bytes) -> bool:
    """Whether a constitution can read this as a proposal, sensible or not."""
    try:
        value = json.loads(payload)
    except ValueError:
        return False
    actions = value.get("actions") if isinstance(value, dict) else None
    return isinstance(actions, list) and all(isinstance(action, dict) for action in actions)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """The actions of a proposal are JSON, though nobody says so."""
    if case.path.endswith("/actions") and response.status_code == 200:
        response.headers.setdefault("content-type", ["application/json"])


@schemathesis.serializer("application/cose")
def cose_body(context: Any, value: Any) -> bytes:
    data = getattr(value, "data", value)
    raw = data if isinstance(data, bytes) else str(data).encode("utf-8", "surrogatepass")
    case = context.case
    kind = case.operation.definition.raw.get("x-ccf-message-type", "proposal")
    if kind == "proposal" and not is_proposal(raw):
        raw = json.dumps({"actions": [{"name": "made up", "args": b64(raw)}]}).encode()
    proposal = str(case.path_parameters.get("proposalId", ""))
    clean = proposal.encode("utf-8", "replace").decode()
    return signed(raw, case.operation.definition.raw, clean)
