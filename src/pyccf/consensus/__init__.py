"""Agreement on opaque entries: which are ordered, which are committed, who leads.

`api` is what the node sees of any engine; `viewlog` keeps where each view began; `solo` is the
engine of a configuration with exactly one node, whose quorum is itself.
"""
