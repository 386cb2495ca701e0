"""Builds the extension with the thread that sends (`native/sender.c`), which `sender` drives."""

from __future__ import annotations

from cffi import FFI

_HERE = __file__.rpartition("/")[0] or "."

_PRELUDE = """
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#line 1 "sender.c"
"""


def _source() -> str:
    with open(f"{_HERE}/native/sender.c", encoding="utf-8") as part:
        return _PRELUDE + part.read()


ffi = FFI()
ffi.cdef("""
struct sender;
struct sender *sender_new(void *, void *);
int sender_notice(struct sender *);
bool sender_busy(struct sender *);
void sender_wait(struct sender *);
bool sender_add(struct sender *, int, const char *, size_t);
int sender_add_tls(struct sender *, int, void *, void *, const char *, size_t);
size_t sender_count(struct sender *);
void sender_go(struct sender *);
void sender_here(struct sender *);
size_t sender_left(struct sender *, bool);
const char *sender_rest(struct sender *, bool, size_t, size_t *);
void sender_clear(struct sender *, bool);
bool sender_over(struct sender *, size_t);
const char *sender_pull(struct sender *, size_t, size_t *);
void sender_free(struct sender *);
""")
ffi.set_source(
    "pyccf.shell._sender",
    _source(),
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra"],
)
