"""Builds the extension through which QuickJS-ng is driven.

The engine itself comes in the wheel `quickjs-ng`, whose shared object exports the engine's C
interface; `native/abi.h` declares the part that is used. The extension is compiled against
CPython's own C interface too: a call of a handler then costs no hand-over of the interpreter lock
and no conversion layer. cffi builds it and brings it in; what it shows to Python puts the module
`pyccf.apps.js._native` in place and tells the engine's version.

Run as a program it builds in place, beside this file.
"""

from __future__ import annotations

from cffi import FFI

_HERE = __file__.rpartition("/")[0] or "."
_PARTS = (
    "abi.h",
    "region.c",
    "vm.h",
    "alarm.c",
    "values.c",
    "traces.c",
    "kv.c",
    "natives.c",
    "request.c",
    "vm.c",
)

_PRELUDE = """
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
"""


def _source() -> str:
    parts = [_PRELUDE]
    for name in _PARTS:
        with open(f"{_HERE}/native/{name}", encoding="utf-8") as part:
            parts.append(f'#line 1 "{name}"\n{part.read()}')
    return "\n".join(parts)


ffi = FFI()
ffi.cdef("""
int pyccf_install_native(void);
const char *JS_GetVersion(void);
""")
ffi.set_source(
    "pyccf.apps.js._quickjs_api",
    _source(),
    define_macros=[("_CFFI_NO_LIMITED_API", "1"), ("_GNU_SOURCE", "1")],
    py_limited_api=False,
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter"],
)

if __name__ == "__main__":
    ffi.compile(tmpdir=f"{_HERE}/../../..", verbose=False)
