"""Making keys and certificates of members and users, as files.

Private keys are written with access for their owner only, and never over a file that exists. All
files of an identity are written, or none.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pyccf.crypto import certs
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.keys import Curve, PrivateKey, RsaPrivateKey
from pyccf.errors import LocalError
from pyccf.types import UnixSeconds

CLOCK_SKEW_S = 300
"""Certificates are valid from a little before now, for machines whose clocks run late."""
VALIDITY_DAYS = 365


class KeyFiles(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the parts of a new identity lie, and its id: hex SHA-256 of the certificate."""

    id: str
    cert: str
    key: str
    enc_key: str | None = None
    enc_pub_key: str | None = None


def make_identity(
    folder: Path,
    name: str,
    *,
    entropy: Entropy,
    now: UnixSeconds,
    curve: Curve = Curve.P384,
    days: int = VALIDITY_DAYS,
    encryption: bool = False,
) -> KeyFiles:
    """Make `<name>_cert.pem` and `<name>_privk.pem` in a folder.

    With `encryption` also an RSA-2048 pair, `<name>_enc_privk.pem` and `<name>_enc_pubk.pem`, with
    which a member takes part in recovery. Raises LocalError if a file exists or cannot be written.
    """
    key = PrivateKey.generate(curve, entropy)
    try:
        cert = certs.self_signed(
            key, f"CN={name}", not_before=now - CLOCK_SKEW_S, days=days, ca=False, entropy=entropy
        )
    except ValueError as error:
        raise LocalError(
            f"{name!r} cannot be the name in a certificate: {error}",
            hint="Give 1 to 64 characters without a comma.",
        ) from None
    cert_path, key_path = folder / f"{name}_cert.pem", folder / f"{name}_privk.pem"
    files = [_File(key_path, key.pem(), secret=True), _File(cert_path, cert)]
    ident = certs.fingerprint(cert)
    if not encryption:
        _write(files)
        return KeyFiles(ident, str(cert_path), str(key_path))
    pair = RsaPrivateKey.generate(entropy=entropy)
    secret_path, public_path = folder / f"{name}_enc_privk.pem", folder / f"{name}_enc_pubk.pem"
    files += [_File(secret_path, pair.pem(), secret=True), _File(public_path, pair.public.pem())]
    _write(files)
    return KeyFiles(ident, str(cert_path), str(key_path), str(secret_path), str(public_path))


class _File(msgspec.Struct, frozen=True):
    """What is to be written."""

    path: Path
    text: str
    secret: bool = False

    def __repr__(self) -> str:
        return f"_File({self.path})"


def _write(files: list[_File]) -> None:
    """Write all of them, or none: half a key must not pass for one."""
    made: list[Path] = []
    try:
        for one in files:
            one.path.parent.mkdir(parents=True, exist_ok=True)
            mode = 0o600 if one.secret else 0o644
            handle = os.open(one.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(one.path)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(one.text)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise LocalError(
                f"{one.path} exists already and is not replaced",
                hint="Choose another name or folder.",
            ) from None
        raise LocalError(f"Could not write {one.path}: {error.strerror}") from error
