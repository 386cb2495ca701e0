"""Build step: the cffi extensions that drive QuickJS-ng and that send, those in plain C that seal
and hash, and the hot modules compiled by mypyc.

Everything else is declared in pyproject.toml. Why, and how to do without:
docs/adr/0007-compiled-hot-path.md, docs/adr/0009-native-sealing.md,
docs/adr/0010-sending-thread.md.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# What every write or read passes through. Each one must be worth it: measure before you add.
HOT = (
    "src/pyccf/kv/tx.py",  # reads and writes of a transaction
    "src/pyccf/kv/state.py",  # natively seen by the other two
    "src/pyccf/kv/store.py",  # conflicts; applying
    "src/pyccf/kv/wire.py",  # write sets to bytes, on backups from bytes
    "src/pyccf/ledger/history.py",  # entries made and replayed
    "src/pyccf/ledger/chunker.py",  # where files end
    "src/pyccf/ledger/entry.py",  # parsing, on backups
    "src/pyccf/ledger/_sealing_python.py",  # where there is no native one
    "src/pyccf/ledger/follow.py",  # entries of others, on backups
    "src/pyccf/consensus/raft/split.py",  # entries out of messages, on backups
    "src/pyccf/merkle/tree.py",  # a leaf per transaction
    "src/pyccf/http/h1.py",  # callbacks of the HTTP parser
    "src/pyccf/http/message.py",  # requests, and responses to bytes
    "src/pyccf/http/session.py",  # looked at by the frontend for each request
    "src/pyccf/shell/turns.py",  # requests gathered
    "src/pyccf/shell/http1.py",  # their order
    "src/pyccf/shell/sender.py",  # what answers them
    "src/pyccf/node/frontend.py",  # the way of a request
    "src/pyccf/node/node.py",  # between frontends, store, ledger and consensus
    "src/pyccf/apps/context.py",  # what a handler is given
    "src/pyccf/apps/auth/__init__.py",  # who calls
    "src/pyccf/apps/auth/combined.py",
    "src/pyccf/apps/js/pool.py",  # an interpreter for each request
    "src/pyccf/apps/js/registry.py",  # requests to JavaScript and back
)

BUILDS = {"build", "build_ext", "bdist_wheel", "develop", "editable_wheel"}
"""Commands that need extensions. The others only ask for metadata."""


def hot_modules() -> list:
    """Extensions of the hot modules; none, with a word why, if they are to be interpreted."""
    if not BUILDS & set(sys.argv):
        return []
    # What an earlier build left beside sources, also of modules no longer hot, would be used
    # instead of them.
    for old in Path("src/pyccf").rglob("*.so"):
        if old.with_name(f"{old.name.partition('.')[0]}.py").exists():
            old.unlink()
    if os.environ.get("PYCCF_PURE"):
        print("pyccf: PYCCF_PURE is set, the hot modules are interpreted", file=sys.stderr)
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        print("pyccf: mypyc is not there, the hot modules are interpreted", file=sys.stderr)
        return []
    # Types are judged by `make check`; here not every library is installed.
    options = ["--config-file=", "--ignore-missing-imports"]
    return mypycify([*options, *HOT], opt_level="3", debug_level="0", group_name="pyccf")


# In C, by rooms: each module is one file, found beside the Python that stands in for it.
NATIVE = [
    Extension(
        f"pyccf.{room}._{name}",
        [f"src/pyccf/{room}/native/{name}.c"],
        include_dirs=["src/pyccf/crypto/native"],
        extra_compile_args=["-O2", "-std=gnu11", "-Wall", "-Wextra"],
    )
    for room, name in (("crypto", "hashing"), ("ledger", "sealing"))
]

setup(
    cffi_modules=["src/pyccf/apps/js/_build.py:ffi", "src/pyccf/shell/_build.py:ffi"],
    ext_modules=[*NATIVE, *hot_modules()],
    options={"build_ext": {"force": True}},
)
