"""Key pairs: elliptic curve keys that sign, RSA keys that decrypt shares and secrets.

Keys are made from the `entropy` handed in. One made from `SeededEntropy` signs with RFC 6979
(same key, same message, same signature) so that simulated ledgers repeat; all others sign with
the operating system's chance. Identifiers are the hex SHA-256 of the public key's DER
SubjectPublicKeyInfo (crypto.md §1). Private keys travel as PKCS#8 PEM and are never printed.

Refuses (ValueError): texts that are no key, keys of another kind or curve, encrypted PEM.
Checking a signature never raises: what cannot be a signature is not one.
"""

from __future__ import annotations

import hashlib
from enum import Enum

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from pyccf.crypto import seeded_rsa
from pyccf.crypto.entropy import Entropy, SeededEntropy, below

EcPrivate = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
EcPublic = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

RSA_BITS = 2048
"""Size of a node's encryption key (crypto.md §1)."""
NO_KEY_MAX = 20
"""Characters of a text that is too short to be a private key in any form."""


class Curve(Enum):
    """Curves of signing keys; values are the JWK names."""

    P256 = "P-256"
    P384 = "P-384"
    P521 = "P-521"
    ED25519 = "Ed25519"

    @property
    def coordinate_size(self) -> int:
        """Bytes of a coordinate, and of each half of a raw signature."""
        return _COORDINATE[self]

    @property
    def order(self) -> int:
        """Order of the group of an elliptic curve: private scalars are below it."""
        return _ORDERS[self]

    @property
    def cose_alg(self) -> int:
        """COSE algorithm of a signature with this curve's own digest (RFC 9053 §2)."""
        return _COSE_ALG[self]

    @classmethod
    def from_name(cls, name: str) -> Curve:
        """The curve of a configuration (`Secp384r1`, `Secp256R1`) or a JWK (`P-384`) name.

        Raises ValueError for others.
        """
        curve = _NAMES.get(name.lower())
        if curve is None:
            raise ValueError(f"unknown curve {name!r}")
        return curve


_COORDINATE = {Curve.P256: 32, Curve.P384: 48, Curve.P521: 66, Curve.ED25519: 32}
_COSE_ALG = {Curve.P256: -7, Curve.P384: -35, Curve.P521: -36, Curve.ED25519: -8}
_NAMES = {
    "secp256r1": Curve.P256,
    "p-256": Curve.P256,
    "secp384r1": Curve.P384,
    "p-384": Curve.P384,
    "secp521r1": Curve.P521,
    "p-521": Curve.P521,
    "curve25519": Curve.ED25519,
    "ed25519": Curve.ED25519,
}
_EC_CURVES: dict[Curve, ec.EllipticCurve] = {
    Curve.P256: ec.SECP256R1(),
    Curve.P384: ec.SECP384R1(),
    Curve.P521: ec.SECP521R1(),
}
_BY_OPENSSL_NAME = {ec_curve.name: curve for curve, ec_curve in _EC_CURVES.items()}
# Orders of the groups (FIPS 186-5, SP 800-186 §3.2.1).
_ORDERS = {
    Curve.P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    Curve.P384: int(
        "ffffffffffffffffffffffffffffffffffffffffffffffff"
        "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    ),
    Curve.P521: int(
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
        "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
        16,
    ),
}
_DIGESTS: dict[Curve, hashes.HashAlgorithm] = {
    Curve.P256: hashes.SHA256(),
    Curve.P384: hashes.SHA384(),
    Curve.P521: hashes.SHA512(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA-256": hashes.SHA256(),
    "SHA-384": hashes.SHA384(),
    "SHA-512": hashes.SHA512(),
}
_DIGEST_BY_SIZE: dict[int, hashes.HashAlgorithm] = {
    32: hashes.SHA256(),
    48: hashes.SHA384(),
    64: hashes.SHA512(),
}
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_PKCS8 = serialization.PrivateFormat.PKCS8
_PEM = serialization.Encoding.PEM
_DER = serialization.Encoding.DER
_PLAIN = serialization.NoEncryption()


def hash_by_name(name: str) -> hashes.HashAlgorithm:
    """The digest `SHA-256`, `SHA-384` or `SHA-512`; ValueError for others."""
    digest = _HASHES.get(name)
    if digest is None:
        raise ValueError(f"unknown digest {name!r}")
    return digest


def no_private_pem(text: str) -> str:
    """The words about a text that should be a private key in PEM and is no PEM.

    It may be the key in another form: then it is not repeated.
    """
    shown = f": {text}" if len(text) <= NO_KEY_MAX else ""
    return f"PEM constructed with non-PEM data{shown}"


def _prehashed(digest: bytes) -> Prehashed:
    algorithm = _DIGEST_BY_SIZE.get(len(digest))
    assert algorithm is not None, "a digest has 32, 48 or 64 bytes"
    return Prehashed(algorithm)


def _curve_of(key: object) -> Curve:
    if isinstance(key, (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)):
        return Curve.ED25519
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        curve = _BY_OPENSSL_NAME.get(key.curve.name)
        if curve is None:
            raise ValueError(f"unsupported curve {key.curve.name}")
        return curve
    raise ValueError("not an elliptic curve key")


class PublicKey:
    """An elliptic curve (or Ed25519) public key."""

    __slots__ = ("_ecdsa", "_id", "_native", "curve", "der")

    def __init__(self, native: EcPublic) -> None:
        self.curve: Curve = _curve_of(native)
        self._native = native
        self._ecdsa = ec.ECDSA(_DIGESTS[self.curve]) if self.curve in _DIGESTS else None
        self.der: bytes = native.public_bytes(_DER, _SPKI)
        """DER SubjectPublicKeyInfo."""
        self._id = ""

    @classmethod
    def from_pem(cls, pem: str | bytes) -> PublicKey:
        """From a PEM SubjectPublicKeyInfo; ValueError otherwise."""
        return cls(_ec_public(_load(serialization.load_pem_public_key, pem)))

    @classmethod
    def from_der(cls, der: bytes) -> PublicKey:
        """From a DER SubjectPublicKeyInfo; ValueError otherwise."""
        return cls(_ec_public(_load(serialization.load_der_public_key, der)))

    @classmethod
    def from_certificate(cls, certificate: str | bytes) -> PublicKey:
        """The key of a certificate (PEM text, or DER bytes); ValueError when it is no EC key."""
        return cls(_ec_public(certificate_key(certificate)))

    @property
    def native(self) -> EcPublic:
        """The key as the cryptography library holds it."""
        return self._native

    @property
    def id(self) -> str:
        """Hex SHA-256 of the DER SubjectPublicKeyInfo."""
        if not self._id:
            self._id = hashlib.sha256(self.der).hexdigest()
        return self._id

    def pem(self) -> str:
        """PEM SubjectPublicKeyInfo."""
        return self._native.public_bytes(_PEM, _SPKI).decode()

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Whether this is a signature over data: DER ECDSA with the curve's digest, or Ed25519."""
        native = self._native
        try:
            if isinstance(native, ed25519.Ed25519PublicKey):
                native.verify(signature, data)
            else:
                assert self._ecdsa is not None, "an EC key has an ECDSA digest"
                native.verify(signature, data, self._ecdsa)
        except InvalidSignature:
            return False
        return True

    def verify_digest(self, signature: bytes, digest: bytes) -> bool:
        """Whether this is a DER ECDSA signature over a digest of 32, 48 or 64 bytes as it is.

        False for Ed25519 keys, which sign no digests.
        """
        native = self._native
        if isinstance(native, ed25519.Ed25519PublicKey):
            return False
        try:
            native.verify(signature, digest, ec.ECDSA(_prehashed(digest)))
        except InvalidSignature:
            return False
        return True

    def verify_raw(self, signature: bytes, data: bytes, hash: str | None = None) -> bool:
        """Whether this is a raw signature r ‖ s over data; digest by curve unless named.

        Each half must have the size of the curve. For Ed25519 `hash` is ignored.
        """
        native = self._native
        if isinstance(native, ed25519.Ed25519PublicKey):
            return self.verify(signature, data)
        size = self.curve.coordinate_size
        if len(signature) != 2 * size:
            return False
        der = encode_dss_signature(
            int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        )
        if hash is None:
            return self.verify(der, data)
        try:
            native.verify(der, data, ec.ECDSA(hash_by_name(hash)))
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"PublicKey({self.curve.value}, {self.id})"


class PrivateKey:
    """An elliptic curve (or Ed25519) private key."""

    __slots__ = ("_deterministic", "_ecdsa", "_native", "curve", "public")

    def __init__(self, native: EcPrivate, *, deterministic: bool = False) -> None:
        self.curve: Curve = _curve_of(native)
        self._native = native
        self._deterministic = deterministic
        self._ecdsa = (
            ec.ECDSA(_DIGESTS[self.curve], deterministic_signing=deterministic)
            if self.curve in _DIGESTS
            else None
        )
        self.public: PublicKey = PublicKey(native.public_key())
        """The public half."""

    @classmethod
    def generate(cls, curve: Curve, entropy: Entropy) -> PrivateKey:
        """A fresh key made of the bytes of `entropy`, uniform in its group."""
        deterministic = isinstance(entropy, SeededEntropy)
        if curve is Curve.ED25519:
            return cls(
                ed25519.Ed25519PrivateKey.from_private_bytes(entropy.bytes(32)),
                deterministic=deterministic,
            )
        scalar = 1 + below(entropy, curve.order - 1)
        return cls(ec.derive_private_key(scalar, _EC_CURVES[curve]), deterministic=deterministic)

    @classmethod
    def from_pem(cls, pem: str | bytes, *, deterministic: bool = False) -> PrivateKey:
        """From unencrypted PEM (PKCS#8 or SEC 1); ValueError otherwise."""
        native = _load_private(pem)
        if not isinstance(native, (ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
            raise ValueError("not an elliptic curve private key")
        return cls(native, deterministic=deterministic)

    @property
    def native(self) -> EcPrivate:
        """The key as the cryptography library holds it."""
        return self._native

    @property
    def deterministic(self) -> bool:
        """Whether ECDSA signatures follow RFC 6979 (keys of a simulation)."""
        return self._deterministic

    @property
    def spki_der(self) -> bytes:
        """DER SubjectPublicKeyInfo of the public half."""
        return self.public.der

    def sign(self, data: bytes) -> bytes:
        """DER ECDSA signature over data, digest by curve; for Ed25519 its 64 bytes."""
        native = self._native
        if isinstance(native, ed25519.Ed25519PrivateKey):
            return native.sign(data)
        assert self._ecdsa is not None, "an EC key has an ECDSA digest"
        return native.sign(data, self._ecdsa)

    def sign_digest(self, digest: bytes) -> bytes:
        """DER ECDSA signature over a digest of 32, 48 or 64 bytes as it is."""
        native = self._native
        assert not isinstance(native, ed25519.Ed25519PrivateKey), "Ed25519 signs no digests"
        return native.sign(
            digest, ec.ECDSA(_prehashed(digest), deterministic_signing=self._deterministic)
        )

    def sign_raw(self, data: bytes, hash: str | None = None) -> bytes:
        """Raw signature r ‖ s over data, each half of the curve's size; digest by curve unless
        named. For Ed25519 its 64 bytes."""
        native = self._native
        if isinstance(native, ed25519.Ed25519PrivateKey):
            return native.sign(data)
        if hash is None:
            signature = self.sign(data)
        else:
            signature = native.sign(
                data,
                ec.ECDSA(hash_by_name(hash), deterministic_signing=self._deterministic),
            )
        r, s = decode_dss_signature(signature)
        size = self.curve.coordinate_size
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def pem(self) -> str:
        """PEM PKCS#8, unencrypted."""
        return self._native.private_bytes(_PEM, _PKCS8, _PLAIN).decode()

    def __repr__(self) -> str:
        return f"PrivateKey({self.curve.value}, public id {self.public.id})"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled")


class RsaPublicKey:
    """An RSA public key: encrypts shares and secrets, checks tokens."""

    __slots__ = ("_native",)

    def __init__(self, native: rsa.RSAPublicKey) -> None:
        self._native = native

    @classmethod
    def from_pem(cls, pem: str | bytes) -> RsaPublicKey:
        """From a PEM SubjectPublicKeyInfo (or PKCS#1); ValueError otherwise."""
        return cls(_rsa_public(_load(serialization.load_pem_public_key, pem)))

    @classmethod
    def from_der(cls, der: bytes) -> RsaPublicKey:
        """From a DER SubjectPublicKeyInfo; ValueError otherwise."""
        return cls(_rsa_public(_load(serialization.load_der_public_key, der)))

    @classmethod
    def from_certificate(cls, certificate: str | bytes) -> RsaPublicKey:
        """The key of a certificate (PEM or DER); ValueError when it is no RSA key."""
        return cls(_rsa_public(certificate_key(certificate)))

    @property
    def native(self) -> rsa.RSAPublicKey:
        """The key as the cryptography library holds it."""
        return self._native

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return self._native.key_size

    @property
    def der(self) -> bytes:
        """DER SubjectPublicKeyInfo."""
        return self._native.public_bytes(_DER, _SPKI)

    def pem(self) -> str:
        """PEM SubjectPublicKeyInfo."""
        return self._native.public_bytes(_PEM, _SPKI).decode()

    def encrypt_oaep(
        self, data: bytes, label: bytes | None = None, entropy: Entropy | None = None
    ) -> bytes:
        """RSA-OAEP, SHA-256 for digest and MGF1 (RFC 8017 §7.1).

        The padding's chance comes from the library, except with `SeededEntropy`, which makes the
        result repeatable. Raises ValueError when data is too long for the key.
        """
        if isinstance(entropy, SeededEntropy):
            numbers = self._native.public_numbers()
            return seeded_rsa.encrypt_oaep(numbers.n, numbers.e, data, label or b"", entropy)
        return self._native.encrypt(data, _oaep(label))

    def verify_pkcs1(self, signature: bytes, data: bytes, hash: str = "SHA-256") -> bool:
        """Whether this is a PKCS#1 v1.5 signature over data."""
        return self._verify(signature, data, padding.PKCS1v15(), hash)

    def verify_pss(
        self, signature: bytes, data: bytes, hash: str = "SHA-256", salt_length: int | None = None
    ) -> bool:
        """Whether this is a PSS signature over data; any salt length unless given."""
        digest = hash_by_name(hash)
        salt = padding.PSS.AUTO if salt_length is None else salt_length
        return self._verify(signature, data, padding.PSS(padding.MGF1(digest), salt), hash)

    def _verify(
        self, signature: bytes, data: bytes, pad: padding.AsymmetricPadding, hash: str
    ) -> bool:
        try:
            self._native.verify(signature, data, pad, hash_by_name(hash))
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"RsaPublicKey({self.bits} bits)"


class RsaPrivateKey:
    """An RSA private key: decrypts what was encrypted for a node or a member."""

    __slots__ = ("_native", "public")

    def __init__(self, native: rsa.RSAPrivateKey) -> None:
        self._native = native
        self.public: RsaPublicKey = RsaPublicKey(native.public_key())
        """The public half."""

    @classmethod
    def generate(
        cls, bits: int = RSA_BITS, *, exponent: int = 65537, entropy: Entropy | None = None
    ) -> RsaPrivateKey:
        """A fresh key. Its chance comes from the library, except with `SeededEntropy`.

        Raises ValueError for sizes and exponents that the library refuses.
        """
        if isinstance(entropy, SeededEntropy):
            return cls(seeded_rsa.generate(bits, exponent, entropy))
        return cls(rsa.generate_private_key(exponent, bits))

    @classmethod
    def from_pem(cls, pem: str | bytes) -> RsaPrivateKey:
        """From unencrypted PEM (PKCS#8 or PKCS#1); ValueError otherwise."""
        native = _load_private(pem)
        if not isinstance(native, rsa.RSAPrivateKey):
            raise ValueError("not an RSA private key")
        return cls(native)

    @property
    def native(self) -> rsa.RSAPrivateKey:
        """The key as the cryptography library holds it."""
        return self._native

    def pem(self) -> str:
        """PEM PKCS#8, unencrypted."""
        return self._native.private_bytes(_PEM, _PKCS8, _PLAIN).decode()

    def decrypt_oaep(self, data: bytes, label: bytes | None = None) -> bytes:
        """Undo `encrypt_oaep`; ValueError when data was not encrypted for this key and label."""
        try:
            return self._native.decrypt(data, _oaep(label))
        except ValueError:
            raise ValueError("RSA-OAEP decryption failed") from None

    def sign_pkcs1(self, data: bytes, hash: str = "SHA-256") -> bytes:
        """PKCS#1 v1.5 signature over data."""
        return self._native.sign(data, padding.PKCS1v15(), hash_by_name(hash))

    def sign_pss(self, data: bytes, hash: str = "SHA-256", salt_length: int | None = None) -> bytes:
        """PSS signature over data; the salt is as long as the digest unless given."""
        digest = hash_by_name(hash)
        salt = digest.digest_size if salt_length is None else salt_length
        return self._native.sign(data, padding.PSS(padding.MGF1(digest), salt), digest)

    def __repr__(self) -> str:
        return f"RsaPrivateKey({self.public.bits} bits)"

    def __reduce__(self) -> str:
        raise TypeError("private keys are not pickled")


def _oaep(label: bytes | None) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label or None)


# -- loading ----------------------------------------------------------------------------------


def _load_private(pem: str | bytes) -> object:
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        return serialization.load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's text may quote what it could not read; ours never does.
        raise ValueError("not an unencrypted private key in PEM") from None


def _load(loader: object, data: str | bytes) -> object:
    raw = data.encode() if isinstance(data, str) else bytes(data)
    assert callable(loader)
    try:
        return loader(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a supported public key") from None


def certificate_key(certificate: str | bytes) -> object:
    """The public key of a certificate, PEM text or DER bytes, as the library holds it."""
    raw = certificate.encode() if isinstance(certificate, str) else bytes(certificate)
    try:
        if raw[:1] == b"\x30":
            return x509.load_der_x509_certificate(raw).public_key()
        return x509.load_pem_x509_certificate(raw).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise ValueError("not a certificate with a supported public key") from None


def _ec_public(key: object) -> EcPublic:
    if isinstance(key, (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)):
        return key
    raise ValueError("not an elliptic curve public key")


def _rsa_public(key: object) -> rsa.RSAPublicKey:
    if isinstance(key, rsa.RSAPublicKey):
        return key
    raise ValueError("not an RSA public key")
