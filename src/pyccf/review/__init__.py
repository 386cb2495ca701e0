"""Was this service governed as its constitution says? The history of governance, judged again.

`history.Review` is fed with the entries of a ledger and runs each proposal and ballot once more
under the constitution in force at that time; `rules` says which tables change without a proposal,
and how. Needs the JavaScript engine, but no node, no key and no network.
"""
