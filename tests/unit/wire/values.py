"""Hypothesis strategies over everything that the contract can carry."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.opcodes import SPECS
from edgeroot.wire.record import Record

HASHES = [h for h in Hash if h is not Hash.ANY]
CIPHERS = [
    Algorithm.STREAM_CIPHER,
    Algorithm.CTR,
    Algorithm.CFB,
    Algorithm.OFB,
    Algorithm.XTS,
    Algorithm.ECB_NO_PADDING,
    Algorithm.CBC_NO_PADDING,
    Algorithm.CBC_PKCS7,
]
AGREEMENTS = [Algorithm.FFDH, Algorithm.ECDH]
ECC_FAMILIES = [family for family in EccFamily if family is not EccFamily.TWISTED_EDWARDS]
SIMPLE_KEY_TYPES = [
    KeyType.RAW_DATA,
    KeyType.HMAC,
    KeyType.DERIVE,
    KeyType.AES,
    KeyType.DES,
    KeyType.CAMELLIA,
    KeyType.ARC4,
    KeyType.CHACHA20,
    KeyType.RSA_PUBLIC_KEY,
    KeyType.RSA_KEY_PAIR,
]

hashes = st.sampled_from(HASHES)
lengths = st.integers(1, 63)
signatures = st.sampled_from([Algorithm.RSA_PKCS1V15_SIGN_RAW, Algorithm.ECDSA_ANY]) | st.builds(
    lambda family, hash_alg: family(hash_alg),
    st.sampled_from(
        [Algorithm.rsa_pkcs1v15_sign, Algorithm.rsa_pss, Algorithm.ecdsa, Algorithm.deterministic_ecdsa],
    ),
    st.sampled_from(Hash),
)
encryptions = st.just(Algorithm.RSA_PKCS1V15_CRYPT) | st.builds(Algorithm.rsa_oaep, hashes)
full_macs = st.sampled_from([Algorithm.CBC_MAC, Algorithm.CMAC]) | st.builds(Algorithm.hmac, hashes)
macs = full_macs | st.builds(Algorithm.truncated_mac, full_macs, lengths)
default_aeads = st.sampled_from([Algorithm.CCM, Algorithm.GCM, Algorithm.CHACHA20_POLY1305])
aeads = default_aeads | st.builds(Algorithm.with_tag_length, default_aeads, lengths)
ciphers = st.sampled_from(CIPHERS)
agreements = st.sampled_from(AGREEMENTS)
derivations = st.builds(
    lambda family, hash_alg: family(hash_alg),
    st.sampled_from([Algorithm.hkdf, Algorithm.tls12_prf, Algorithm.tls12_psk_to_ms]),
    hashes,
)
algorithms = st.one_of(
    st.just(Algorithm.NONE),
    st.builds(Algorithm.from_hash, hashes),
    macs,
    ciphers,
    aeads,
    signatures,
    encryptions,
    agreements,
    st.builds(Algorithm.key_agreement, agreements, derivations),
    derivations,
)
key_types = st.one_of(
    st.sampled_from(SIMPLE_KEY_TYPES),
    st.builds(KeyType.ecc_key_pair, st.sampled_from(ECC_FAMILIES)),
    st.builds(KeyType.ecc_public_key, st.sampled_from(ECC_FAMILIES)),
    st.just(KeyType.dh_key_pair(DhFamily.RFC7919)),
    st.just(KeyType.dh_public_key(DhFamily.RFC7919)),
)
u32 = st.integers(0, 2**32 - 1)
attributes = st.builds(
    KeyAttributes,
    key_type=key_types,
    key_bits=u32,
    # What hash signing implies comes back from the wire, so it is there from the start.
    usage=st.integers(0, 0x3FF).map(
        lambda bits: UsageFlags(bits & 7 | (bits & 0x3F8) << 5 & 0x7F00).with_implied(),
    ),
    algorithm=algorithms,
)

_ALGORITHM_OF_OPERATION: dict[type, st.SearchStrategy[Any]] = {
    ops.PsaSignHash: signatures,
    ops.PsaVerifyHash: signatures,
    ops.PsaSignMessage: signatures,
    ops.PsaVerifyMessage: signatures,
    ops.PsaAsymmetricEncrypt: encryptions,
    ops.PsaAsymmetricDecrypt: encryptions,
    ops.PsaAeadEncrypt: aeads,
    ops.PsaAeadDecrypt: aeads,
    ops.PsaCipherEncrypt: ciphers,
    ops.PsaCipherDecrypt: ciphers,
    ops.PsaMacCompute: macs,
    ops.PsaMacVerify: macs,
    ops.PsaHashCompute: hashes,
    ops.PsaHashCompare: hashes,
    ops.PsaRawKeyAgreement: agreements,
}
_OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": u32,
    "str": st.text(max_size=20),
    "bytes": st.binary(max_size=200),
    "KeyAttributes": attributes,
    "CheckType": st.sampled_from(ops.CheckType),
    "tuple[int, ...]": st.lists(u32, max_size=5).map(tuple),
    "tuple[str, ...]": st.lists(st.text(max_size=9), max_size=5).map(tuple),
}


def instances(value_type: type[Record]) -> st.SearchStrategy[Any]:
    """Values of one of the classes in ``operations``, told by the types its fields are annotated with."""
    if value_type is ops.PsaGenerateRandom:
        return st.builds(ops.PsaGenerateRandom, size=st.integers(0, 2**64 - 1))
    arguments = {}
    for name in value_type.__match_args__:
        annotation = value_type.__annotations__[name]
        if name == "alg":
            arguments[name] = _ALGORITHM_OF_OPERATION[value_type]
        elif annotation in _OF_TYPE:
            arguments[name] = _OF_TYPE[annotation]
        else:
            item = getattr(ops, annotation.removeprefix("tuple[").removesuffix(", ...]"))
            arguments[name] = st.lists(instances(item), max_size=3).map(tuple)
    return st.builds(value_type, **arguments)


operations: st.SearchStrategy[tuple[int, Any]] = st.one_of(
    [st.tuples(st.just(int(opcode)), instances(spec.operation)) for opcode, spec in SPECS.items()],
)
results: st.SearchStrategy[tuple[int, Any]] = st.one_of(
    [st.tuples(st.just(int(opcode)), instances(spec.result)) for opcode, spec in SPECS.items()],
)
