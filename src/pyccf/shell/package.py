"""What code runs here, as a digest: the host data of the virtual platform.

With `--package FILE` it is the SHA-256 of that file. Without, it is a digest over the installed
package and the application's files: names and contents in sorted order, so that two nodes that run
the same code say the same (spec: attestation.md §2.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pyccf.errors import ConfigError

CODE_SUFFIXES = (".py", ".js", ".so", ".json")


def digest_of_file(path: Path) -> str:
    """Hex SHA-256 of a file. Raises ConfigError when it cannot be read."""
    try:
        with path.open("rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError as e:
        raise ConfigError(f"Cannot read package {path}: {e.strerror}") from None


def digest_of_code(roots: Iterable[Path]) -> str:
    """Hex SHA-256 over every code file below the roots (a root may be a file)."""
    total = hashlib.sha256()
    for root in roots:
        files = [root] if root.is_file() else sorted(root.rglob("*"))
        for path in files:
            if path.suffix not in CODE_SUFFIXES or not path.is_file():
                continue
            name = path.name if path == root else path.relative_to(root).as_posix()
            content = hashlib.sha256(path.read_bytes()).digest()
            total.update(len(name).to_bytes(8, "little") + name.encode() + content)
    return total.hexdigest()
