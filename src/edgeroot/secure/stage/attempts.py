"""How often an update was booted on trial, in a small file that is written before each such boot."""

from __future__ import annotations

import json
from pathlib import Path

from edgeroot.secure.boot.trial import ANY_BANK, MAX_TRIAL_BOOTS, Attempts
from edgeroot.secure.partitions.firmware_update.layout import BANKS
from edgeroot.secure.platform.files import replace_file


def read_attempts(path: Path) -> Attempts | None:
    """None if none is counted. What cannot be read counts as too many, so that no trial goes on for ever."""
    try:
        found = json.loads(path.read_bytes())
        attempts = Attempts(int(found["bank"]), int(found["count"]))
        if attempts.bank in range(BANKS) and attempts.count >= 0:
            return attempts
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return Attempts(ANY_BANK, MAX_TRIAL_BOOTS)


def write_attempts(path: Path, attempts: Attempts | None) -> None:
    """Durably; None: none is counted any more. OSError."""
    if attempts is not None:
        replace_file(path, json.dumps({"bank": attempts.bank, "count": attempts.count}).encode(), mode=0o600)
    else:
        path.unlink(missing_ok=True)
