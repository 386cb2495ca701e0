"""Content negotiation (spec: http-api.md §6)."""

from __future__ import annotations

import pytest

from pyccf.errors import RpcError
from pyccf.http.accept import check_accept


@pytest.mark.parametrize(
    "header",
    [
        None,
        "application/json",
        "*/*",
        "application/*",
        "text/html, application/json",
        "text/html;q=0.5,*/*;q=0.1",
        "application/json;q=2",
        " application/json ; charset=utf-8 ",
    ],
)
def test_json_is_taken(header: str | None) -> None:
    check_accept(header)


@pytest.mark.parametrize("header", ["", "text/html", "APPLICATION/JSON", "a/b/c", "text/*"])
def test_json_is_not_taken(header: str) -> None:
    with pytest.raises(RpcError) as caught:
        check_accept(header)
    assert (caught.value.status, caught.value.code) == (406, "UnsupportedContentType")
    assert caught.value.message == (
        f"No supported content type in accept header: {header}\n"
        "Only application/json is currently supported"
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("nonsense", "Entry in Accept header is not a valid MIME type: nonsense"),
        (",", "Entry in Accept header is not a valid MIME type: "),
        ("application/json, x", "Entry in Accept header is not a valid MIME type: x"),
        (
            "application/json;q=x",
            "Could not parse q-factor from MIME type in Accept header: application/json;q=x",
        ),
    ],
)
def test_malformed(header: str, message: str) -> None:
    with pytest.raises(RpcError) as caught:
        check_accept(header)
    assert (caught.value.status, caught.value.code) == (400, "InvalidHeaderValue")
    assert caught.value.message == message
