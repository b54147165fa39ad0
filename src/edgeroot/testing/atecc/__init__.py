"""An emulator of Microchip's ATECC508A and ATECC608A, for tests of what stands above one on its I2C bus.

It answers command packets byte for byte as the data sheets say (ATECC508A Complete Data Sheet, DS20005927A; for what an
ATECC608A does otherwise, its maker's library): zones, slot and key configuration, locks, TempKey, and
the commands that a service of keys needs, with cryptography by the package ``cryptography``.

**It is an emulator, and no secure element.** It shows that packets, sequences of commands and refusals are right. It
shows nothing of what the part is bought for: keys lie in this process's memory, nothing protects them, no time passes
(every command is done at once, no watchdog runs out), there is no power that could fail in the middle of a write, and
noise on the bus is only what a test puts there. Commands that nothing here uses (MAC, CheckMac, DeriveKey, Counter,
KDF, SecureBoot, SelfTest and the encrypted Read) are answered as by a part without them: with a parse error.
"""

from edgeroot.testing.atecc.bus import Bus
from edgeroot.testing.atecc.chip import Atecc
from edgeroot.testing.atecc.packets import crc16
from edgeroot.testing.atecc.zones import Model, key_config, slot_config

__all__ = ["Atecc", "Bus", "Model", "crc16", "key_config", "slot_config"]
