"""Recorded requests to join, made anew with keys of ours.

A request to join tells the joiner's key in three places: the client's certificate, the signing
request and the evidence. All three are ours here; what was wrong on purpose stays wrong.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from pyccf.codec.text import b64, unb64
from pyccf.crypto import certs
from pyccf.crypto.keys import PublicKey
from replay.recording import Exchange, Recording
from support.transcripts import Client

PATH = "/node/join"


class Joiners:
    """Whose keys stand in for which recorded ones."""

    def __init__(
        self,
        recording: Recording,
        known: dict[str, str],
        clients: dict[str, Client],
        symbols: dict[str, str],
    ) -> None:
        self.known = known
        self.keys: dict[str, Client] = {}
        """Recorded node id → the client of ours that stands in for it."""
        for name, client in clients.items():
            ident = symbols.get(f"{name}_id")
            if ident is not None and name.startswith("joiner"):
                self.keys[ident] = client
                known[ident] = PublicKey.from_certificate(certs.pem_to_der(client.cert)).id

    def translated(self, exchange: Exchange) -> Exchange:
        """The exchange with our keys in its body, if it is a request to join."""
        request = exchange["request"]
        if request.get("path") != PATH or "body" not in request or not self.keys:
            return exchange
        try:
            body = json.loads(request["body"])
        except ValueError:
            return exchange
        if not isinstance(body, dict):
            return exchange
        self._signing_request(body)
        self._evidence(body)
        return {**exchange, "request": {**request, "body": json.dumps(body)}}

    def _signing_request(self, body: dict[str, Any]) -> None:
        pem = body.get("certificate_signing_request")
        try:
            ident = certs.csr_public_key(pem).id
        except (ValueError, TypeError, AttributeError):
            return
        if ident in self.keys:
            body["certificate_signing_request"] = certs.csr(self.keys[ident].key, f"CN={ident[:8]}")

    def _evidence(self, body: dict[str, Any]) -> None:
        info = body.get("quote_info")
        if not isinstance(info, dict):
            return
        try:
            quote = json.loads(unb64(info["quote"]))
            told = unb64(quote["report_data"])
        except (ValueError, KeyError, TypeError):
            return
        if quote.get("host_data") in self.known:
            quote["host_data"] = self.known[quote["host_data"]]
        for ident, client in self.keys.items():
            if told[:32].hex() == ident:
                digest = sha256(certs.spki(client.cert)).digest()
                quote["report_data"] = b64(digest + told[32:])
        info["quote"] = base64.b64encode(
            json.dumps(quote, separators=(",", ":"), sort_keys=True).encode()
        ).decode()
