"""Agreement on opaque entries: which are ordered, which are committed, who leads.

`api` is what the node sees of any engine; `viewlog` keeps where each view began; `raft` is the
crash-fault-tolerant engine, for networks of any size, one node included.
"""
