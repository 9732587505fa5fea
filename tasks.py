"""Actions on this repository: ``invoke --list`` shows them. Those of a service are in ``ml_delivery.tasks``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from invoke import task

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "hooks"))


@task
def build(_: Any) -> None:
    """Pack the delivery package into dist/: the same bytes as a bake vendors."""
    import packing

    content = packing.wheel(ROOT)
    (ROOT / "dist").mkdir(exist_ok=True)
    (ROOT / "dist" / packing.name(ROOT)).write_bytes(content)
    print(f"dist/{packing.name(ROOT)}  sha256:{packing.digest(content)}")
