"""Looking at a ledger from outside: no node, no keys, only its files.

`verify.verify` checks a ledger directory from its first entry to its last and names the first bad
one; `read` lists and shows entries; `secrets` rebuilds ledger secrets from members' shares so that
private tables can be read too. `files` finds the chunks, `auditor` is the pure machine that judges.
"""
