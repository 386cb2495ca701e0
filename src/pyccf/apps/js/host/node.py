"""What a constitution may do with the node and the service (spec: js-runtime.md §4.10).

The work is done by `GovernanceOperations`; failures there are thrown as InternalError with their
own words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.apps.js.engine import OTHER, UNDEFINED, JsThrow
from pyccf.apps.js.host.row import Row, Scope, Style
from pyccf.apps.js.text import sendable
from pyccf.codec.text import load_json
from pyccf.errors import LocalError

if TYPE_CHECKING:
    from pyccf.apps.context import GovernanceOperations
    from pyccf.apps.js.host.host import Host
    from pyccf.kv.tx import Tx
    from pyccf.types import Json


def _hands(host: Host) -> tuple[GovernanceOperations, Tx]:
    if host.operations is None or host.tx is None:
        raise JsThrow("InternalError", "Not available in this context")
    return host.operations, host.tx


def _refused(work: Callable[..., object]) -> Callable[..., object]:
    """Throws what the node refuses."""

    def guarded(host: Host, *args: object) -> object:
        try:
            return work(host, *args)
        except LocalError as e:
            raise JsThrow("InternalError", e.message) from None

    return guarded


def _rekey(host: Host) -> None:
    operations, tx = _hands(host)
    operations.trigger_ledger_rekey(tx)


def _open(host: Host, previous: object, following: object) -> None:
    if previous is not UNDEFINED and not isinstance(previous, bytes):
        raise JsThrow("TypeError", "Previous service identity argument is not an array buffer")
    if following is UNDEFINED:
        raise JsThrow("InternalError", "Proposal requires a service identity")
    if not isinstance(following, bytes):
        raise JsThrow("TypeError", "Next service identity argument is not an array buffer")
    operations, tx = _hands(host)
    operations.transition_service_to_open(
        tx,
        previous.decode("utf-8", "replace") if isinstance(previous, bytes) else None,
        following.decode("utf-8", "replace"),
    )


def _refresh_shares(host: Host) -> None:
    operations, tx = _hands(host)
    operations.trigger_recovery_shares_refresh(tx)


def _chunk(host: Host) -> None:
    operations, tx = _hands(host)
    operations.trigger_ledger_chunk(tx)


def _snapshot(host: Host) -> None:
    operations, tx = _hands(host)
    operations.trigger_snapshot(tx)


def _secret_seqno(host: Host) -> int:
    operations, tx = _hands(host)
    return operations.latest_ledger_secret_seqno(tx)


def _endorsed(host: Host, csr: str, valid_from: str, days: int) -> str:
    operations, _ = _hands(host)
    return operations.generate_endorsed_certificate(csr, valid_from, _days(days))


def _network_certificate(host: Host, valid_from: str, days: int) -> str:
    operations, _ = _hands(host)
    return operations.generate_network_certificate(valid_from, _days(days))


def _days(days: int) -> int:
    if days < 0:
        raise JsThrow("RangeError", "invalid array index")
    return days


def _refresh_bytecode(host: Host) -> None:
    from pyccf.apps.js.bytecode import refresh_bytecode

    assert host.tx is not None, "constitutions run for a transaction"
    refresh_bytecode(host.tx)


def _data(text: object) -> Json:
    if text is OTHER:
        raise JsThrow("TypeError", "value is not a string")
    assert isinstance(text, str)
    try:
        return load_json(text)
    except ValueError as e:
        raise JsThrow("InternalError", f"Error setting JWT public signing keys: {e}") from None


def _set_keys(host: Host, issuer: str, metadata: object, jwks: object) -> None:
    operations, tx = _hands(host)
    operations.set_jwt_public_signing_keys(tx, sendable(issuer), _data(metadata), _data(jwks))


def _remove_keys(host: Host, issuer: str) -> None:
    operations, tx = _hands(host)
    operations.remove_jwt_public_signing_keys(tx, sendable(issuer))


def _row(
    path: str,
    name: str,
    spec: str,
    work: Callable[..., object],
    usual: str = "",
    style: Style = Style.PLAIN,
    length: int = -1,
) -> Row:
    return Row(
        path,
        name,
        spec,
        _refused(work),
        scope=Scope.GOV_RW,
        style=style,
        usual=usual or ("none" if not spec else ""),
        length=length,
    )


ROWS: tuple[Row, ...] = (
    _row("ccf.node", "triggerLedgerRekey", "", _rekey),
    _row("ccf.node", "transitionServiceToOpen", "vv", _open, usual="two"),
    _row("ccf.node", "triggerRecoverySharesRefresh", "", _refresh_shares),
    _row("ccf.node", "triggerLedgerChunk", "", _chunk, style=Style.ANY),
    _row("ccf.node", "triggerSnapshot", "", _snapshot, style=Style.ANY),
    _row("ccf.network", "getLatestLedgerSecretSeqno", "", _secret_seqno),
    _row("ccf.network", "generateEndorsedCertificate", "ssi", _endorsed, length=0),
    _row("ccf.network", "generateNetworkCertificate", "si", _network_certificate, length=0),
    _row("ccf", "refreshAppBytecodeCache", "", _refresh_bytecode),
    _row("ccf", "setJwtPublicSigningKeys", "sjj", _set_keys),
    _row("ccf", "removeJwtPublicSigningKeys", "s", _remove_keys),
)
