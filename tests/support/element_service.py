"""A real service over an emulated part, whose memory outlives it as a part's does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeroot.testing.atecc import Atecc, Model
from tests.support.secure_element import roomy
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service

ROOT: Final = Path(__file__).resolve().parents[2]
PROVIDER: Final = """\
[[provider]]
provider_type = "CryptoAuthLib"
key_info_manager = "kim"
device_type = "atecc608a"
iface_type = "i2c"
wake_delay = 1
rx_retries = 1
slave_address = 192
bus = 1
baud = 100000
"""


class ElementService:
    """The service, and its element's memory."""

    def __init__(self, service: Service, memory: Path) -> None:
        self.service = service
        self._memory = memory

    @property
    def launcher(self) -> tuple[str, ...]:
        """What a command of edgeroot's is run by, so that it finds the element."""
        return (sys.executable, "-m", "tests.support.element_launcher", str(self._memory))

    def start(self) -> None:
        self.service.start(launcher=self.launcher, environment={"PYTHONPATH": str(ROOT)})

    def take_away(self) -> None:
        """From now on nothing answers at the element's address."""
        self._away.touch()

    def put_back(self) -> None:
        self._away.unlink()

    def exchange(self) -> None:
        """Another element of the same kind, at the same address."""
        self._memory.unlink()
        roomy(Model.ATECC608A, self._memory, serial_number=bytes.fromhex("0123456789abcd00ee"))

    @property
    def _away(self) -> Path:
        return self._memory.with_name(f"{self._memory.name}.away")

    @property
    def part(self) -> Atecc:
        return roomy(Model.ATECC608A, self._memory)


@contextmanager
def running_element_service(folder: Path) -> Iterator[ElementService]:
    """``folder`` is where the memory is."""
    with running_service(provider=PROVIDER + SOFTWARE_PROVIDER, start=False) as service:
        made = ElementService(service, folder / "atecc608a")
        made.start()
        yield made
