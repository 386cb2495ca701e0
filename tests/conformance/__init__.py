"""Which test exercises which row of CCF's interfaces.

`python -m conformance.table`, in `tests`, writes docs/conformance.md.
"""
