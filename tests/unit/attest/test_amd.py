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


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("milan", Product.MILAN),
        ("milan_vlek", Product.MILAN),
        ("genoa", Product.GENOA),
        ("genoa_vlek", Product.GENOA),
        ("turin_vcek", Product.TURIN),
        ("turin_vlek", Product.TURIN),
    ],
)
def test_as_published(name: str, product: Product) -> None:
    """With the chains of both kinds of keys, which end at the same root."""
    _, ark = certs.split_pem(recorded(f"snp/roots/ask_ark_{name}.pem"))
    assert certs.subject(ark).endswith(f"CN=ARK-{product.value}")
    assert RsaPublicKey.from_der(certs.spki(ark)).pem() == amd.ROOT_KEYS[product]
