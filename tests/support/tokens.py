"""Bearer tokens and the key sets they are verified with."""

from __future__ import annotations

import json
from typing import Any

from pyccf.codec.text import b64url
from pyccf.crypto import jwk
from pyccf.crypto.entropy import SeededEntropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey


class Issuer:
    """Signs tokens, with one RSA or P-256 key."""

    def __init__(self, name: str, kid: str = "key1", *, ec: bool = False) -> None:
        self.name = name
        self.kid = kid
        self.key: RsaPrivateKey | PrivateKey
        if ec:
            self.key = PrivateKey.generate(Curve.P256, SeededEntropy(f"issuer {name} {kid}"))
        else:
            self.key = RsaPrivateKey.generate()

    @property
    def alg(self) -> str:
        return "RS256" if isinstance(self.key, RsaPrivateKey) else "ES256"

    def jwk(self, constraint: str | None = None) -> dict[str, Any]:
        """The public key as an issuer publishes it."""
        pem = self.key.public.pem()
        made = (
            jwk.rsa_public_jwk(pem, self.kid)
            if isinstance(self.key, RsaPrivateKey)
            else jwk.ec_public_jwk(pem, self.kid)
        )
        return {**made, "issuer": constraint} if constraint is not None else dict(made)

    def jwks(self, constraint: str | None = None) -> dict[str, Any]:
        return {"keys": [self.jwk(constraint)]}

    def token(self, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of this issuer; a claim that is None is left out."""
        head = {"alg": self.alg, "typ": "JWT", "kid": self.kid, **(header or {})}
        payload = {"iss": self.name, "exp": 1 << 33, **claims}
        return self.sign(head, {k: v for k, v in payload.items() if v is not None})

    def sign(self, header: object, payload: object) -> str:
        """A token made of just these."""
        text = f"{b64url(json.dumps(header).encode())}.{b64url(json.dumps(payload).encode())}"
        data = text.encode()
        if isinstance(self.key, RsaPrivateKey):
            signature = self.key.sign_pkcs1(data)
        else:
            signature = self.key.sign_raw(data, "SHA-256")
        return f"{text}.{b64url(signature)}"


def bearer(token: str) -> dict[str, str]:
    """Headers that carry a token."""
    return {"authorization": f"Bearer {token}"}
