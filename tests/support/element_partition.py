"""A partition's process with an emulated ATECC608A beneath it: ``element_partition.py FILE DESCRIPTOR``.

``FILE`` has the part's memory; ``DESCRIPTOR`` is what the partition manager gives every partition. The bus is put
beneath Microchip's library here; what is run then is the product, which knows nothing of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from edgeroot.secure.runtime.main import main
    from edgeroot.testing.atecc import Model
    from tests.support.secure_element import on_a_bus, roomy

    with on_a_bus(roomy(Model.ATECC608A, Path(sys.argv[1]))):
        sys.exit(main(sys.argv[2:]))
