"""The same operations, right and wrong, to upstream's service and to ours: the same statuses and, where only one result
is right, the same result. Where ours differs it is on purpose, and stands in the table here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.status import ResponseStatus as Status
from peers import PeersRoot, UpstreamService
from tests.interop.random_operations import Generator
from tests.interop.raw_socket import ask
from tests.support.service import running_service

OPERATIONS_PER_ROUND = 100
USES = UsageFlags(0x3F00)  # encrypt, decrypt, sign and verify
CRYPTS = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
UNIMPLEMENTED_FAMILIES = (
    EccFamily.SECP_R2,
    EccFamily.SECT_K1,
    EccFamily.SECT_R1,
    EccFamily.SECT_R2,
    EccFamily.FRP,
)


class Case(NamedTuple):
    """An operation, the attributes in it or else of its key, and what both said."""

    operation: ops.Operation
    attributes: KeyAttributes | None
    upstream: Status
    ours: Status

    @property
    def key_type(self) -> KeyType:
        return self.attributes.key_type if self.attributes else KeyType.NONE

    @property
    def key_bits(self) -> int:
        return self.attributes.key_bits if self.attributes else 0

    @property
    def policy(self) -> Algorithm:
        return self.attributes.algorithm if self.attributes else Algorithm.NONE

    @property
    def usage(self) -> UsageFlags:
        return self.attributes.usage if self.attributes else UsageFlags.NONE

    @property
    def alg(self) -> Algorithm:
        return Algorithm(getattr(self.operation, "alg", 0))

    def of(self, *types: type[ops.Operation]) -> bool:
        return isinstance(self.operation, types)

    def statuses(self, upstream: Status, ours: Status) -> bool:
        return (self.upstream, self.ours) == (upstream, ours)


class Difference(NamedTuple):
    reason: str
    applies: Callable[[Case], bool]


MAKING = (ops.PsaGenerateKey, ops.PsaImportKey)


def _rsa_3072(case: Case) -> bool:
    return case.key_type.is_rsa and case.key_bits == 3072


def _p384(case: Case) -> bool:
    return case.key_type.is_ecc and case.key_type.ecc_family is EccFamily.SECP_R1 and case.key_bits == 384


def _unimplemented_curve(case: Case) -> bool:
    return case.key_type.is_ecc and case.key_type.ecc_family in UNIMPLEMENTED_FAMILIES


def _not_usable(case: Case) -> bool:
    """Whether no operation of the contract could be done with such a key, whatever upstream says."""
    public, alg, usage = case.key_type.is_public_key, case.policy, case.usage
    if alg.is_key_agreement:
        return public or not alg.is_raw_key_agreement or not usage & UsageFlags.DERIVE
    serving = UsageFlags.NONE
    if alg.is_aead or alg.is_cipher or alg.is_asymmetric_encryption:
        serving = UsageFlags.ENCRYPT if public else CRYPTS
    elif alg.is_sign:
        serving = UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
        serving |= UsageFlags.NONE if public else UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
    elif alg.is_mac:
        serving = UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
    return not usage & serving


def _hash_of(case: Case) -> Hash | None:
    if isinstance(case.operation, ops.PsaHashCompute | ops.PsaHashCompare):
        return case.operation.alg
    return case.alg.hash


def _no_such_tag(case: Case) -> bool:
    lengths = {Algorithm.GCM: (4, 8, 12, 13, 14, 15, 16), Algorithm.CCM: (4, 6, 8, 10, 12, 14, 16)}
    alg = case.policy
    return alg.is_aead and alg.tag_length_bytes not in lengths.get(alg.aead_default, (16,))


def _no_such_size(case: Case) -> bool:
    sizes = {KeyType.AES: (128, 192, 256), KeyType.CAMELLIA: (128, 192, 256), KeyType.CHACHA20: (256,)}
    if case.key_type in sizes:
        return case.key_bits not in sizes[case.key_type]
    if case.key_type in (KeyType.RAW_DATA, KeyType.HMAC, KeyType.DERIVE):
        return case.key_bits % 8 != 0 or not 0 < case.key_bits <= 65528
    return not case.key_type.is_rsa  # curves and groups


DIFFERENCES = (
    Difference(
        "upstream takes RSA keys of 1024, 2048 and 4096 bits only",
        lambda c: c.of(*MAKING, ops.CanDoCrypto) and _rsa_3072(c) and c.ours is Status.SUCCESS,
    ),
    Difference(
        "a misprint in upstream's table of curves (284 instead of 384) keeps P-384 out",
        lambda c: c.of(*MAKING, ops.CanDoCrypto) and _p384(c) and c.upstream is not Status.SUCCESS,
    ),
    Difference(
        "curves that are not implemented are not supported, whether or not upstream's library knows their names",
        lambda c: (
            c.of(*MAKING, ops.CanDoCrypto) and _unimplemented_curve(c) and c.ours is Status.PSA_ERROR_NOT_SUPPORTED
        ),
    ),
    Difference(
        "upstream's library was built without ARC4; a key of it can be kept here, for whatever it is worth",
        lambda c: c.of(*MAKING) and c.key_type == KeyType.ARC4 and c.upstream is Status.PSA_ERROR_NOT_SUPPORTED,
    ),
    Difference(
        "upstream looks at RSA sizes before it looks whether the name is taken",
        lambda c: (
            c.of(*MAKING)
            and c.key_type.is_rsa
            and c.statuses(Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_ALREADY_EXISTS)
        ),
    ),
    Difference(
        "keys of impossible sizes are refused by PSA's words for it: upstream's library knows two",
        lambda c: (
            c.of(*MAKING)
            and _no_such_size(c)
            and {c.upstream, c.ours} == {Status.PSA_ERROR_NOT_SUPPORTED, Status.PSA_ERROR_INVALID_ARGUMENT}
        ),
    ),
    Difference(
        "SHA-512/224 and SHA-512/256 work here",
        lambda c: _hash_of(c) in (Hash.SHA_512_224, Hash.SHA_512_256) and c.upstream is Status.PSA_ERROR_NOT_SUPPORTED,
    ),
    Difference(
        "upstream cannot convert deterministic ECDSA to its library's number, and so permits it to nobody",
        lambda c: (
            c.of(ops.PsaSignHash, ops.PsaVerifyHash)
            and c.alg.is_deterministic_ecdsa
            and c.upstream is Status.PSA_ERROR_NOT_PERMITTED
        ),
    ),
    Difference(
        "a wrong PKCS#1 v1.5 padding is answered with random bytes instead of a status that helps an attacker",
        lambda c: (
            c.of(ops.PsaAsymmetricDecrypt)
            and c.alg == Algorithm.RSA_PKCS1V15_CRYPT
            and c.ours is Status.SUCCESS
            and c.upstream in (Status.PSA_ERROR_INVALID_PADDING, Status.PSA_ERROR_INVALID_ARGUMENT)
        ),
    ),
    Difference(
        "a ciphertext that is no number below the modulus is a decryption error (RFC 8017, clause 7.1.2)",
        lambda c: (
            c.of(ops.PsaAsymmetricDecrypt)
            and c.statuses(Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_INVALID_PADDING)
        ),
    ),
    Difference(
        "a signature that is no number below the modulus, or of a wrong form, is an invalid one (RFC 8017, clause 8)",
        lambda c: (
            c.of(ops.PsaVerifyHash)
            and c.alg.is_rsa_sign
            and c.statuses(Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_INVALID_SIGNATURE)
        ),
    ),
    Difference(
        "PSS over 64-byte hashes takes more than 1024 bits here; upstream shortens the salt",
        lambda c: (
            c.of(ops.PsaSignHash, ops.PsaVerifyHash, ops.CanDoCrypto)
            and c.policy.is_rsa_pss
            and (c.policy if c.of(ops.CanDoCrypto) else c.alg).hash in (Hash.SHA_512, Hash.SHA3_512)
            and c.ours in (Status.PSA_ERROR_INVALID_ARGUMENT, Status.PSA_ERROR_NOT_SUPPORTED)
        ),
    ),
    Difference(
        "nothing at all is no hash, with raw PKCS#1 v1.5 signatures either",
        lambda c: (
            isinstance(c.operation, ops.PsaSignHash | ops.PsaVerifyHash)
            and c.alg == Algorithm.RSA_PKCS1V15_SIGN_RAW
            and not c.operation.hash_value
            and c.ours is Status.PSA_ERROR_INVALID_ARGUMENT
        ),
    ),
    Difference(
        "finite-field Diffie-Hellman works here",
        lambda c: c.of(ops.PsaRawKeyAgreement) and c.alg == Algorithm.FFDH and c.key_type.is_dh,
    ),
    Difference(
        "Camellia in GCM and CCM is not in our library",
        lambda c: c.key_type == KeyType.CAMELLIA and c.policy.is_aead and c.ours is Status.PSA_ERROR_NOT_SUPPORTED,
    ),
    Difference(
        "AES keys of 512 bits are XTS's two",
        lambda c: c.of(*MAKING) and c.key_type == KeyType.AES and c.key_bits == 512 and c.ours is Status.SUCCESS,
    ),
    Difference(
        "an empty plaintext may be encrypted with AEAD, as PSA says: its tag still vouches for the additional data",
        lambda c: (
            isinstance(c.operation, ops.PsaAeadEncrypt)
            and not c.operation.plaintext
            and c.upstream is Status.PSA_ERROR_INVALID_ARGUMENT
        ),
    ),
    Difference(
        "nonces that are not the algorithm's usual ones: GCM's of less than 8 bytes are not in our library",
        lambda c: (
            isinstance(c.operation, ops.PsaAeadEncrypt | ops.PsaAeadDecrypt)
            and len(c.operation.nonce) != 12
            and c.ours in (Status.PSA_ERROR_NOT_SUPPORTED, Status.PSA_ERROR_INVALID_ARGUMENT)
        ),
    ),
    Difference(
        "CanDoCrypto answers from what can be done: DES, ARC4, HMAC and derivation keys can be kept",
        lambda c: (
            c.of(ops.CanDoCrypto)
            and c.statuses(Status.PSA_ERROR_NOT_SUPPORTED, Status.SUCCESS)
            and c.key_type in (KeyType.DES, KeyType.ARC4, KeyType.HMAC, KeyType.DERIVE)
        ),
    ),
    Difference(
        "CanDoCrypto answers from what can be done: upstream says yes to usage that cannot serve the algorithm",
        lambda c: c.of(ops.CanDoCrypto) and c.ours is Status.PSA_ERROR_NOT_SUPPORTED and _not_usable(c),
    ),
    Difference(
        "CanDoCrypto answers from what can be done: upstream says yes to keys of sizes that do not exist",
        lambda c: c.of(ops.CanDoCrypto) and c.ours is Status.PSA_ERROR_NOT_SUPPORTED and _no_such_size(c),
    ),
    Difference(
        "CanDoCrypto answers from what can be done: upstream says yes to tags of lengths that do not exist",
        lambda c: c.of(ops.CanDoCrypto) and c.ours is Status.PSA_ERROR_NOT_SUPPORTED and _no_such_tag(c),
    ),
)


class Pair:
    """Both services, and what became of the operations."""

    def __init__(self, upstream: Path, ours: Path, rng: random.Random) -> None:
        self.upstream = upstream
        self.ours = ours
        self.generator = Generator(rng)
        self.imported: set[str] = set()
        self.unexplained: list[str] = []
        self.seen: Counter[str] = Counter()
        self.same: Counter[tuple[type[ops.Operation], Status]] = Counter()

    def step(self) -> None:
        for_upstream, operation = self.generator.draw()
        name = getattr(operation, "key_name", getattr(operation, "private_key_name", ""))
        attributes = getattr(operation, "attributes", None) or self.generator.keys.get(name)
        upstream_status, upstream_result = ask(self.upstream, for_upstream)
        status, result = ask(self.ours, operation)
        if status is upstream_status:
            self.same[type(operation), status] += 1
        else:
            self._explain(Case(operation, attributes, upstream_status, status))
        if upstream_result is not None and result is not None:
            self._compare(operation, name, upstream_result, result)
        self._keep_up(operation, name, upstream_status, status)

    def _explain(self, case: Case) -> None:
        for difference in DIFFERENCES:
            if difference.applies(case):
                self.seen[difference.reason] += 1
                return
        said = f"upstream {case.upstream.display_name}, ours {case.ours.display_name}"
        self.unexplained.append(f"{said}: {case.operation!r} with {case.attributes!r}")

    def _compare(self, operation: ops.Operation, name: str, upstream: ops.Result, ours: ops.Result) -> None:
        if isinstance(operation, ops.PsaSignHash | ops.PsaAsymmetricEncrypt | ops.PsaAeadEncrypt):
            output = "signature" if isinstance(operation, ops.PsaSignHash) else "ciphertext"
            one, other = getattr(upstream, output), getattr(ours, output)
            kept = self.generator.results.setdefault(name, [])
            kept.append((one, other))
            if name in self.imported:
                kept.append((other, one))  # what the one signed or encrypted is for the other to verify or decrypt
        unique = operation.alg.is_rsa_pkcs1v15_sign if isinstance(operation, ops.PsaSignHash) else False
        unique |= isinstance(
            operation, ops.PsaExportKey | ops.PsaExportPublicKey | ops.PsaAeadEncrypt | ops.PsaRawKeyAgreement
        )
        if isinstance(operation, ops.PsaHashCompute) or (unique and name in self.imported):
            if upstream != ours:
                self.unexplained.append(f"different results of {operation!r}: upstream {upstream!r}, ours {ours!r}")
            self.seen["the same result"] += 1

    def _keep_up(self, operation: ops.Operation, name: str, upstream: Status, ours: Status) -> None:
        keys = self.generator.keys
        if isinstance(operation, MAKING):
            if upstream is ours is Status.SUCCESS:
                keys[name] = operation.attributes
                self.generator.results.pop(name, None)
                (self.imported.add if isinstance(operation, ops.PsaImportKey) else self.imported.discard)(name)
            elif upstream is not ours:
                for path in (self.upstream, self.ours):
                    ask(path, ops.PsaDestroyKey(name))
                keys.pop(name, None)
        elif isinstance(operation, ops.PsaDestroyKey):
            keys.pop(name, None)


def test_both_say_the_same(peers_root: PeersRoot, rng: random.Random, rounds: int) -> None:
    with (
        UpstreamService(idle_sleep_ms=0) as upstream,
        running_service(core="allow_deprecated = true\naudit = false") as ours,
    ):
        pair = Pair(upstream.socket_path, ours.socket_path, rng)
        for _ in range(rounds * OPERATIONS_PER_ROUND):
            pair.step()
        assert not pair.unexplained, "\n".join(pair.unexplained)
        assert "a fault in the service" not in ours.log()
    # The test means something only if it reached good and bad ends of all kinds.
    assert len({operation for operation, _ in pair.same}) == 16
    assert {status for _, status in pair.same} >= {
        Status.SUCCESS,
        Status.PSA_ERROR_NOT_PERMITTED,
        Status.PSA_ERROR_NOT_SUPPORTED,
        Status.PSA_ERROR_INVALID_ARGUMENT,
        Status.PSA_ERROR_ALREADY_EXISTS,
        Status.PSA_ERROR_DOES_NOT_EXIST,
        Status.PSA_ERROR_INVALID_SIGNATURE,
    }
    assert pair.seen["the same result"] > rounds
