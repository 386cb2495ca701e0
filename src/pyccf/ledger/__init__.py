"""Room of pyccf: ledger."""
