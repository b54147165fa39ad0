"""What a token's return values mean: the status that a caller gets, and for the log what to do about it.

The values are those of PKCS#11 v3.0, clause 5.1; the statuses of hardware and resource errors are upstream Parsec's.
"""

from __future__ import annotations

from typing import Final

from edgeroot.psa import PsaError, PsaStatus

_NAMES: Final[dict[int, str]] = {
    0x001: "CANCEL",
    0x002: "HOST_MEMORY",
    0x003: "SLOT_ID_INVALID",
    0x005: "GENERAL_ERROR",
    0x006: "FUNCTION_FAILED",
    0x007: "ARGUMENTS_BAD",
    0x008: "NO_EVENT",
    0x009: "NEED_TO_CREATE_THREADS",
    0x00A: "CANT_LOCK",
    0x010: "ATTRIBUTE_READ_ONLY",
    0x011: "ATTRIBUTE_SENSITIVE",
    0x012: "ATTRIBUTE_TYPE_INVALID",
    0x013: "ATTRIBUTE_VALUE_INVALID",
    0x01B: "ACTION_PROHIBITED",
    0x020: "DATA_INVALID",
    0x021: "DATA_LEN_RANGE",
    0x030: "DEVICE_ERROR",
    0x031: "DEVICE_MEMORY",
    0x032: "DEVICE_REMOVED",
    0x040: "ENCRYPTED_DATA_INVALID",
    0x041: "ENCRYPTED_DATA_LEN_RANGE",
    0x042: "AEAD_DECRYPT_FAILED",
    0x050: "FUNCTION_CANCELED",
    0x051: "FUNCTION_NOT_PARALLEL",
    0x054: "FUNCTION_NOT_SUPPORTED",
    0x060: "KEY_HANDLE_INVALID",
    0x062: "KEY_SIZE_RANGE",
    0x063: "KEY_TYPE_INCONSISTENT",
    0x064: "KEY_NOT_NEEDED",
    0x065: "KEY_CHANGED",
    0x066: "KEY_NEEDED",
    0x067: "KEY_INDIGESTIBLE",
    0x068: "KEY_FUNCTION_NOT_PERMITTED",
    0x069: "KEY_NOT_WRAPPABLE",
    0x06A: "KEY_UNEXTRACTABLE",
    0x070: "MECHANISM_INVALID",
    0x071: "MECHANISM_PARAM_INVALID",
    0x082: "OBJECT_HANDLE_INVALID",
    0x090: "OPERATION_ACTIVE",
    0x091: "OPERATION_NOT_INITIALIZED",
    0x0A0: "PIN_INCORRECT",
    0x0A1: "PIN_INVALID",
    0x0A2: "PIN_LEN_RANGE",
    0x0A3: "PIN_EXPIRED",
    0x0A4: "PIN_LOCKED",
    0x0B0: "SESSION_CLOSED",
    0x0B1: "SESSION_COUNT",
    0x0B3: "SESSION_HANDLE_INVALID",
    0x0B4: "SESSION_PARALLEL_NOT_SUPPORTED",
    0x0B5: "SESSION_READ_ONLY",
    0x0B6: "SESSION_EXISTS",
    0x0B7: "SESSION_READ_ONLY_EXISTS",
    0x0B8: "SESSION_READ_WRITE_SO_EXISTS",
    0x0C0: "SIGNATURE_INVALID",
    0x0C1: "SIGNATURE_LEN_RANGE",
    0x0D0: "TEMPLATE_INCOMPLETE",
    0x0D1: "TEMPLATE_INCONSISTENT",
    0x0E0: "TOKEN_NOT_PRESENT",
    0x0E1: "TOKEN_NOT_RECOGNIZED",
    0x0E2: "TOKEN_WRITE_PROTECTED",
    0x0F0: "UNWRAPPING_KEY_HANDLE_INVALID",
    0x0F1: "UNWRAPPING_KEY_SIZE_RANGE",
    0x0F2: "UNWRAPPING_KEY_TYPE_INCONSISTENT",
    0x100: "USER_ALREADY_LOGGED_IN",
    0x101: "USER_NOT_LOGGED_IN",
    0x102: "USER_PIN_NOT_INITIALIZED",
    0x103: "USER_TYPE_INVALID",
    0x104: "USER_ANOTHER_ALREADY_LOGGED_IN",
    0x105: "USER_TOO_MANY_TYPES",
    0x110: "WRAPPED_KEY_INVALID",
    0x112: "WRAPPED_KEY_LEN_RANGE",
    0x113: "WRAPPING_KEY_HANDLE_INVALID",
    0x114: "WRAPPING_KEY_SIZE_RANGE",
    0x115: "WRAPPING_KEY_TYPE_INCONSISTENT",
    0x120: "RANDOM_SEED_NOT_SUPPORTED",
    0x121: "RANDOM_NO_RNG",
    0x130: "DOMAIN_PARAMS_INVALID",
    0x140: "CURVE_NOT_SUPPORTED",
    0x150: "BUFFER_TOO_SMALL",
    0x160: "SAVED_STATE_INVALID",
    0x170: "INFORMATION_SENSITIVE",
    0x180: "STATE_UNSAVEABLE",
    0x190: "CRYPTOKI_NOT_INITIALIZED",
    0x191: "CRYPTOKI_ALREADY_INITIALIZED",
    0x1A0: "MUTEX_BAD",
    0x1A1: "MUTEX_NOT_LOCKED",
    0x1B0: "NEW_PIN_MODE",
    0x1B1: "NEXT_OTP",
    0x1B5: "EXCEEDED_MAX_ITERATIONS",
    0x1B6: "FIPS_SELF_TEST_FAILED",
    0x1B7: "LIBRARY_LOAD_FAILED",
    0x1B9: "PUBLIC_KEY_INVALID",
}


class CkrError(PsaError):
    """A function of the module returned ``code``.

    ``status`` is what it means by itself; an operation that knows better (a decryption for which "invalid data" is a
    wrong tag) raises another PsaError from it.
    """

    def __init__(self, code: int, function: str) -> None:
        super().__init__(_STATUSES.get(code, PsaStatus.COMMUNICATION_FAILURE), _sentence(code, function))
        self.code = code
        self.is_of_data = False
        """Whether the token was found to be well after it said this."""

    @property
    def name(self) -> str:
        """The value's name in the specification."""
        return name_of(self.code)


class UnavailableError(PsaError):
    """There is no token to ask: COMMUNICATION_FAILURE, and why."""

    def __init__(self, detail: str) -> None:
        super().__init__(PsaStatus.COMMUNICATION_FAILURE, detail)


def name_of(code: int) -> str:
    """``CKR_...``; vendors' own values as numbers."""
    return f"CKR_{_NAMES[code]}" if code in _NAMES else f"CKR {code:#010x} (the vendor's own)"


def advice_for(code: int) -> str:
    """What to do about it; empty where there is nothing that helps."""
    return _ADVICE.get(code, "")


def _sentence(code: int, function: str) -> str:
    said, advice = f"the token answered {function} with {name_of(code)}", advice_for(code)
    return f"{said}: {advice}" if advice else said


CKR_HOST_MEMORY: Final = 0x002
CKR_SLOT_ID_INVALID: Final = 0x003
CKR_GENERAL_ERROR: Final = 0x005
CKR_FUNCTION_FAILED: Final = 0x006
CKR_ARGUMENTS_BAD: Final = 0x007
CKR_ATTRIBUTE_SENSITIVE: Final = 0x011
CKR_ATTRIBUTE_TYPE_INVALID: Final = 0x012
CKR_ATTRIBUTE_VALUE_INVALID: Final = 0x013
CKR_DATA_INVALID: Final = 0x020
CKR_DATA_LEN_RANGE: Final = 0x021
CKR_DEVICE_ERROR: Final = 0x030
CKR_DEVICE_MEMORY: Final = 0x031
CKR_DEVICE_REMOVED: Final = 0x032
CKR_ENCRYPTED_DATA_INVALID: Final = 0x040
CKR_ENCRYPTED_DATA_LEN_RANGE: Final = 0x041
CKR_AEAD_DECRYPT_FAILED: Final = 0x042
CKR_FUNCTION_NOT_SUPPORTED: Final = 0x054
CKR_KEY_HANDLE_INVALID: Final = 0x060
CKR_KEY_SIZE_RANGE: Final = 0x062
CKR_KEY_TYPE_INCONSISTENT: Final = 0x063
CKR_KEY_FUNCTION_NOT_PERMITTED: Final = 0x068
CKR_KEY_UNEXTRACTABLE: Final = 0x06A
CKR_MECHANISM_INVALID: Final = 0x070
CKR_MECHANISM_PARAM_INVALID: Final = 0x071
CKR_OBJECT_HANDLE_INVALID: Final = 0x082
CKR_PIN_INCORRECT: Final = 0x0A0
CKR_PIN_INVALID: Final = 0x0A1
CKR_PIN_LEN_RANGE: Final = 0x0A2
CKR_PIN_EXPIRED: Final = 0x0A3
CKR_PIN_LOCKED: Final = 0x0A4
CKR_SESSION_CLOSED: Final = 0x0B0
CKR_SESSION_COUNT: Final = 0x0B1
CKR_SESSION_HANDLE_INVALID: Final = 0x0B3
CKR_SESSION_READ_ONLY: Final = 0x0B5
CKR_SIGNATURE_INVALID: Final = 0x0C0
CKR_SIGNATURE_LEN_RANGE: Final = 0x0C1
CKR_TEMPLATE_INCOMPLETE: Final = 0x0D0
CKR_TEMPLATE_INCONSISTENT: Final = 0x0D1
CKR_TOKEN_NOT_PRESENT: Final = 0x0E0
CKR_TOKEN_NOT_RECOGNIZED: Final = 0x0E1
CKR_TOKEN_WRITE_PROTECTED: Final = 0x0E2
CKR_USER_ALREADY_LOGGED_IN: Final = 0x100
CKR_USER_NOT_LOGGED_IN: Final = 0x101
CKR_USER_PIN_NOT_INITIALIZED: Final = 0x102
CKR_RANDOM_NO_RNG: Final = 0x121
CKR_DOMAIN_PARAMS_INVALID: Final = 0x130
CKR_CURVE_NOT_SUPPORTED: Final = 0x140
CKR_STATE_UNSAVEABLE: Final = 0x180
CKR_CRYPTOKI_NOT_INITIALIZED: Final = 0x190
CKR_PUBLIC_KEY_INVALID: Final = 0x1B9

_STATUSES: Final[dict[int, PsaStatus]] = {
    CKR_HOST_MEMORY: PsaStatus.INSUFFICIENT_MEMORY,
    CKR_SESSION_COUNT: PsaStatus.INSUFFICIENT_MEMORY,
    CKR_DEVICE_MEMORY: PsaStatus.INSUFFICIENT_STORAGE,
    CKR_DEVICE_ERROR: PsaStatus.HARDWARE_FAILURE,
    CKR_DEVICE_REMOVED: PsaStatus.HARDWARE_FAILURE,
    CKR_TOKEN_NOT_PRESENT: PsaStatus.HARDWARE_FAILURE,
    CKR_TOKEN_NOT_RECOGNIZED: PsaStatus.HARDWARE_FAILURE,
    CKR_STATE_UNSAVEABLE: PsaStatus.HARDWARE_FAILURE,
    CKR_RANDOM_NO_RNG: PsaStatus.INSUFFICIENT_ENTROPY,
    CKR_SIGNATURE_INVALID: PsaStatus.INVALID_SIGNATURE,
    CKR_SIGNATURE_LEN_RANGE: PsaStatus.INVALID_SIGNATURE,
    CKR_FUNCTION_NOT_SUPPORTED: PsaStatus.NOT_SUPPORTED,
    CKR_MECHANISM_INVALID: PsaStatus.NOT_SUPPORTED,
    CKR_MECHANISM_PARAM_INVALID: PsaStatus.NOT_SUPPORTED,
    CKR_CURVE_NOT_SUPPORTED: PsaStatus.NOT_SUPPORTED,
    CKR_DOMAIN_PARAMS_INVALID: PsaStatus.NOT_SUPPORTED,
    CKR_PUBLIC_KEY_INVALID: PsaStatus.INVALID_ARGUMENT,
    CKR_KEY_SIZE_RANGE: PsaStatus.NOT_SUPPORTED,
    CKR_ATTRIBUTE_TYPE_INVALID: PsaStatus.NOT_SUPPORTED,
    CKR_ATTRIBUTE_VALUE_INVALID: PsaStatus.NOT_SUPPORTED,
    CKR_TEMPLATE_INCOMPLETE: PsaStatus.NOT_SUPPORTED,
    CKR_TEMPLATE_INCONSISTENT: PsaStatus.NOT_SUPPORTED,
    CKR_DATA_INVALID: PsaStatus.INVALID_ARGUMENT,
    CKR_DATA_LEN_RANGE: PsaStatus.INVALID_ARGUMENT,
    CKR_ENCRYPTED_DATA_INVALID: PsaStatus.INVALID_ARGUMENT,
    CKR_ENCRYPTED_DATA_LEN_RANGE: PsaStatus.INVALID_ARGUMENT,
    CKR_KEY_TYPE_INCONSISTENT: PsaStatus.INVALID_ARGUMENT,
    CKR_ATTRIBUTE_SENSITIVE: PsaStatus.NOT_PERMITTED,
    CKR_KEY_UNEXTRACTABLE: PsaStatus.NOT_PERMITTED,
    CKR_KEY_FUNCTION_NOT_PERMITTED: PsaStatus.NOT_PERMITTED,
    CKR_TOKEN_WRITE_PROTECTED: PsaStatus.NOT_PERMITTED,
    CKR_SESSION_READ_ONLY: PsaStatus.NOT_PERMITTED,
    CKR_KEY_HANDLE_INVALID: PsaStatus.DOES_NOT_EXIST,
    CKR_OBJECT_HANDLE_INVALID: PsaStatus.DOES_NOT_EXIST,
}
_CHANGE_PIN: Final = (
    "it was tried once and will not be tried again; correct user_pin, and reload or restart the service"
)
_ADVICE: Final[dict[int, str]] = {
    CKR_GENERAL_ERROR: "the module gives no reason; its own log may have one",
    CKR_FUNCTION_FAILED: "the module gives no reason; its own log may have one",
    CKR_SLOT_ID_INVALID: "there is no such slot; correct slot_number, or select by serial_number or token_label",
    CKR_DEVICE_ERROR: "the device does not work; see to its connection and to the module's own log",
    CKR_DEVICE_MEMORY: "the token is full; destroy keys that nobody needs",
    CKR_DEVICE_REMOVED: "put the token back; the provider goes on by itself",
    CKR_TOKEN_NOT_PRESENT: "put the token back; the provider goes on by itself",
    CKR_TOKEN_NOT_RECOGNIZED: "the token in the slot is not one that this module knows",
    CKR_TOKEN_WRITE_PROTECTED: "the token lets nobody make or destroy keys",
    CKR_SESSION_COUNT: "all sessions of the token are taken; end other programs that use it",
    CKR_PIN_INCORRECT: _CHANGE_PIN,
    CKR_PIN_INVALID: _CHANGE_PIN,
    CKR_PIN_LEN_RANGE: _CHANGE_PIN,
    CKR_PIN_EXPIRED: "set a new PIN with the token's own tool, put it into user_pin, and reload or restart the service",
    CKR_PIN_LOCKED: "the token's security officer has to unlock it; then reload or restart the service",
    CKR_USER_PIN_NOT_INITIALIZED: "the token's security officer has to set a user PIN; then reload or restart",
    CKR_USER_NOT_LOGGED_IN: "the token wants a log-in; give user_pin",
    CKR_KEY_SIZE_RANGE: "the token has no keys of this size for this mechanism",
    CKR_MECHANISM_INVALID: "the token does not have the mechanism",
    CKR_MECHANISM_PARAM_INVALID: "the token does not have the mechanism with these parameters",
    CKR_KEY_FUNCTION_NOT_PERMITTED: "the object in the token was not made for this use",
    CKR_ATTRIBUTE_SENSITIVE: "the object was made so that it cannot leave the token",
    CKR_KEY_UNEXTRACTABLE: "the object was made so that it cannot leave the token",
}
# The token did not accept the PIN, or will accept none: to ask again can only do harm.
PIN_REFUSED: Final = frozenset(
    {CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE, CKR_PIN_EXPIRED, CKR_PIN_LOCKED}
    | {CKR_USER_PIN_NOT_INITIALIZED}
)
# The object is not, or no longer, behind this handle.
HANDLES: Final = frozenset({CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID})
# The call was not carried out, because what it was made with is no more; a new session, log-in and handle may help.
STALE: Final = frozenset(
    {CKR_SESSION_CLOSED, CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKR_CRYPTOKI_NOT_INITIALIZED}
    | {CKR_TOKEN_NOT_PRESENT, CKR_DEVICE_REMOVED}
    | HANDLES
)
# After these the connection is made anew, though the call may have been carried out.
BROKEN: Final = frozenset({CKR_DEVICE_ERROR, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_TOKEN_NOT_RECOGNIZED})
# An operation's data is not what the key or its other arguments made.
DATA_IS_WRONG: Final = frozenset(
    {CKR_ENCRYPTED_DATA_INVALID, CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_AEAD_DECRYPT_FAILED}
    | {CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE}
)
# What modules say of a peer's point that they could not read.
POINT_IS_STRANGE: Final = frozenset(
    {CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_ARGUMENTS_BAD, CKR_MECHANISM_PARAM_INVALID, CKR_PUBLIC_KEY_INVALID}
    | {CKR_DOMAIN_PARAMS_INVALID, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE}
)
