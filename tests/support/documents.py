"""OpenAPI documents without what is meant for people, to be compared."""

from __future__ import annotations

import json
from typing import Any

WORDS = ("summary", "description", "title")
SETS = ("required", "enum", "security")


def wordless(value: Any, key: str = "") -> Any:
    """Without texts for people; lists that are sets sorted. Names of properties stay."""
    if isinstance(value, dict):
        drop = () if key in ("properties", "schemas") else WORDS
        return {k: wordless(v, k) for k, v in value.items() if k not in drop}
    if isinstance(value, list):
        made = [wordless(v) for v in value]
        return sorted(made, key=json.dumps) if key in SETS else made
    return value
