"""The `api-version` of a governance request: which there are, and refusing others.

Checked first in every handler, after the signature, so that a badly signed request without a
version is told about its signature (spec: gov-api.md §1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyccf.errors import RpcError
from pyccf.http.message import query_parameters

if TYPE_CHECKING:
    from pyccf.apps.context import Context

PREVIEW = "2023-06-01-preview"
V2024 = "2024-07-01"
VERSIONS = (PREVIEW, V2024)
"""All versions, oldest first."""

PARAMETER = "api-version"


def requested(ctx: Context) -> str | None:
    """The version a request asks for, None when it names none."""
    return query_parameters(ctx.request.query).get(PARAMETER)


def check(ctx: Context, minimum: str = PREVIEW) -> str:
    """The version of a request; raises RpcError when it is missing, unknown or too old."""
    offered = VERSIONS[VERSIONS.index(minimum) :]
    version = requested(ctx)
    if version is None:
        raise RpcError(
            400,
            "MissingApiVersionParameter",
            f"The {PARAMETER} query parameter (?{PARAMETER}=) is required for all requests."
            f" The supported api-versions are: {', '.join(offered)}",
        )
    if version not in offered:
        raise RpcError(
            400,
            "UnsupportedApiVersionValue",
            f"Unsupported {PARAMETER} '{version}'."
            f" The supported api-versions are: {', '.join(offered)}",
        )
    return version


def versioned(
    handler: Callable[[Context], None], minimum: str = PREVIEW
) -> Callable[[Context], None]:
    """The handler behind the check of its version."""

    def execute(ctx: Context) -> None:
        check(ctx, minimum)
        handler(ctx)

    return execute
