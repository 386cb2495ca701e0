from __future__ import annotations

import pytest

from pyccf.apps.json_adapter import check_accept
from pyccf.errors import RpcError


@pytest.mark.parametrize(
    "header",
    [
        None,
        "application/json",
        "text/html, application/json",
        "application/json;q=0.5",
        "application/json;q=2",
        "application/cbor, */*",
        "application/*",
    ],
)
def test_clients_that_take_json_are_served(header: str | None) -> None:
    check_accept(header)


@pytest.mark.parametrize(
    ("header", "status", "message"),
    [
        ("text/html", 406, "No supported content type in accept header: text/html\n"),
        ("", 406, "No supported content type in accept header: \n"),
        ("APPLICATION/JSON", 406, "No supported content type in accept header: APPLICATION/JSON"),
        ("a/b/c", 406, "No supported content type"),
        ("nonsense", 400, "Entry in Accept header is not a valid MIME type: nonsense"),
        (",", 400, "Entry in Accept header is not a valid MIME type: "),
        (
            "application/json;q=x",
            400,
            "Could not parse q-factor from MIME type in Accept header: application/json;q=x",
        ),
    ],
)
def test_others_are_told_why_not(header: str, status: int, message: str) -> None:
    with pytest.raises(RpcError) as e:
        check_accept(header)
    assert e.value.status == status
    assert e.value.message.startswith(message)
