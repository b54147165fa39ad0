"""What a TPM answers when it refuses (TPM 2.0 Library, Part 2, clause 6.6), as the errors that a provider raises."""

from __future__ import annotations

from typing import Final, NamedTuple

from edgeroot.psa import PsaError, PsaStatus

_FORMAT_ONE: Final = 0x080
_FORMAT_ONE_ERROR: Final = 0x0BF  # without the number of the handle, parameter or session
_LAYER_SHIFT: Final = 16
_TPM_LAYERS: Final = (0, 11, 12)  # the TPM's own, and the same code given by a resource manager
_TCTI_LAYER: Final = 10
_RESOURCE_LAYERS: Final = (11, 12)

BAD_AUTH: Final = 0x0A2
FAILURE: Final = 0x101
HANDLE: Final = 0x08B
INITIALIZE: Final = 0x100
INTEGRITY: Final = 0x09F
LOCKOUT: Final = 0x921
OBJECT_HANDLES: Final = 0x906
OBJECT_MEMORY: Final = 0x902
SESSION_HANDLES: Final = 0x905
SESSION_MEMORY: Final = 0x903
VALUE: Final = 0x084
CONNECTING: Final = "connecting"
"""Stands for the command where there is none yet."""
MAKING_PRIMARY: Final = "TPM2_CreatePrimary"
"""The command whose authorisation is a hierarchy's, and none of a key."""
TRY_AGAIN: Final = (0x908, 0x90A, 0x922)  # TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_RETRY
_REFERENCES: Final = range(0x910, 0x920)


class _Meaning(NamedTuple):
    name: str
    status: PsaStatus
    advice: str = ""


_NO_SUCH: Final = "the TPM does not have this algorithm, size or curve"
_FULL: Final = "other programs hold its objects or sessions: end them, or reach the TPM through /dev/tpmrm0"
_MEANINGS: Final[dict[int, _Meaning]] = {
    INITIALIZE: _Meaning("TPM_RC_INITIALIZE", PsaStatus.HARDWARE_FAILURE, "the TPM was not started up"),
    FAILURE: _Meaning("TPM_RC_FAILURE", PsaStatus.HARDWARE_FAILURE, "the TPM is in failure mode: power it off and on"),
    0x120: _Meaning("TPM_RC_DISABLED", PsaStatus.HARDWARE_FAILURE, "the hierarchy or command is disabled"),
    0x125: _Meaning("TPM_RC_AUTH_MISSING", PsaStatus.NOT_PERMITTED),
    0x128: _Meaning("TPM_RC_PCR", PsaStatus.NOT_PERMITTED),
    0x143: _Meaning("TPM_RC_COMMAND_CODE", PsaStatus.NOT_SUPPORTED, "the TPM does not have this command"),
    0x153: _Meaning("TPM_RC_AUTH_CONTEXT", PsaStatus.BAD_STATE),
    0x081: _Meaning("TPM_RC_ASYMMETRIC", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x082: _Meaning("TPM_RC_ATTRIBUTES", PsaStatus.NOT_PERMITTED, "the key was not made for this use"),
    0x083: _Meaning("TPM_RC_HASH", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    VALUE: _Meaning("TPM_RC_VALUE", PsaStatus.INVALID_ARGUMENT),
    0x085: _Meaning(
        "TPM_RC_HIERARCHY",
        PsaStatus.HARDWARE_FAILURE,
        "the hierarchy is disabled: enable it in the firmware's settings",
    ),
    0x087: _Meaning("TPM_RC_KEY_SIZE", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x088: _Meaning("TPM_RC_MGF", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x089: _Meaning("TPM_RC_MODE", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x08A: _Meaning("TPM_RC_TYPE", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    HANDLE: _Meaning("TPM_RC_HANDLE", PsaStatus.BAD_STATE),
    0x08C: _Meaning("TPM_RC_KDF", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x08D: _Meaning("TPM_RC_RANGE", PsaStatus.INVALID_ARGUMENT),
    0x08E: _Meaning(
        "TPM_RC_AUTH_FAIL",
        PsaStatus.HARDWARE_FAILURE,
        "the authorisation is wrong, and the TPM counts it: correct the setting before it locks out",
    ),
    0x092: _Meaning("TPM_RC_SCHEME", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x095: _Meaning("TPM_RC_SIZE", PsaStatus.INVALID_ARGUMENT),
    0x096: _Meaning("TPM_RC_SYMMETRIC", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x098: _Meaning("TPM_RC_SELECTOR", PsaStatus.INVALID_ARGUMENT),
    0x09A: _Meaning("TPM_RC_INSUFFICIENT", PsaStatus.INVALID_ARGUMENT),
    0x09B: _Meaning("TPM_RC_SIGNATURE", PsaStatus.INVALID_SIGNATURE),
    0x09C: _Meaning("TPM_RC_KEY", PsaStatus.INVALID_ARGUMENT, "the key does not fit the command"),
    0x09D: _Meaning("TPM_RC_POLICY_FAIL", PsaStatus.NOT_PERMITTED),
    INTEGRITY: _Meaning(
        "TPM_RC_INTEGRITY", PsaStatus.DATA_CORRUPT, "it was changed, or it was made for another TPM or key"
    ),
    BAD_AUTH: _Meaning(
        "TPM_RC_BAD_AUTH", PsaStatus.HARDWARE_FAILURE, "the authorisation is wrong: correct the setting"
    ),
    0x0A6: _Meaning("TPM_RC_CURVE", PsaStatus.NOT_SUPPORTED, _NO_SUCH),
    0x0A7: _Meaning("TPM_RC_ECC_POINT", PsaStatus.INVALID_ARGUMENT, "the point is not on the curve"),
    0x901: _Meaning("TPM_RC_CONTEXT_GAP", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    OBJECT_MEMORY: _Meaning("TPM_RC_OBJECT_MEMORY", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    SESSION_MEMORY: _Meaning("TPM_RC_SESSION_MEMORY", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    0x904: _Meaning("TPM_RC_MEMORY", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    SESSION_HANDLES: _Meaning("TPM_RC_SESSION_HANDLES", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    OBJECT_HANDLES: _Meaning("TPM_RC_OBJECT_HANDLES", PsaStatus.INSUFFICIENT_MEMORY, _FULL),
    0x908: _Meaning("TPM_RC_YIELDED", PsaStatus.HARDWARE_FAILURE, "it is busy: try again"),
    0x90A: _Meaning("TPM_RC_TESTING", PsaStatus.HARDWARE_FAILURE, "it tests itself: try again"),
    0x920: _Meaning("TPM_RC_NV_RATE", PsaStatus.HARDWARE_FAILURE, "it spares its memory: try again later"),
    LOCKOUT: _Meaning(
        "TPM_RC_LOCKOUT",
        PsaStatus.HARDWARE_FAILURE,
        "it has seen too many wrong authorisations and is locked out: wait for its recovery time, "
        "or reset it with the lockout authorisation (tpm2_dictionarylockout --clear-lockout)",
    ),
    0x922: _Meaning("TPM_RC_RETRY", PsaStatus.HARDWARE_FAILURE, "it is busy: try again"),
    0x923: _Meaning("TPM_RC_NV_UNAVAILABLE", PsaStatus.HARDWARE_FAILURE, "its memory cannot be written now"),
}
_UNREACHABLE: Final = (
    "the TPM does not answer: see whether the device, emulator or resource manager of tcti is there, "
    "and whether this user may use it"
)
_NOWHERE: Final = {  # by the error that the TSS's libraries have in common
    0x0B: "what tcti says after the name is malformed",
    0x15: "tcti has a name that no library is installed for (Debian: libtss2-tcti-NAME0)",
}
_LIBRARY_ERROR: Final = 0xFFFF


class TpmError(PsaError):
    """A command that failed, with the response code of the TPM or of the libraries before it."""

    def __init__(self, command: str, code: int, status: PsaStatus, detail: str) -> None:
        super().__init__(status, detail)
        self.command: Final = command
        self.code: Final = code

    @property
    def error(self) -> int:
        """The TPM's error, without the number of what it is about; -1 if it is not from a TPM."""
        return _error_of(self.code)

    @property
    def is_lost_connection(self) -> bool:
        """Whether the way to the TPM broke: with it went all that was loaded."""
        return self.code >> _LAYER_SHIFT == _TCTI_LAYER

    @property
    def is_lost_state(self) -> bool:
        """Whether the TPM no longer knows what was loaded: it was reset, or its resource manager started anew."""
        return self.error in (INITIALIZE, HANDLE) or self.error in _REFERENCES

    @property
    def is_absent(self) -> bool:
        """Whether there is no TPM where one was looked for."""
        return self.command == CONNECTING and self.is_lost_connection and self.code & _LIBRARY_ERROR not in _NOWHERE

    @property
    def is_full(self) -> bool:
        """Whether there was no room for an object."""
        return self.error in (OBJECT_MEMORY, OBJECT_HANDLES)


def tpm_error(command: str, code: int, text: str = "") -> TpmError:
    """The error for a response code; ``text`` is what the libraries say of codes that are not the TPM's."""
    error = _error_of(code)
    meaning = _MEANINGS.get(error)
    if meaning is not None:
        advice = f": {meaning.advice}" if meaning.advice else ""
        return TpmError(command, code, meaning.status, f"{command}: the TPM answers {meaning.name} ({code:#x}){advice}")
    if error in _REFERENCES:
        detail = f"{command}: the TPM does not know a handle any more ({code:#x})"
        return TpmError(command, code, PsaStatus.BAD_STATE, detail)
    if error >= 0:
        detail = f"{command}: the TPM answers {code:#x}"
        return TpmError(command, code, PsaStatus.COMMUNICATION_FAILURE, detail)
    advice = _NOWHERE.get(code & _LIBRARY_ERROR, _UNREACHABLE) if command == CONNECTING else _UNREACHABLE
    detail = f"{command} ({code:#x}{f', {text}' if text else ''}): {advice}"
    return TpmError(command, code, PsaStatus.COMMUNICATION_FAILURE, detail)


def _error_of(code: int) -> int:
    if code >> _LAYER_SHIFT not in _TPM_LAYERS:
        return -1
    return code & _FORMAT_ONE_ERROR if code & _FORMAT_ONE else code & 0xFFF
