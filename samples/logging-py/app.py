"""The logging sample in Python: records that users write, read and prove.

The API is described in samples/README.md. `logging_sample/model.py` says what a record is, the
other modules each hold the endpoints of one subject.
"""

from logging_sample import callers, committed, history, proofs, records, variants
from logging_sample.model import app

__all__ = ["app", "callers", "committed", "history", "proofs", "records", "variants"]
