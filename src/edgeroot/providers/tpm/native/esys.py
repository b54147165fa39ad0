"""The way to a TPM, over the TSS's Enhanced System API: keys, and what needs a session.

Structures go in and come out as bytes; handles are numbers that mean something on their connection only. Every failure
is a TpmError. Commands that carry a secret go through the session: HMAC, salted with the primary key, with AES-128 in
CFB mode for the first parameter (TPM 2.0 Library, Part 1, clauses 19 and 21).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from time import sleep
from typing import Final

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE, TPMA_SESSION
from tpm2_pytss.types import (
    TPM2B_ECC_POINT,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE,
    TPM2B_SENSITIVE_CREATE,
    TPMS_ECC_POINT,
    TPMS_SENSITIVE_CREATE,
    TPMT_PUBLIC,
    TPMT_RSA_DECRYPT,
    TPMT_SENSITIVE,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)
from tpm2_pytss.utils import wrap

from edgeroot.evidence.tpm_structures import MalformedError, Reader, sized
from edgeroot.providers.tpm.connection import Hierarchy, Primary
from edgeroot.providers.tpm.errors import MAKING_PRIMARY, TRY_AGAIN, TpmError, tpm_error
from edgeroot.providers.tpm.hmac_session import Beginning, Entity, ForgedResponseError, HmacSession, ResponseCodeError
from edgeroot.providers.tpm.native.plain import PlainConnection, command, registers
from edgeroot.psa import PsaStatus, Secret

_FLUSH: Final = Struct(">HIII")  # tag, size, command code, handle (Part 3, clause 28.4)
_NO_SESSIONS: Final = 0x8001
_FLUSH_CONTEXT: Final = 0x00000165
_SIGN: Final = 0x0000015D
_RSA_DECRYPT: Final = 0x00000159
_ECDH_ZGEN: Final = 0x00000154
_GET_RANDOM: Final = 0x0000017B
_CREATE: Final = 0x00000153
_HMAC: Final = 0x00000155
_ENCRYPT_DECRYPT_2: Final = 0x00000193
_NO_REGISTERS: Final = bytes(4)  # TPML_PCR_SELECTION
_NO_TICKET: Final = Struct(">HIH").pack(0x8024, 0x40000007, 0)  # TPMT_TK_HASHCHECK: hashed elsewhere
_CODE: Final = slice(6, 10)  # where the response code is in a response (Part 1, clause 18.5)
_WITHOUT_LAYER: Final = 0xFFFF
_WAITS_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5)
_HIERARCHIES: Final = {Hierarchy.OWNER: ESYS_TR.OWNER, Hierarchy.ENDORSEMENT: ESYS_TR.ENDORSEMENT}


@contextmanager
def _by_hand(name: str) -> Iterator[None]:
    """For commands that the library does not make."""
    try:
        with command(name):
            yield
    except ResponseCodeError as error:
        raise tpm_error(name, error.code) from error
    except ForgedResponseError as error:
        raise TpmError(
            name, 0, PsaStatus.CORRUPTION_DETECTED, f"{name}: {error}: do not trust the way to the TPM"
        ) from error


class EsysConnection(PlainConnection):
    """A connection with a session."""

    def __init__(self, tcti: str) -> None:
        super().__init__(tcti)
        self._session = ESYS_TR.NONE
        self._quick: HmacSession | None = None
        self._entities: dict[int, Entity] = {}

    # Primary keys, and the session

    def persistent(self, handle: int) -> Primary | None:
        if handle not in self.handles(handle):
            return None
        with command("TPM2_ReadPublic"):
            found = self._esys.tr_from_tpmpublic(handle)
            public, *_ = self._esys.read_public(found)
            return Primary(int(found), public.publicArea.marshal(), bytes(public.get_name()), persistent=True)

    def create_primary(self, hierarchy: Hierarchy, auth: bytes, template: bytes) -> Primary:
        with command(MAKING_PRIMARY), self._authorised(hierarchy, auth) as session:
            handle, public, *_ = self._esys.create_primary(
                TPM2B_SENSITIVE_CREATE(), _public(template), _HIERARCHIES[hierarchy], session1=session
            )
            return Primary(int(handle), public.publicArea.marshal(), bytes(public.get_name()), persistent=False)

    @contextmanager
    def _authorised(self, hierarchy: Hierarchy, auth: bytes) -> Iterator[ESYS_TR]:
        """What authorises a command on a hierarchy without saying its authorisation aloud."""
        self._esys.tr_set_auth(_HIERARCHIES[hierarchy], auth)
        if not auth:
            yield ESYS_TR.PASSWORD
        elif self._session != ESYS_TR.NONE:
            yield self._protected(command=False, response=False)
        else:
            no_cipher = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
            session = self._esys.start_auth_session(
                ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.HMAC, no_cipher, TPM2_ALG.SHA256
            )
            try:
                yield session
            finally:
                self._flush_session(session)

    def start_session(self, primary: Primary) -> None:
        self._session = self._start(primary.handle, TPM2_SE.HMAC)
        with command("TPM2_StartAuthSession"):
            handle = self._esys.tr_get_tpm_handle(ESYS_TR(primary.handle))
        try:
            beginning = Beginning(handle, primary.public)
        except MalformedError:
            return  # a storage key of another kind, which the library knows how to use
        with _by_hand("TPM2_StartAuthSession"):
            self._quick = beginning.begun(self._exchange(beginning.command))
            self._entities[primary.handle] = Entity(handle, primary.name, b"")

    def _start(self, primary: int, kind: TPM2_SE) -> ESYS_TR:
        cipher = TPMT_SYM_DEF(
            algorithm=TPM2_ALG.AES, keyBits=TPMU_SYM_KEY_BITS(aes=128), mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB)
        )
        with command("TPM2_StartAuthSession"):
            session = self._esys.start_auth_session(ESYS_TR(primary), ESYS_TR.NONE, kind, cipher, TPM2_ALG.SHA256)
            self._esys.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION)
            return session

    def end_session(self) -> None:
        quick, self._quick = self._quick, None
        if quick is not None:
            with _by_hand("TPM2_FlushContext"):
                self._exchange(quick.flush())
        if self._session != ESYS_TR.NONE:
            session, self._session = self._session, ESYS_TR.NONE
            with command("TPM2_FlushContext"):
                self._esys.flush_context(session)

    def _protected(self, *, command: bool, response: bool) -> ESYS_TR:
        """The session, to encrypt the first parameter of the command, of the response, or of both."""
        wanted = (TPMA_SESSION.DECRYPT if command else 0) | (TPMA_SESSION.ENCRYPT if response else 0)
        self._esys.trsess_set_attributes(self._session, wanted, TPMA_SESSION.DECRYPT | TPMA_SESSION.ENCRYPT)
        return self._session

    # Keys

    def create(self, primary: int, template: bytes, auth: bytes, secret: Secret) -> tuple[bytes, bytes]:
        entity = self._entities.get(primary)
        if self._quick is not None and entity is not None:
            parameters = sized(sized(auth) + sized(secret)) + sized(template) + sized(b"") + _NO_REGISTERS
            response = Reader(self._quickly("TPM2_Create", _CREATE, entity, parameters, veiled=True))
            return response.sized(), response.sized()
        sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=auth, data=bytes(secret)))
        with command("TPM2_Create"):
            private, public, *_ = self._esys.create(
                ESYS_TR(primary),
                sensitive,
                _public(template),
                session1=self._protected(command=True, response=False),
            )
        return bytes(private), public.publicArea.marshal()

    def import_pair(self, primary: Primary, public: bytes, auth: bytes, secret: Secret) -> bytes:
        area = _public(public)
        sensitive = TPMT_SENSITIVE(sensitiveType=area.publicArea.type, authValue=auth)
        if area.publicArea.type == TPM2_ALG.RSA:
            sensitive.sensitive.rsa = bytes(secret)
        else:
            sensitive.sensitive.ecc = bytes(secret)
        # The library encrypts the key to the primary key's public part (Part 1, clause 23.3), so that it is not
        # readable on its way to the TPM.
        _, duplicate, seed = wrap(_public(primary.public).publicArea, area, TPM2B_SENSITIVE(sensitive))
        with command("TPM2_Import"):
            private = self._esys.import_(
                ESYS_TR(primary.handle),
                b"",
                area,
                duplicate,
                seed,
                TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
            )
        return bytes(private)

    def load(self, primary: int, private: bytes, public: bytes, auth: bytes) -> int:
        # Nothing in it is secret, and the storage key has no authorisation: the library's session would take longer
        # than all the rest. Whether this very key was loaded shows when it is used: its name is part of each HMAC.
        with command("TPM2_Load"):
            handle = self._esys.load(ESYS_TR(primary), TPM2B_PRIVATE(private), _public(public))
            self._esys.tr_set_auth(handle, auth)
            name = bytes(self._esys.tr_get_name(handle))
            self._entities[int(handle)] = Entity(int(self._esys.tr_get_tpm_handle(handle)), name, auth)
        return int(handle)

    def flush(self, handle: int) -> None:
        self._entities.pop(handle, None)
        with command("TPM2_FlushContext"):
            self._esys.flush_context(ESYS_TR(handle))

    def flush_stale(self, handle: int) -> None:
        # By hand: the library knows only handles that it has given itself.
        with command("TPM2_FlushContext"):
            self._exchange(_FLUSH.pack(_NO_SESSIONS, _FLUSH.size, _FLUSH_CONTEXT, handle))

    def _exchange(self, command: bytes) -> bytes:
        """The response to a command, which is sent again where the TPM asks for that: it has done nothing then."""
        waits = iter(_WAITS_S)
        while True:
            self._tcti.transmit(command)
            response = bytes(self._tcti.receive())
            wait_s = next(waits, None)
            if int.from_bytes(response[_CODE], "big") & _WITHOUT_LAYER not in TRY_AGAIN or wait_s is None:
                return response
            sleep(wait_s)

    # Uses of keys

    def _quickly(
        self,
        name: str,
        code: int,
        entity: Entity | None,
        parameters: bytes,
        *,
        veiled: bool = False,
        hidden: bool = False,
    ) -> bytes:
        """By hand, in a session of our own; ``veiled`` and ``hidden`` as there."""
        assert self._quick is not None
        with _by_hand(name):
            packet = self._exchange(self._quick.command(code, entity, parameters, veiled=veiled, hidden=hidden))
            return self._quick.response(code, entity, packet, hidden=hidden)

    def sign(self, handle: int, digest: bytes, scheme: bytes) -> bytes:
        entity = self._entities.get(handle)
        if self._quick is not None and entity is not None:
            parameters = sized(digest) + scheme + _NO_TICKET
            return self._quickly("TPM2_Sign", _SIGN, entity, parameters)
        with command("TPM2_Sign"):
            signature = self._esys.sign(
                ESYS_TR(handle),
                digest,
                TPMT_SIG_SCHEME.unmarshal(scheme)[0],
                session1=self._protected(command=False, response=False),
            )
            return bytes(signature.marshal())

    def rsa_decrypt(self, handle: int, ciphertext: bytes, scheme: bytes, label: bytes) -> Secret:
        entity = self._entities.get(handle)
        if self._quick is not None and entity is not None:
            parameters = sized(ciphertext) + scheme + sized(label)
            response = self._quickly("TPM2_RSA_Decrypt", _RSA_DECRYPT, entity, parameters, hidden=True)
            return Secret(Reader(response).sized())
        with command("TPM2_RSA_Decrypt"):
            plaintext = self._esys.rsa_decrypt(
                ESYS_TR(handle),
                ciphertext,
                TPMT_RSA_DECRYPT.unmarshal(scheme)[0],
                label,
                session1=self._protected(command=False, response=True),
            )
            return Secret(bytes(plaintext))

    def agree(self, handle: int, x: bytes, y: bytes) -> Secret:
        entity = self._entities.get(handle)
        if self._quick is not None and entity is not None:
            parameters = sized(sized(x) + sized(y))
            response = self._quickly("TPM2_ECDH_ZGen", _ECDH_ZGEN, entity, parameters, hidden=True)
            return Secret(Reader(Reader(response).sized()).sized())
        with command("TPM2_ECDH_ZGen"):
            shared = self._esys.ecdh_zgen(
                ESYS_TR(handle),
                TPM2B_ECC_POINT(TPMS_ECC_POINT(x=x, y=y)),
                session1=self._protected(command=False, response=True),
            )
            return Secret(bytes(shared.point.x))

    def hmac(self, handle: int, data: bytes, hash_algorithm: int) -> bytes:
        entity = self._entities.get(handle)
        if self._quick is not None and entity is not None:
            parameters = sized(data) + hash_algorithm.to_bytes(2)
            return Reader(self._quickly("TPM2_HMAC", _HMAC, entity, parameters, veiled=True, hidden=True)).sized()
        with command("TPM2_HMAC"):
            session = self._protected(command=True, response=True)
            return bytes(self._esys.hmac(ESYS_TR(handle), data, TPM2_ALG(hash_algorithm), session1=session))

    def hmac_start(self, handle: int, hash_algorithm: int) -> int:
        with command("TPM2_HMAC_Start"):
            session = self._protected(command=False, response=False)
            return int(self._esys.hmac_start(ESYS_TR(handle), b"", TPM2_ALG(hash_algorithm), session1=session))

    def sequence_update(self, sequence: int, data: bytes) -> None:
        with command("TPM2_SequenceUpdate"):
            session = self._protected(command=True, response=False)
            self._esys.sequence_update(ESYS_TR(sequence), data, session1=session)

    def sequence_complete(self, sequence: int, data: bytes) -> bytes:
        with command("TPM2_SequenceComplete"):
            session = self._protected(command=True, response=True)
            result, _ = self._esys.sequence_complete(ESYS_TR(sequence), data, ESYS_TR.NULL, session1=session)
            return bytes(result)

    def crypt(self, handle: int, data: bytes, *, decrypt: bool, mode: int, iv: bytes) -> tuple[Secret, bytes]:
        entity = self._entities.get(handle)
        if self._quick is not None and entity is not None:
            parameters = sized(data) + bytes((decrypt,)) + mode.to_bytes(2) + sized(iv)
            name, code = "TPM2_EncryptDecrypt2", _ENCRYPT_DECRYPT_2
            response = Reader(self._quickly(name, code, entity, parameters, veiled=True, hidden=True))
            return Secret(response.sized()), response.sized()
        with command("TPM2_EncryptDecrypt2"):
            out, iv_out = self._esys.encrypt_decrypt_2(
                ESYS_TR(handle),
                decrypt,
                TPM2_ALG(mode),
                iv,
                data,
                session1=self._protected(command=True, response=True),
            )
            return Secret(bytes(out)), bytes(iv_out)

    def random(self, size_bytes: int) -> Secret:
        if self._quick is not None:
            parameters = size_bytes.to_bytes(2)
            return Secret(Reader(self._quickly("TPM2_GetRandom", _GET_RANDOM, None, parameters, hidden=True)).sized())
        with command("TPM2_GetRandom"):
            drawn = self._esys.get_random(size_bytes, session1=self._protected(command=False, response=True))
            return Secret(bytes(drawn))

    # Attestation

    def quote(self, key: int, selection: bytes, qualifying_data: bytes) -> tuple[bytes, bytes]:
        with command("TPM2_Quote"):
            attest, signature = self._esys.quote(
                ESYS_TR(key),
                registers(selection),
                qualifying_data,
                session1=self._protected(command=False, response=False),
            )
            return bytes(attest), bytes(signature.marshal())

    def certify(self, certified: int, key: int, qualifying_data: bytes) -> tuple[bytes, bytes]:
        with command("TPM2_Certify"):
            # The attesting key has no authorisation; that of the other one protects the whole command.
            attest, signature = self._esys.certify(
                ESYS_TR(certified),
                ESYS_TR(key),
                qualifying_data,
                TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
                session1=self._protected(command=False, response=False),
                session2=ESYS_TR.PASSWORD,
            )
            return bytes(attest), bytes(signature.marshal())

    def activate(
        self, primary: int, key: int, endorsement: int, *, auth: bytes, credential_blob: bytes, secret: bytes
    ) -> Secret:
        policy = self._start(primary, TPM2_SE.POLICY)
        try:
            # The policy of the TCG's endorsement keys (EK Credential Profile, Policy A).
            with command("TPM2_PolicySecret"), self._authorised(Hierarchy.ENDORSEMENT, auth) as session:
                self._esys.policy_secret(ESYS_TR.ENDORSEMENT, policy, expiration=0, session1=session)
            with command("TPM2_ActivateCredential"):
                credential = self._esys.activate_credential(
                    ESYS_TR(key),
                    ESYS_TR(endorsement),
                    TPM2B_ID_OBJECT(credential_blob),
                    TPM2B_ENCRYPTED_SECRET(secret),
                    session1=self._protected(command=False, response=True),
                    session2=policy,
                )
                return Secret(bytes(credential))
        finally:
            self._flush_session(policy)

    def _flush_session(self, session: ESYS_TR) -> None:
        try:
            self._esys.flush_context(session)
        except TSS2_Exception:
            pass  # with the TPM or its manager gone, so is the session; what went wrong before is what counts


def _public(area: bytes) -> TPM2B_PUBLIC:
    return TPM2B_PUBLIC(TPMT_PUBLIC.unmarshal(area)[0])
