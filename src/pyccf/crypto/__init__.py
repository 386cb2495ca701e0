"""Verbs on keys: sign, verify, seal, derive, share, certify.

May be used from outside: `entropy` (where chance comes from), `keys`, `certs`, `cosesign`,
`aead`, `kdf`, `shares`, `wrap`, `jwk`. Chance and clock are arguments; no key is ever printed.
"""

import warnings

# Of numbers that are 0, as those of processors, and of odd names in certificates: whoever can send
# one could fill the log. Once for the whole process, since threads share what is filtered.
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive")
warnings.filterwarnings("ignore", "Attribute's length must be ")
