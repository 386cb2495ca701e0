"""What scripts see beyond the language: `ccf`, `console`, `snp_attestation`, `Math.random`.

Every native function is one row in one of the modules here: where it hangs, its name, how its
arguments are converted, and the Python callable that gets the `Host` and the arguments. `table`
collects the rows in the order in which the original installs them (spec: js-runtime.md §4).
"""

from pyccf.apps.js.host.table import rows

__all__ = ["rows"]
