"""What serves after the previous state was restored."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ml_delivery.errors import PipelineError
from ml_delivery.release.results import Restored

if TYPE_CHECKING:
    from ml_delivery.release.delivery import Delivery

__all__ = ["serving"]


def serving(delivery: Delivery, before: str, whole: bool, settle: float) -> Restored:
    """What serves now, as reported by the target, which may be out of date for ``settle`` seconds.

    Args:
        delivery: the environment.
        before: the deployed version that should serve; empty for nothing.
        whole: what to return if the target can't be read.
        settle: how many seconds to read again while it reports something else.
    """
    end = time.monotonic() + settle
    while True:
        try:
            live = delivery.deployer.live()
        except PipelineError as error:  # everything is recorded already; only the report lacks this
            return Restored(0, "", whole=whole, unread=error.message)
        restored = Restored(live.release, live.deployed) if live else Restored(0, "")
        whole = restored.deployed == before and not (live and live.traffic.weights)
        if whole or time.monotonic() >= end:
            return replace(restored, whole=whole)
        time.sleep(0.1)
