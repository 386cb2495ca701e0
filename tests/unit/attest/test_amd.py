"""The roots of trust are those of AMD's own certificates."""

from __future__ import annotations

import pytest

from pyccf.attest import amd
from pyccf.attest.tcb import Product
from pyccf.crypto import certs
from pyccf.crypto.keys import RsaPublicKey
from support.snp import recorded


def test_every_product_has_its_own() -> None:
    keys = {product: RsaPublicKey.from_pem(pem) for product, pem in amd.ROOT_KEYS.items()}
    assert keys.keys() == set(Product)
    assert len({key.der for key in keys.values()}) == len(Product)
    for product, key in keys.items():
        assert key.bits == 4096
        assert key.pem() == amd.ROOT_KEYS[product], "compared as text"


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("kind", ["", "_vcek", "_vlek"])
def test_as_published(product: Product, kind: str) -> None:
    turin = product is Product.TURIN
    if turin is (kind == ""):
        pytest.skip("Turin's are published under names of another form" if turin else "no such")
    raw = recorded(f"snp/roots/ask_ark_{product.value.lower()}{kind}.pem")
    ark = certs.split_pem(raw)[1]
    assert certs.subject(ark).endswith(f"CN=ARK-{product.value}")
    assert RsaPublicKey.from_der(certs.spki(ark)).pem() == amd.ROOT_KEYS[product]
