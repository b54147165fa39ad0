"""Bodies of key management, capability check and attestation."""

from __future__ import annotations

from typing import Final

from edgeroot.wire import operations as ops
from edgeroot.wire.contract.generated import keys_pb2 as pb
from edgeroot.wire.convert.attributes import decode_attributes, encode_attributes
from edgeroot.wire.convert.body import AnyBody, Body
from edgeroot.wire.convert.table import EnumTable
from edgeroot.wire.status import ResponseStatus, WireError

_CHECK_TYPES: Final = EnumTable(
    "CheckType",
    {
        pb.CHECK_TYPE_USE: ops.CheckType.USE,
        pb.CHECK_TYPE_GENERATE: ops.CheckType.GENERATE,
        pb.CHECK_TYPE_IMPORT: ops.CheckType.IMPORT,
        pb.CHECK_TYPE_DERIVE: ops.CheckType.DERIVE,
    },
)


def _no_mechanism() -> WireError:
    return WireError(ResponseStatus.INVALID_ENCODING, "no attestation mechanism")


def _decode_prepare(message: pb.PrepareKeyAttestationOperation) -> ops.PrepareKeyAttestation:
    if not message.parameters.HasField("activate_credential"):
        raise _no_mechanism()
    mechanism = message.parameters.activate_credential
    return ops.PrepareKeyAttestation(mechanism.attested_key_name, mechanism.attesting_key_name)


def _encode_prepare(value: ops.PrepareKeyAttestation) -> pb.PrepareKeyAttestationOperation:
    mechanism = pb.PrepareKeyAttestationParams.ActivateCredential(
        attested_key_name=value.attested_key_name, attesting_key_name=value.attesting_key_name
    )
    parameters = pb.PrepareKeyAttestationParams(activate_credential=mechanism)
    return pb.PrepareKeyAttestationOperation(parameters=parameters)


def _decode_prepare_result(message: pb.PrepareKeyAttestationResult) -> ops.PrepareKeyAttestationResult:
    if not message.output.HasField("activate_credential"):
        raise _no_mechanism()
    mechanism = message.output.activate_credential
    return ops.PrepareKeyAttestationResult(mechanism.name, mechanism.public, mechanism.attesting_key_pub)


def _encode_prepare_result(value: ops.PrepareKeyAttestationResult) -> pb.PrepareKeyAttestationResult:
    mechanism = pb.PrepareKeyAttestationOutput.ActivateCredential(
        name=value.name, public=value.public, attesting_key_pub=value.attesting_key_pub
    )
    return pb.PrepareKeyAttestationResult(output=pb.PrepareKeyAttestationOutput(activate_credential=mechanism))


def _decode_attest(message: pb.AttestKeyOperation) -> ops.AttestKey:
    if not message.parameters.HasField("activate_credential"):
        raise _no_mechanism()
    mechanism = message.parameters.activate_credential
    return ops.AttestKey(
        message.attested_key_name, message.attesting_key_name, mechanism.credential_blob, mechanism.secret
    )


def _encode_attest(value: ops.AttestKey) -> pb.AttestKeyOperation:
    mechanism = pb.AttestationMechanismParams.ActivateCredential(
        credential_blob=value.credential_blob, secret=value.secret
    )
    return pb.AttestKeyOperation(
        attested_key_name=value.attested_key_name,
        parameters=pb.AttestationMechanismParams(activate_credential=mechanism),
        attesting_key_name=value.attesting_key_name,
    )


def _decode_attest_result(message: pb.AttestKeyResult) -> ops.AttestKeyResult:
    if not message.output.HasField("activate_credential"):
        raise _no_mechanism()
    return ops.AttestKeyResult(message.output.activate_credential.credential)


def _encode_attest_result(value: ops.AttestKeyResult) -> pb.AttestKeyResult:
    mechanism = pb.AttestationOutput.ActivateCredential(credential=value.credential)
    return pb.AttestKeyResult(output=pb.AttestationOutput(activate_credential=mechanism))


KEY_BODIES: Final[tuple[AnyBody, ...]] = (
    Body(
        pb.PsaGenerateKeyOperation,
        ops.PsaGenerateKey,
        decode=lambda m: ops.PsaGenerateKey(m.key_name, decode_attributes(m.attributes)),
        encode=lambda v: pb.PsaGenerateKeyOperation(key_name=v.key_name, attributes=encode_attributes(v.attributes)),
    ),
    Body(
        pb.PsaImportKeyOperation,
        ops.PsaImportKey,
        decode=lambda m: ops.PsaImportKey(m.key_name, decode_attributes(m.attributes), m.data),
        encode=lambda v: pb.PsaImportKeyOperation(
            key_name=v.key_name, attributes=encode_attributes(v.attributes), data=v.data
        ),
    ),
    Body(
        pb.PsaDestroyKeyOperation,
        ops.PsaDestroyKey,
        decode=lambda m: ops.PsaDestroyKey(m.key_name),
        encode=lambda v: pb.PsaDestroyKeyOperation(key_name=v.key_name),
    ),
    Body(
        pb.PsaExportKeyOperation,
        ops.PsaExportKey,
        decode=lambda m: ops.PsaExportKey(m.key_name),
        encode=lambda v: pb.PsaExportKeyOperation(key_name=v.key_name),
    ),
    Body(
        pb.PsaExportKeyResult,
        ops.PsaExportKeyResult,
        decode=lambda m: ops.PsaExportKeyResult(m.data),
        encode=lambda v: pb.PsaExportKeyResult(data=v.data),
    ),
    Body(
        pb.PsaExportPublicKeyOperation,
        ops.PsaExportPublicKey,
        decode=lambda m: ops.PsaExportPublicKey(m.key_name),
        encode=lambda v: pb.PsaExportPublicKeyOperation(key_name=v.key_name),
    ),
    Body(
        pb.PsaExportPublicKeyResult,
        ops.PsaExportPublicKeyResult,
        decode=lambda m: ops.PsaExportPublicKeyResult(m.data),
        encode=lambda v: pb.PsaExportPublicKeyResult(data=v.data),
    ),
    Body(
        pb.CanDoCryptoOperation,
        ops.CanDoCrypto,
        decode=lambda m: ops.CanDoCrypto(_CHECK_TYPES.decode(m.check_type), decode_attributes(m.attributes)),
        encode=lambda v: pb.CanDoCryptoOperation(
            check_type=_CHECK_TYPES.encode(v.check_type), attributes=encode_attributes(v.attributes)
        ),
    ),
    Body(pb.PrepareKeyAttestationOperation, ops.PrepareKeyAttestation, _decode_prepare, _encode_prepare),
    Body(
        pb.PrepareKeyAttestationResult, ops.PrepareKeyAttestationResult, _decode_prepare_result, _encode_prepare_result
    ),
    Body(pb.AttestKeyOperation, ops.AttestKey, _decode_attest, _encode_attest),
    Body(pb.AttestKeyResult, ops.AttestKeyResult, _decode_attest_result, _encode_attest_result),
)
