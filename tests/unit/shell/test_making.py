"""What others are told of a node's addresses, and what its certificate is for."""

from __future__ import annotations

import pytest

from pyccf.service.nodes import RpcInterface
from pyccf.shell import making
from pyccf.shell.config_schema import Address


@pytest.mark.parametrize(
    ("published", "told"),
    [
        (None, "127.0.0.1:4711"),
        (Address("example.com", 0), "example.com:4711"),
        (Address("example.com", 80), "example.com:80"),
        (Address("[::1]", 0), "[::1]:4711"),
    ],
)
def test_a_port_that_was_not_chosen_is_the_one_bound(published: Address | None, told: str) -> None:
    assert making._published(published, "127.0.0.1:4711") == told


def test_certificates_are_for_published_hosts_unless_names_are_given() -> None:
    interfaces = {
        name: RpcInterface(bind_address="0.0.0.0:1", published_address=address)
        for name, address in (
            ("d", "[::1]:4"),
            ("a", "example.com:1"),
            ("b", "127.0.0.1:2"),
            ("c", "example.com:3"),
        )
    }
    assert making._alternative_names((), interfaces) == [
        "dNSName:example.com",
        "iPAddress:127.0.0.1",
        "iPAddress:::1",
    ]
    assert making._alternative_names(("dNSName:other",), interfaces) == ["dNSName:other"]
