"""Ledger secrets sealed to this machine, so that a service restarts without its members' shares.

`<version>.sealed.json` holds a ledger secret encrypted with a key that only the same program on the
same kind of hardware can derive. THE VIRTUAL PLATFORM HAS NO SUCH HARDWARE: here the key follows
from the digest of the program alone, so that whoever has the file and the program has the secret.
It exists for development and for drills, is off unless configured, and says so in the file and in
the log. (spec: node-lifecycle.md §9.5, crypto.md §2)

A file that does not open is named and passed over; none that opens is a LocalError. Writing is
whole or not at all, and raises LocalError when the disk refuses. Another secret of the same
version, from a service that used the directory before, is set aside, not written over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path

from pyccf.codec.text import b64, dump_json, load_json, unb64
from pyccf.crypto import aead
from pyccf.crypto.entropy import Entropy
from pyccf.crypto.kdf import hkdf_sha256
from pyccf.errors import LocalError
from pyccf.ledger.secrets import KEY_SIZE, LedgerSecret
from pyccf.types import SeqNo

SUFFIX = ".sealed.json"
REPLACED = ".replaced"
"""Ending of sealed secrets that were set aside; they are not looked at again."""
PLATFORM = "Insecure_Virtual"
LABEL = b"pyccf: sealing on the virtual platform protects nothing"
WARNING = (
    "INSECURE: ledger secrets are sealed in {}. The virtual platform protects nothing: whoever has"
    " these files and this program can read the whole ledger."
)


def _key(host_data: str) -> bytes:
    return hkdf_sha256(host_data.encode(), info=LABEL, length=KEY_SIZE)


def _about(version: SeqNo, host_data: str) -> str:
    return dump_json({"host_data": host_data, "platform": PLATFORM, "version": version}).decode()


def seal(directory: str, secret: LedgerSecret, host_data: str, entropy: Entropy) -> str:
    """Write a secret; the file's path. Another one that is there already is set aside."""
    about = _about(secret.version, host_data)
    iv = entropy.bytes(aead.IV_SIZE)
    sealed = aead.seal(_key(host_data), iv, secret.key, about.encode())
    content = dump_json({"aad_text": about, "ciphertext": b64(sealed)})
    path = Path(directory) / f"{secret.version}{SUFFIX}"
    part = path.with_name(path.name + ".part")
    try:
        Path(directory).mkdir(exist_ok=True)
        if path.exists():
            if _holds(path, secret, host_data):
                return str(path)
            path.rename(_unused(path))
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as e:
        raise LocalError(f"Cannot write {path}: {e.strerror}") from None
    return str(path)


def _holds(path: Path, secret: LedgerSecret, host_data: str) -> bool:
    """Whether a file is this very secret, sealed by this program."""
    try:
        return _open(path, path.read_bytes(), host_data) == (secret.version, secret.key)
    except ValueError:
        return False


def _unused(path: Path) -> Path:
    """A name beside a file that nothing has."""
    for number in count(1):
        other = path.with_name(f"{path.name}.{number}{REPLACED}")
        if not other.exists():
            return other
    raise AssertionError("numbers do not end")


def unseal(directory: str, host_data: str, log: Callable[[str, str], None]) -> dict[SeqNo, bytes]:
    """All secrets of a directory that open here, by version."""
    found: dict[SeqNo, bytes] = {}
    try:
        files = sorted(Path(directory).glob(f"*{SUFFIX}"))
        contents = [(file, file.read_bytes()) for file in files]
    except OSError as e:
        raise LocalError(f"Cannot read sealed secrets in {directory}: {e.strerror}") from None
    for file, raw in contents:
        try:
            version, key = _open(file, raw, host_data)
        except ValueError as e:
            log("fail", f"Sealed secret {file} is not used: {e}")
        else:
            found[version] = key
    if not found:
        raise LocalError(
            f"No sealed ledger secret in {directory} can be opened by this program.",
            hint="Sealed secrets open for the program that sealed them. Leave out"
            " command.recover.previous_sealed_ledger_secret_location, and recover with the"
            " members' shares.",
        )
    return found


def _open(file: Path, raw: bytes, host_data: str) -> tuple[SeqNo, bytes]:
    """Version and key. Raises ValueError, saying why not."""
    name = file.name.removesuffix(SUFFIX)
    if not name.isdecimal():
        raise ValueError("its name does not say a version")
    value = load_json(raw)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    about, sealed = value.get("aad_text"), value.get("ciphertext")
    if not isinstance(about, str) or not isinstance(sealed, str):
        raise ValueError("it lacks aad_text or ciphertext")
    if about != _about(int(name), host_data):
        raise ValueError("it was sealed by another program, or for another version")
    try:
        return int(name), aead.open_(_key(host_data), unb64(sealed), about.encode())
    except aead.InvalidTag:
        raise ValueError("it was changed") from None
