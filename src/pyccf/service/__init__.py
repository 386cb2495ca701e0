"""The service as its tables describe it: identity, members, nodes, proposals, recovery shares.

`tables` names every built-in table; `identity` makes keys and certificates; `genesis` writes the
first transaction; `members`, `nodes`, `jwt` read and write their rows; `recovery` issues shares and
endorsements; `operations` is what governance may do to a node; `proposals` is the life of a
proposal. All act on a transaction they are given and touch nothing else.
"""
