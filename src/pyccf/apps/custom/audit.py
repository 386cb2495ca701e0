"""Who changed custom endpoints, and how: written with each change, never done twice.

    <prefix>.audit.input      the request as it came: a signed message, or JSON
    <prefix>.audit.info       JSON {action_name, format, user_id}
    <prefix>.recent_actions   signed messages that must not come again

The first two hold the last change; earlier ones are in the ledger, where `history` finds them. A
signed message can be sent again by anybody who saw it. So each is remembered by its time and
content, and one that is older than half of those remembered is refused: it may be one that was
forgotten (the rule of proposals, spec: gov-api.md §4.1). It is the content that counts, since a
second signature over the same can be made of the first.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from pyccf.apps.index import Kind
from pyccf.codec.cose import parse_sign1, user_rules
from pyccf.codec.text import dump_json, load_json
from pyccf.errors import RpcError
from pyccf.kv.changes import UNIT
from pyccf.types import Json

if TYPE_CHECKING:
    from pyccf.apps.context import Cose
    from pyccf.apps.indexed import AppIndex
    from pyccf.apps.past import PastState
    from pyccf.apps.python import App, AppContext

RECENT_MAX = 100
"""Signed messages that are remembered."""
CREATED_AT_MAX = 9_999_999_999
CREATED_AT_DIGITS = 10
CREATED_AHEAD_MAX_S = 3600
"""How far in the future a message may have been made: clocks differ, and messages from the far
future would shut out all others."""


class Entry(msgspec.Struct):
    """One change."""

    transaction_id: str
    user_id: str
    action_name: str
    format: str
    created_at: int | None
    digest: str
    """SHA-256 of the request as it came."""


class Audit:
    """The record of changes to one set of custom endpoints."""

    def __init__(self, app: App, prefix: str, names: str = "app.msg") -> None:
        """`names` is what the names of header parameters of signed messages begin with."""
        self._input = f"{prefix}.audit.input"
        self._info = f"{prefix}.audit.info"
        self._recent = f"{prefix}.recent_actions"
        self._created_at = f"{names}.created_at"
        self._rules = user_rules(f"{names}.type", self._created_at)
        self._index: AppIndex[bytes] = app.index(self._info, Kind.SEQNOS_FOR_VALUE)

    def record(self, ctx: AppContext, action: str) -> None:
        """Write down the change that this request makes. Raises RpcError if it was made before."""
        caller = ctx.caller
        assert caller is not None, "changes are made by somebody"
        cose = caller.cose
        if cose is not None:
            self._once(ctx, action, cose)
        ctx.kv(self._input).set(UNIT, ctx.request.body)
        info: dict[str, Json] = {
            "action_name": action,
            "format": "JSON" if cose is None else "COSE",
            "user_id": caller.id,
        }
        ctx.kv(self._info).set(UNIT, dump_json(info))

    def _once(self, ctx: AppContext, action: str, cose: Cose) -> None:
        created_at = cose.headers.get(self._created_at)
        if not isinstance(created_at, int) or not 0 < created_at <= CREATED_AT_MAX:
            raise RpcError(
                400,
                "InvalidCreatedAt",
                f"{self._created_at} must be a time in seconds since 1970, up to {CREATED_AT_MAX}",
            )
        if created_at > ctx.services.unix_time() + CREATED_AHEAD_MAX_S:
            raise RpcError(400, "InvalidCreatedAt", f"{self._created_at} is in the future")
        stamp = f"{created_at:0{CREATED_AT_DIGITS}d}"
        envelope = parse_sign1(cose.envelope, rules=self._rules)
        content = len(envelope.protected).to_bytes(8, "big") + envelope.protected + cose.content
        key = f"{stamp}:{sha256(content).hexdigest()}".encode()
        recent = ctx.kv(self._recent)
        if recent.has(key):
            raise RpcError(400, "ActionReplayed", "This action was taken before")
        keys = sorted(row for row, _ in recent.items())
        if keys:
            oldest = keys[len(keys) // 2].partition(b":")[0].decode()
            if stamp < oldest:
                raise RpcError(
                    400,
                    "ActionCreatedTooLongAgo",
                    f"{self._created_at} must not be before {int(oldest)}: sign the action again",
                )
        recent.set(key, action.encode())
        for surplus in keys[: max(0, len(keys) - (RECENT_MAX - 1))]:
            recent.delete(surplus)

    def history(self, ctx: AppContext, first: int, last: int, most: int) -> list[Entry] | None:
        """Changes in a range of committed transactions, the first `most` of them.

        None while the node has not indexed them.
        """
        seqnos = self._index(ctx).writes(UNIT, first, last)
        states = None if seqnos is None else ctx.historical_states(seqnos[:most])
        return None if states is None else [self._entry(state) for state in states]

    def watermark(self, ctx: AppContext) -> int:
        """The last transaction that this node has indexed."""
        return self._index(ctx).watermark.seqno

    def _entry(self, state: PastState) -> Entry:
        raw, info = state.kv(self._input).get(UNIT), state.kv(self._info).get(UNIT)
        assert raw is not None, "both are written together"
        assert info is not None, "the index says so"
        told = load_json(info)
        assert isinstance(told, dict), "`record` writes objects"
        signed = told["format"] == "COSE"
        made = parse_sign1(raw, rules=self._rules).headers.get(self._created_at) if signed else None
        return Entry(
            str(state.txid),
            str(told["user_id"]),
            str(told["action_name"]),
            str(told["format"]),
            made if isinstance(made, int) else None,
            sha256(raw).hexdigest(),
        )
