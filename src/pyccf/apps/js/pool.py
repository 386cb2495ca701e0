"""Interpreters kept ready: fresh ones for every request, and shared ones where an app asks for it.

A request is served by an interpreter nobody used before (spec: js-runtime.md §3.1). Making one
costs 150 µs and more; so one is made per module, everything compiled, its state saved, and the
saved state put back before each use. If the module's body neither looked at nor changed anything
outside (no tables, clock, chance, log, node), the state is saved after running it, else before,
and it is run again for each request. Whether it did is found out in a trial run that stops at the
first such act.

Endpoints with `interpreter_reuse` share interpreters by key and access; state lives on between
requests until the application is replaced or the interpreter falls out of the cache.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pyccf.apps.js.bytecode import bytecode_in_use
from pyccf.apps.js.engine import TIMED_OUT, Interpreter, JsError, JsSetupError, Limits
from pyccf.apps.js.host import rows
from pyccf.apps.js.host.host import Host, nothing
from pyccf.apps.js.host.row import Scope
from pyccf.apps.js.modules import compile_module, evaluate_module, loader
from pyccf.apps.js.tables import GOVERNED, JsTables
from pyccf.kv.maps import AccessContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyccf.kv.maps import AccessContext
    from pyccf.kv.tx import Tx

TEMPLATES_MAX: Final = 64
"""Modules for which a ready interpreter is kept (about 0.5 MB each)."""
TEMPLATES_BYTES_MAX: Final = 256 << 20
"""And the memory of all together: what a module's body makes is kept with it."""


def app_scope(indexed: bool) -> int:
    """What is offered to an endpoint."""
    return Scope.APP | Scope.INDEXED if indexed else Scope.APP


class Template:
    """An interpreter whose state is put back before each use."""

    __slots__ = ("evaluated", "interpreter", "module", "size", "stored")

    def __init__(
        self, host: Host, scope: int, stored: str, limits: Limits, *, rooted: bool, trial: bool
    ) -> None:
        """Compile; with `trial`, find out whether the body may be run once for all.

        `host` must be able to load modules. Raises JsSetupError.
        """
        self.stored = stored
        self.interpreter = Interpreter(host, rows(scope))
        self.interpreter.limit(limits)
        self.module = compile_module(self.interpreter, stored, rooted=rooted)
        self.size = self.interpreter.vm.save()
        """Bytes of the state that is put back."""
        self.evaluated = trial and self._try_body()

    def _try_body(self) -> bool:
        vm = self.interpreter.vm
        vm.watch(True)
        try:
            vm.evaluate(self.module)
        except JsError as e:
            if e.timed_out:
                raise JsSetupError(TIMED_OUT) from None
            vm.restore()
            return False
        if vm.watch(False):
            vm.restore()
            return False
        self.size = vm.save()
        return True

    def close(self) -> None:
        self.interpreter.vm.close()


class Shared:
    """An interpreter that keeps its state between requests."""

    __slots__ = ("_compiled", "evaluated", "interpreter", "stopped")

    def __init__(self, host: Host, indexed: bool) -> None:
        self.interpreter = Interpreter(host, rows(app_scope(indexed)), per_request=True)
        self._compiled: dict[str, int] = {}
        self.evaluated: dict[str, int] = {}
        """Numbers of modules that can be called, by stored name."""
        self.stopped = False
        """Whether the body of a module was stopped: a second run would not make up for it."""

    def load(self, stored: str, tx: Tx, names: JsTables) -> int:
        """Load a module and run its body. Raises JsSetupError."""
        number = self._compiled.get(stored)
        if number is None:
            host = self.interpreter.host
            host.load = loader(tx, names.modules)
            try:
                rooted = bytecode_in_use(tx, names.modules_version)
                number = compile_module(self.interpreter, stored, rooted=rooted)
            finally:
                host.load = nothing
            self._compiled[stored] = number
        self.stopped = True
        try:
            evaluate_module(self.interpreter, number, stored)
        except JsSetupError as e:
            self.stopped = e.text == TIMED_OUT
            raise
        self.stopped = False
        self.evaluated[stored] = number
        return number


class Pool:
    """All interpreters of the application, valid for one state of its modules."""

    def __init__(
        self, make_host: Callable[[AccessContext], Host] = Host, names: JsTables = GOVERNED
    ) -> None:
        self._make_host = make_host
        self._names = names
        self._stamp: object = None
        self._templates: OrderedDict[tuple[str, bool, bool], Template] = OrderedDict()
        self._flush: object = None
        self._shared: OrderedDict[str, Shared] = OrderedDict()

    def template(
        self,
        stamp: object,
        stored: str,
        historical: bool,
        indexed: bool,
        tx: Tx,
        limits: Limits,
    ) -> Template:
        """The interpreter for one fresh run of a module. Raises JsSetupError.

        `stamp` changes whenever modules or limits do; `indexed` offers indexes. In historical
        endpoints bodies are run each time: they may look at the state.
        """
        if stamp != self._stamp:
            self.drop_templates()
            self._stamp = stamp
        key = (stored, historical, indexed)
        found = self._templates.get(key)
        if found is None:
            host = self._make_host(AccessContext.APP_RO)
            host.load = loader(tx, self._names.modules)
            found = Template(
                host,
                app_scope(indexed),
                stored,
                limits,
                rooted=bytecode_in_use(tx, self._names.modules_version),
                trial=not historical,
            )
            host.release()
            self._templates[key] = found
            kept = sum(template.size for template in self._templates.values())
            while len(self._templates) > TEMPLATES_MAX or (
                kept > TEMPLATES_BYTES_MAX and len(self._templates) > 1
            ):
                oldest = self._templates.popitem(last=False)[1]
                kept -= oldest.size
                oldest.close()
        return found

    def shared(
        self, flush: object, key: str, access: AccessContext, indexed: bool, most: int
    ) -> Shared:
        """The interpreter that requests with this key share; dropped when `flush` changes."""
        if flush != self._flush:
            self.drop_shared()
            self._flush = flush
        found = self._shared.get(key)
        if found is None:
            found = Shared(self._make_host(access), indexed)
            self._shared[key] = found
        else:
            self._shared.move_to_end(key)
        while len(self._shared) > max(most, 1):
            self._shared.popitem(last=False)[1].interpreter.vm.close()
        return found

    def forget(self, key: str) -> None:
        """Close a shared interpreter at once."""
        found = self._shared.pop(key, None)
        if found is not None:
            found.interpreter.vm.close()

    def drop_templates(self) -> None:
        for template in self._templates.values():
            template.close()
        self._templates.clear()

    def drop_shared(self) -> None:
        for shared in self._shared.values():
            shared.interpreter.vm.close()
        self._shared.clear()

    def restore(self) -> None:
        """Put saved states back ahead of the next requests."""
        for template in self._templates.values():
            template.interpreter.vm.restore()
