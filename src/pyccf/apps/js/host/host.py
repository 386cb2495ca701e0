"""The Python side of one interpreter: whose transaction it works on, and what it may touch.

One `Host` belongs to one interpreter for its whole life; before each use it is told whose turn it
is. Old map handles kept by a script therefore act on the current transaction, as in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from pyccf.apps.js.engine import JsThrow, KvSpace
from pyccf.apps.js.host.caller import caller_object
from pyccf.apps.js.text import sendable
from pyccf.errors import LocalError, RpcError
from pyccf.kv import maps
from pyccf.kv.maps import Access, AccessContext

if TYPE_CHECKING:
    from pyccf.apps.context import Context, GovernanceOperations, HistoricalState
    from pyccf.apps.index import Declared
    from pyccf.kv.tx import MapHandle, Tx
    from pyccf.types import UnixSeconds


class Machine(Protocol):
    """What scripts in any context may ask of the node."""

    def unix_time(self) -> UnixSeconds: ...
    def random(self, n: int) -> bytes:
        """n bytes fit for keys."""
        ...

    def log(self, level: str, tag: str, text: str, about: dict[str, str] | None = None) -> None: ...


class HistoricalKv(KvSpace):
    """The tables one past transaction wrote, put together when one is first asked for.

    A script may be given thousands of states, and may not have the time to look at all.
    """

    __slots__ = ("_state", "_tx")

    def __init__(self, state: HistoricalState) -> None:
        self._state = state
        self._tx: Tx | None = None

    @property
    def tx(self) -> Tx:
        """What was written, to be read."""
        if self._tx is None:
            self._tx = self._state.tx()
        return self._tx

    @property
    def held(self) -> int:
        """See `Tx.held`."""
        return 0 if self._tx is None else self._tx.held


class Host:
    """What the native functions of one interpreter act on."""

    __slots__ = (
        "access",
        "ctx",
        "indexes",
        "load",
        "machine",
        "metrics",
        "operations",
        "said",
        "tag",
        "tx",
    )

    def __init__(self, access: AccessContext) -> None:
        self.access = access
        self.tag = "app"
        """Tag of console lines: app or gov."""
        self.tx: Tx | None = None
        self.ctx: Context | None = None
        """The request, in application endpoints."""
        self.machine: Machine | None = None
        self.operations: GovernanceOperations | None = None
        self.load: Callable[[str], bytes | None] = nothing
        """Source of an imported module by its resolved name."""
        self.indexes: dict[str, Declared] = {}
        """Indexes the endpoint names."""
        self.metrics = True
        """Whether each call is logged (ccf.enableMetricsLogging)."""
        self.said = 0
        """How much this call wrote to the log, see `console`."""

    def release(self) -> None:
        """Forget the transaction and all that came with it."""
        self.tx = None
        self.ctx = None
        self.machine = None
        self.operations = None
        self.load = nothing

    # -- called by the engine -------------------------------------------------------------------

    def open_map(self, space: HistoricalKv | None, name: str) -> tuple[MapHandle, int]:
        """The handle of a table and the rights to it.

        A reserved name ends the request (RpcError); a name that is no Unicode text throws.
        """
        try:
            granted = maps.rights(name, self.access)
            if space is not None:
                # The past cannot be written.
                return space.tx.map(name), granted and Access.READ.value
            assert self.tx is not None, "an interpreter runs for a transaction"
            return self.tx.map(name), granted
        except LocalError as e:
            if maps.category(name) is maps.Category.RESERVED:
                raise RpcError(500, "InternalError", sendable(e.message)) from None
            raise JsThrow("InternalError", "Internal: Unable to access MapHandle") from None

    def refusal(self, space: HistoricalKv | None, name: str, method: str) -> str:
        """The message of a call the rights do not allow."""
        return maps.refusal(method, name, self.access, historical=space is not None)

    def kept(self, spaces: list[HistoricalKv]) -> int:
        """Bytes that tables keep of what the script gave them; `spaces` are those of the past."""
        now = 0 if self.tx is None else self.tx.held
        return now + sum(space.held for space in spaces)

    def load_module(self, name: str) -> bytes | None:
        """Source of an imported module, None if there is none."""
        return self.load(name)

    def headers_object(self, ctx: Context) -> dict[str, str]:
        """`request.headers`: names ascending (spec: js-runtime.md §5)."""
        return dict(sorted(ctx.request.headers.items()))

    def caller_object(self, ctx: Context) -> object:
        """`request.caller` (spec: auth.md §6.1)."""
        return caller_object(ctx.caller)

    # -- for native functions -------------------------------------------------------------------

    def the_machine(self) -> Machine:
        """The node, or a refusal where there is none to ask."""
        if self.machine is None:
            raise JsThrow("InternalError", "Not available in this context")
        return self.machine

    def the_request(self) -> Context:
        """The request being served."""
        assert self.ctx is not None, "only offered while a request is served"
        return self.ctx


def nothing(name: str) -> bytes | None:
    """A loader without modules."""
    return None
