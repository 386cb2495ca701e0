"""Bytes to values and back: text forms, CBOR, COSE_Sign1 envelopes.

May be used from outside: `text` (JSON as the ledger writes it, base64, sizes, times), `cbor`
(ordered encoders and a strict decoder), `cose` (COSE_Sign1 parsing with CCF's error texts).
Nothing here knows a key, a table or a clock.
"""
