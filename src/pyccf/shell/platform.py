"""Which platform this process would run on, and that it runs on the virtual one.

CCF_PLATFORM_OVERRIDE chooses between `Virtual` and `SNP` (spec: attestation.md §1). Evidence of
SEV-SNP is verified here, but not made: a node that is told to make it is refused. One that finds
such hardware, or settings for it, starts on the virtual platform and says that it does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from pyccf.errors import LocalError
from pyccf.shell.config_schema import Attestation

VARIABLE = "CCF_PLATFORM_OVERRIDE"
DEVICE = "/dev/sev-guest"
_UNPROTECTED = "this node runs on the virtual platform, which protects nothing"


def check(environ: Mapping[str, str]) -> None:
    """Refuse to run as what this program cannot be. Raises LocalError."""
    wanted = environ.get(VARIABLE, "Virtual")
    if wanted == "SNP":
        raise LocalError(
            f"{VARIABLE}=SNP: nodes of this version cannot make evidence of SEV-SNP.",
            hint="Leave it out to run on the virtual platform, which protects nothing.",
        )
    if wanted != "Virtual":
        raise LocalError(
            f"{VARIABLE}={wanted}: not a platform.", hint="Write Virtual, or leave it out."
        )


def warnings(given: Attestation, environ: Mapping[str, str], device: str = DEVICE) -> list[str]:
    """What an operator should know who may expect protection."""
    found = []
    if VARIABLE not in environ and os.path.exists(device):
        found.append(f"{device} is there, but is not used: {_UNPROTECTED}")
    names = [name for name in given.__struct_fields__ if getattr(given, name)]
    if names:
        settings = ", ".join(f"attestation.{name}" for name in names)
        found.append(f"{settings} without effect: {_UNPROTECTED}")
    return found
