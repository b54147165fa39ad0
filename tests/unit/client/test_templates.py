from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeroot.client import templates
from edgeroot.psa import Algorithm, Hash, KeyAttributes, UsageFlags
from edgeroot.psa.policy import compatible

PLAIN: list[Callable[..., KeyAttributes]] = [
    templates.ecdsa_p256,
    templates.ecdsa_p384,
    templates.ecdsa_p521,
    templates.rsa_signing,
    templates.rsa_pss,
    templates.rsa_oaep,
    templates.rsa_pkcs1v15_crypt,
    templates.ecdh,
    templates.x25519,
    templates.x448,
    templates.aes_gcm,
    templates.aes_ccm,
    templates.chacha20_poly1305,
    templates.hmac,
    templates.aes_cmac,
]


@pytest.mark.parametrize("template", PLAIN)
def test_a_template_is_usable_and_keeps_its_key_in_unless_told(template: Callable[..., KeyAttributes]) -> None:
    attributes = template()
    assert compatible(attributes.key_type, attributes.algorithm)
    assert attributes.key_bits
    assert attributes.usage & ~UsageFlags.EXPORT == attributes.usage != UsageFlags.NONE
    assert template(exportable=True).usage == attributes.usage | UsageFlags.EXPORT


def test_sizes_and_hashes_go_in() -> None:
    assert templates.rsa_signing(3072, Hash.SHA_512).key_bits == 3072
    assert templates.ecdsa(384, Hash.ANY).algorithm == Algorithm.ecdsa(Hash.ANY)
    assert templates.aes_cipher(Algorithm.CTR, 128).algorithm == Algorithm.CTR


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="NIST curves"):
        templates.ecdsa(255)
    with pytest.raises(ValueError, match="use aes_gcm"):
        templates.aes_cipher(Algorithm.GCM)
