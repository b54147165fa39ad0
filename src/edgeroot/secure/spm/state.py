"""Where the secure world lives: folders, their owners, and the files that the partition manager keeps itself.

::

    STATE/device-secret         32 secret bytes, the manager's own
    STATE/one-time-memory       the device's root keys, life cycle and security counter, once it is provisioned
    STATE/image-key             the private key that the device's images are encrypted to, if they are
    STATE/anchor                what the TPM's counter stood at, where there is one
    STATE/users.json            which user has which FF-A id
    STATE/partitions/NAME/      a partition's own folder, and the only one that it sees
    STATE/counters/NAME/        monotonic counters of a partition
    STATE/flash/                the firmware update partition's flash, with both banks of firmware
    STATE/trial-boots           how often an update was booted that nobody has accepted yet
    RUNTIME/spm.sock            the manager's socket
    RUNTIME/log                 what manager and partitions have said
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeroot.secure.platform.files import replace_file
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.users import UserTable, decode_users
from edgeroot.secure.stage.places import FLASH, IMAGE_KEY, ONE_TIME_MEMORY

# The end of systemd's range for users without an account; `edgeroot up` takes from its beginning.
_PARTITION_USERS: Final = range(65000, 65520)


class StateError(Exception):
    """The secure world has no usable place; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Folders:
    """A partition's folders, and the user that it runs as (None: the manager's own)."""

    user_id: int | None
    storage: Path | None
    counters: Path | None
    flash: Path | None
    element: Path | None


class State:
    """The folders of one secure world."""

    def __init__(self, state: Path, runtime: Path) -> None:
        self.path: Final = state
        self.runtime: Final = runtime
        self.socket: Final = runtime / "spm.sock"
        self.log: Final = runtime / "log"
        self.device_secret: Final = state / "device-secret"
        self.anchor: Final = state / "anchor"
        self.one_time_memory: Final = state / ONE_TIME_MEMORY
        self.image_key: Final = state / IMAGE_KEY
        self._users: Final = state / "users.json"

    def prepare(self) -> None:
        """Make what is missing. StateError if it cannot be made or belongs to somebody else."""
        self.prepare_folders()
        try:
            self.runtime.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.runtime.chmod(0o755)  # whatever the umask says: callers of other users come through here
            for folder in (self.path, self.runtime):
                if folder.stat().st_uid != os.geteuid():
                    raise StateError(f"{folder} belongs to user {folder.stat().st_uid}: choose another place")
        except OSError as error:
            raise StateError(f"cannot use {error.filename}: {error.strerror}") from error

    def prepare_folders(self) -> None:
        """Make what is missing of the state alone. StateError."""
        try:
            self.path.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.path.chmod(0o711)  # partitions of other users reach their own folder below it, and see no other name
            for name in ("partitions", "counters"):
                (self.path / name).mkdir(mode=0o711, exist_ok=True)
                (self.path / name).chmod(0o711)
        except OSError as error:
            raise StateError(f"cannot use {error.filename}: {error.strerror}") from error

    def folders_of(self, manifest: Manifest) -> Folders:
        """Make a partition's folders; as root they belong to a user of its own, who stays the same for ever."""
        own = self.path / "partitions" / manifest.name
        counters = self.path / "counters" / manifest.name if manifest.counters else None
        flash = self.path / FLASH if manifest.flash else None
        try:
            own.mkdir(mode=0o700, exist_ok=True)
            user_id = self._user_of(own) if os.geteuid() == 0 else None
            for folder in (own, counters, flash):
                if folder is not None:
                    folder.mkdir(mode=0o700, exist_ok=True)
                    if user_id is not None:
                        os.chown(folder, user_id, user_id)
        except OSError as error:
            raise StateError(f"cannot use {error.filename}: {error.strerror}") from error
        return Folders(
            user_id, own if manifest.storage else None, counters, flash, own if manifest.secure_element else None
        )

    def users(self) -> UserTable:
        """The table of users; UserTableError if it is damaged."""
        try:
            return decode_users(self._users.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return UserTable()

    def keep_users(self, table: UserTable) -> None:
        """Replace the table, in one step and durably."""
        replace_file(self._users, table.encode().encode(), mode=0o600)

    def _user_of(self, folder: Path) -> int:
        owner = folder.stat().st_uid
        if owner != 0:
            return owner
        taken = {entry.pw_uid for entry in pwd.getpwall()}
        taken |= {one.stat().st_uid for one in folder.parent.iterdir()}
        taken |= set(self.users().ids)
        return next(uid for uid in _PARTITION_USERS if uid not in taken)
