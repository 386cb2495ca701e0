"""JavaScript applications and the constitution: QuickJS-ng, driven in process.

`engine` holds one interpreter and its limits; `host` is what scripts see as `ccf` and `console`;
`registry.JsApp` serves the application its members installed; `governance.run` runs constitution
and ballots. `_build.py` and `native/` make the extension through which the engine is reached.

One thread, no I/O: clock and chance come from `Services`, except for `Date` and the time limit,
which the engine reads from the machine like the original (spec: js-runtime.md §3.3, §3.4).
"""
