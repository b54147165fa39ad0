"""A program that is killed again and again at moments that chance chooses, and started again each time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path


class Killed:
    """``edgeroot`` with these arguments. It is killed with all that it has started, as when its container ends."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, lives_s: tuple[float, float]
    ) -> None:
        self._command = [sys.executable, "-m", "edgeroot", *arguments]
        self._environment = dict(environment)
        self._folder = folder
        self._lives_s = lives_s
        self._spared = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self.kills = 0
        self.ended: list[int] = []
        """The exit codes of those that were not there any more when they were to be killed."""

    def spare(self) -> None:
        """From now on it lives, so that what was begun can end."""
        self._spared.set()

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._spared.set()
        self._thread.join()

    def _live(self) -> None:
        chance = random.Random(" ".join(self._command))
        with (self._folder / "log").open("ab") as log:
            while not self._stop.is_set():
                process = subprocess.Popen(
                    self._command,
                    cwd=self._folder,
                    env=self._environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                if self._spared.wait(chance.uniform(*self._lives_s)):
                    self._stop.wait()
                code = process.poll()
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if code is None:
                    self.kills += 1
                else:
                    self.ended.append(code)


@contextmanager
def killed(
    *arguments: str, environment: Mapping[str, str], folder: Path, lives_s: tuple[float, float]
) -> Iterator[Killed]:
    """Killed after a chance of so many seconds each time, until it is spared or the end. It never ends by itself."""
    one = Killed(arguments, environment, folder, lives_s)
    one.start()
    try:
        yield one
    finally:
        one.end()
    assert not one.ended, (folder / "log").read_text()
