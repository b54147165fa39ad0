"""The objects of keys: made, found, read and destroyed in a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from edgeroot.engine import EngineKey
from edgeroot.providers.api import LoadedKey
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.errors import CkrError
from edgeroot.providers.pkcs11.material import (
    PUBLIC_EXPONENT,
    RSA_PRIVATE_PARTS,
    RSA_PUBLIC_PARTS,
    curve_parameters,
    exported_point,
    exported_rsa_pair,
    exported_rsa_public,
    exported_scalar,
    imported_parts,
)
from edgeroot.providers.pkcs11.mechanisms import Mechanism
from edgeroot.providers.pkcs11.native import Session
from edgeroot.providers.pkcs11.reference import KeyReference
from edgeroot.providers.pkcs11.templates import (
    Protection,
    Template,
    lookup,
    object_class,
    private_object,
    public_object,
)
from edgeroot.psa import KeyAttributes, KeyType, PsaError, PsaStatus, Secret

T = TypeVar("T")
_RSA_GENERATION: Final = Mechanism(ck.CKM_RSA_PKCS_KEY_PAIR_GEN)
_EC_GENERATION: Final = Mechanism(ck.CKM_EC_KEY_PAIR_GEN)
_SECRET_GENERATION: Final = {
    KeyType.AES: Mechanism(ck.CKM_AES_KEY_GEN),
    KeyType.HMAC: Mechanism(ck.CKM_GENERIC_SECRET_KEY_GEN),
}


class TokenKey(LoadedKey):
    """A key by its CKA_ID. The handles of its objects are found when they are first needed, in each epoch anew."""

    __slots__ = ("_epoch", "_handles", "place", "public_engine")

    def __init__(self, reference: bytes, attributes: KeyAttributes) -> None:
        super().__init__(reference, attributes)
        self.place: Final = KeyReference.from_bytes(reference)
        self._epoch = -1
        self._handles: dict[int, int] = {}
        self.public_engine: EngineKey | None = None

    def private(self, session: Session, epoch: int) -> int | None:
        """The handle of the private or secret object, if there is one."""
        if self.attributes.key_type.is_public_key:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a public key cannot do this")
        return self._handle(session, epoch, object_class(self.attributes.key_type))

    def public(self, session: Session, epoch: int) -> int | None:
        """The handle of the public object, if there is one."""
        return self._handle(session, epoch, ck.CKO_PUBLIC_KEY)

    def _handle(self, session: Session, epoch: int, wanted_class: int) -> int | None:
        if epoch != self._epoch:
            self._handles.clear()
            self._epoch = epoch
        handle = self._handles.get(wanted_class)
        if handle is None:
            found = session.find(lookup(self.place.key_type, self.place.object_id, wanted_class))
            if found:
                handle = self._handles[wanted_class] = found[0]
        return handle


def is_there(session: Session, place: KeyReference) -> bool:
    """Whether the key itself is in the token; what is left of it beside its public object is none."""
    return bool(session.find(lookup(place.key_type, place.object_id, object_class(place.key_type))))


def destroy(session: Session, place: KeyReference) -> bool:
    """Remove every object of the key; whether there was one.

    The private one goes first: what a crash in between leaves is no secret.
    """
    was_there = False
    for wanted_class in dict.fromkeys((object_class(place.key_type), _beside(place.key_type))):
        for handle in session.find(lookup(place.key_type, place.object_id, wanted_class)):
            session.destroy(handle)
            was_there = True
    return was_there


def generate(
    session: Session, attributes: KeyAttributes, object_id: bytes, protection: Protection, *, by_copy: bool = False
) -> None:
    """Make the objects of a new key; ``by_copy`` beside the token first."""
    place: Template = {ck.CKA_TOKEN: not by_copy}
    template = private_object(attributes, object_id, protection) | place
    made: tuple[int, ...]
    if attributes.key_type.is_rsa:
        public = public_object(attributes, object_id) | place
        public |= {
            ck.CKA_MODULUS_BITS: attributes.key_bits,
            ck.CKA_PUBLIC_EXPONENT: PUBLIC_EXPONENT,
        }
        made = session.generate_key_pair(_RSA_GENERATION, public, template)
    elif attributes.key_type.is_ecc:
        public = public_object(attributes, object_id) | place | {ck.CKA_EC_PARAMS: curve_parameters(attributes)}
        made = session.generate_key_pair(_EC_GENERATION, public, template)
    else:
        template |= {ck.CKA_VALUE_LEN: attributes.key_bits // 8}
        made = (session.generate_key(_SECRET_GENERATION[attributes.key_type], template),)
    if by_copy:
        _keep(session, made)


def put(
    session: Session,
    attributes: KeyAttributes,
    object_id: bytes,
    material: Secret,
    protection: Protection,
    *,
    by_copy: bool = False,
) -> None:
    """Make the objects of an imported key; if one of them fails, none is left. ``by_copy`` beside the token first."""
    private_parts, public_parts = imported_parts(attributes, material)
    place: Template = {ck.CKA_TOKEN: not by_copy}
    templates = []
    if public_parts:
        templates.append(public_object(attributes, object_id) | place | public_parts)
    if private_parts:
        templates.append(private_object(attributes, object_id, protection) | place | private_parts)
    made = _all_or_none(session, session.create, templates)
    if by_copy:
        _keep(session, made)


def read_private(session: Session, attributes: KeyAttributes, handle: int) -> Secret:
    """The key in the format of psa_export_key; NOT_PERMITTED if it was not made to leave the token."""
    if attributes.key_type.is_rsa:
        return exported_rsa_pair(session.attributes(handle, RSA_PRIVATE_PARTS))
    value = session.attributes(handle, (ck.CKA_VALUE,))[0]
    return exported_scalar(attributes, value) if attributes.key_type.is_ecc else value


def read_public(session: Session, attributes: KeyAttributes, handle: int) -> bytes:
    """The public key in the format of psa_export_public_key."""
    if attributes.key_type.is_rsa:
        return exported_rsa_public(session.attributes(handle, RSA_PUBLIC_PARTS))
    return exported_point(attributes, session.attributes(handle, (ck.CKA_EC_POINT,))[0])


def _keep(session: Session, made: Sequence[int]) -> None:
    """Copy objects into the token: the key itself, which comes last, is there only with what belongs to it."""
    try:
        _all_or_none(session, session.keep, made)
    finally:
        _discard(session, made)


def _all_or_none(session: Session, make: Callable[[T], int], of: Sequence[T]) -> list[int]:
    made: list[int] = []
    try:
        for one in of:
            made += [make(one)]
    except CkrError:
        _discard(session, made)
        raise
    return made


def _discard(session: Session, handles: Sequence[int]) -> None:
    for handle in handles:
        with suppress(CkrError):  # what is left then goes with the session, or when the planned place is cleared
            session.destroy(handle)


def _beside(key_type: KeyType) -> int:
    """The class of a pair's other object; of any other key there is none."""
    return ck.CKO_PUBLIC_KEY if key_type.is_key_pair else object_class(key_type)
