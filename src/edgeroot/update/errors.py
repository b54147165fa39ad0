"""What goes wrong with an update, each with what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class UpdateError(Exception):
    """The update was not published, fetched, installed or accepted. The message ends with what to do."""


class UnfitImagesError(UpdateError):
    """What is to be published is no release."""


class PublishedError(UpdateError):
    """This version was published before, with other bytes."""


class BrokenRepositoryError(UpdateError):
    """The publisher's own repository or keys are not as they were left."""


class WrongDeviceError(UpdateError):
    """It is for another product, component, interpreter or kind of machine."""


class WrongOrderError(UpdateError):
    """The device's state does not allow it now."""


class DependencyError(UpdateError):
    """An image needs another one that is neither there nor in the release."""


class TruncatedError(UpdateError):
    """There is less of it than there should be, or other bytes."""


class OversizedError(UpdateError):
    """There is more of it than was said, or than the component has room for."""


class ReplayedError(UpdateError):
    """It was good once: older metadata than this device has seen, or an image below the security counter."""


class ExpiredError(UpdateError):
    """Metadata is past its time: nobody has renewed it, or somebody keeps newer ones back (a freeze)."""


class MixedError(UpdateError):
    """Metadata of different times, or of different repositories, were put together (mix and match)."""


class UnknownRootError(UpdateError):
    """There is no root to trust, or not a usable one."""


class UnsignedError(UpdateError):
    """A signature that the root asks for is missing or wrong."""


class ForgedImageError(UpdateError):
    """The device knows no signature of its maker's on an image."""


class RevokedKeyError(UpdateError):
    """The key that signed an image is one that the device trusts no more."""


class NoSpaceError(UpdateError):
    """A disk is full."""


class UnreachableError(UpdateError):
    """The repository does not answer, or not with what a repository has."""


class NoSecureWorldError(UpdateError):
    """The secure world, or its update agent, is not there."""


class AccessError(UpdateError):
    """This user may not do it."""


class UnhealthyError(UpdateError):
    """What boots on trial does not do all that it should."""


@contextmanager
def file_errors(what: str) -> Iterator[None]:
    """OSErrors of files as errors of an update."""
    try:
        yield
    except PermissionError as error:
        raise AccessError(f"{error.filename or what}: permission denied. Run it as the user whose it is") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpaceError(f"there is no space left for {what}. Free some, and do it again") from error
        raise UpdateError(f"cannot use {error.filename or what}: {error.strerror or error}") from error
