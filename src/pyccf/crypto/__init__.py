"""Verbs on keys: sign, verify, seal, derive, share, certify.

May be used from outside: `entropy` (where chance comes from), `keys`, `certs`, `cosesign`,
`aead`, `kdf`, `shares`, `wrap`, `jwk`. Chance and clock are arguments; no key is ever printed.
"""
