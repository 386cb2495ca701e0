"""What can go wrong between a client and a service.

RemoteError
├── ServiceError         the service refused: status, CCF's error code, message, details
│   └── CommitTimeout    … because commit was asked for and took too long; nothing is lost
├── NotCommitted         the transaction is lost: it was rolled back
├── UnexpectedAnswer     the answer is not what this endpoint gives
└── Untrusted            the other side is not endorsed by the service certificate
Unavailable
└── Unreachable          no node was reached, or none answered a read
    └── Unanswered       … but one was reached: the request may have been executed
"""

from __future__ import annotations

from pyccf.codec.text import load_json
from pyccf.errors import RemoteError, Unavailable
from pyccf.types import Json, TxID

DETAIL_SHOWN_MAX = 500
"""Characters of an unstructured answer that an error repeats."""

COMMIT_TIMEOUT = "CommitTimeout"
"""Error code of our extension: commit was waited for and took too long."""

_HINTS = {
    "FrontendNotOpen": "Members must first accept a proposal to open the service.",
    "InvalidAuthenticationInfo": "Give the certificate and key of a caller the service knows.",
    "AuthorizationFailed": "This caller may not do that.",
    "ResourceNotFound": "Check the path, and that the service has an app that serves it.",
    "UnsupportedHttpVerb": "The path exists, but not for this HTTP method.",
    "RequestBodyTooLarge": "The interface's limit is http_configuration.max_body_size.",
    "ProposalNotFound": "List proposals with: pyccf proposal list.",
    "ProposalFailedToValidate": "The constitution refused the actions; nothing was recorded.",
    "ProposalNotOpen": "Only open proposals take votes and withdrawals.",
    "VoteAlreadyExists": "A ballot cannot be changed; withdraw the proposal and submit it again.",
    "StateDigestMismatch": "Fetch the state digest again and acknowledge that one.",
    "TransactionPendingOrUnknown": "Wait until the transaction is committed, then ask again.",
    "PrimaryNotFound": "The nodes are electing a primary, or too few are left; try again.",
    "SessionConsistencyLost": "The primary changed and the connection was closed; ask again.",
    "TransactionReplicationFailed": "The primary changed; nothing was done; send it again.",
    "NodeNotRetiredCommitted": "Wait until its retirement is committed.",
    "HTTP504": "The request may have been executed: look before you send it again.",
    "CommitTimeout": "The transaction is not lost: ask for its status or receipt by its id.",
}


class ServiceError(RemoteError):
    """A request was refused: HTTP status, CCF's code, message and details (http-api.md §6)."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: tuple[Json, ...] = (),
        *,
        txid: TxID | None = None,
    ) -> None:
        reasons = [
            detail["message"]
            for detail in details
            if isinstance(detail, dict) and isinstance(detail.get("message"), str)
        ]
        super().__init__(f"{message} ({status} {code})", hint=_HINTS.get(code, ""))
        self.status = status
        self.code = code
        self.text = message
        self.details = details
        self.reasons = tuple(str(reason) for reason in reasons)
        self.txid = txid
        """The transaction the answer speaks of, if it names one."""

    def explain(self) -> str:
        """The message with the details' reasons, and what to do about it."""
        first = " ".join(f"{self.text} ({self.status} {self.code})".split())
        if self.reasons:
            first += ": " + "; ".join(self.reasons)
        return f"{first}\n{self.hint or 'The service changed nothing.'}"


class CommitTimeout(ServiceError):
    """The request was executed but not committed in time; `txid` names its transaction."""


class NotCommitted(RemoteError):
    """A transaction that never will be committed: another took its place in the ledger."""

    code = "NotCommitted"

    def __init__(self, txid: TxID) -> None:
        super().__init__(
            f"Transaction {txid} was rolled back and will not be committed",
            hint="The service changed primaries; submit the request again.",
        )
        self.txid = txid


class UnexpectedAnswer(RemoteError):
    """An answer that is not what the endpoint gives."""

    code = "UnexpectedAnswer"


class Untrusted(RemoteError):
    """The TLS certificate of the other side is not endorsed by the service certificate given."""

    code = "Untrusted"


class Unreachable(Unavailable):
    """No connection could be made, or no answer came to a read. Nothing was changed."""

    code = "Unreachable"


class Unanswered(Unreachable):
    """A request that is not a read was sent and no answer came: it may have been executed."""

    code = "Unanswered"


def service_error(status: int, body: bytes, txid: TxID | None = None) -> ServiceError:
    """The error that a response stands for, whether or not it has CCF's JSON body."""
    try:
        document = load_json(body)
    except ValueError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        text = body[:DETAIL_SHOWN_MAX].decode("utf-8", "replace").strip()
        return ServiceError(status, f"HTTP{status}", text or "No explanation given", txid=txid)
    code = str(error.get("code", ""))
    details = error.get("details")
    kind = CommitTimeout if code == COMMIT_TIMEOUT else ServiceError
    return kind(
        status,
        code,
        str(error.get("message", "")),
        tuple(details) if isinstance(details, list) else (),
        txid=txid,
    )
