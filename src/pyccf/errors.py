"""The error tree.

    PyccfError
    ├── RemoteError          a peer or client broke the rules
    │   └── RpcError         … and is told so with an HTTP status and CCF error code
    ├── LocalError           the caller of this library or the operator asked for the impossible
    │   └── ConfigError      a configuration file, named key by key
    ├── InvalidEvidence      attestation evidence that does not verify
    ├── InvalidLedger        ledger bytes that do not verify; names file and seqno
    ├── InvalidReceipt       a receipt that does not verify
    ├── Unavailable          cannot be done now, may be later
    │   ├── Conflict         a transaction read what another one changed since; run it again
    │   ├── CompactedVersion a transaction began at a version that can no longer be read
    │   └── kv.store.ViewChanged  the view ended before the transaction was committed
    └── StorageError         disk failed; the node must stop

Each has a short machine-readable `code` and `explain()`, two lines a person can act on. Programming
mistakes of ours are assertions, never members of this tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyccf.types import Json


class PyccfError(Exception):
    """Base of all errors of this package."""

    code = "Error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def explain(self) -> str:
        """What is wrong, and on a second line what to do about it (if known)."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class RemoteError(PyccfError):
    """A peer or client broke the rules."""

    code = "RemoteError"


class RpcError(RemoteError):
    """A request is refused: HTTP status, CCF error code, message (spec: http-api.md §6)."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Sequence[Json] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = tuple(details)
        self.headers: Mapping[str, str] = headers or {}


class LocalError(PyccfError):
    """The caller or operator asked for something that cannot be done."""

    code = "LocalError"


class ConfigError(LocalError):
    """A configuration is wrong; the message names the key."""

    code = "ConfigError"


class InvalidEvidence(PyccfError):
    """Attestation evidence does not verify."""

    code = "InvalidEvidence"


class InvalidLedger(PyccfError):
    """Ledger bytes do not verify. `seqno` is the first bad entry (0 when unknown)."""

    code = "InvalidLedger"

    def __init__(self, message: str, *, seqno: int = 0, file: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.seqno = seqno
        self.file = file


class InvalidReceipt(PyccfError):
    """A receipt does not verify."""

    code = "InvalidReceipt"


class Unavailable(PyccfError):
    """Cannot be done now; may be possible later."""

    code = "Unavailable"


class Conflict(Unavailable):
    """A transaction depends on something that changed since it was read; run it again."""

    code = "Conflict"


class CompactedVersion(Unavailable):
    """A transaction began at a version older than what the store still keeps."""

    code = "CompactedVersion"


class StorageError(PyccfError):
    """The disk failed or refused; a node that sees this stops before acknowledging anything."""

    code = "StorageError"
