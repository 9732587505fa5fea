"""Waiting for a state, in short growing pauses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from ml_delivery.errors import Unsettled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wait"]

T = TypeVar("T")


def wait(reached: Callable[[], T | None], *, what: str, seconds: float = 120) -> T:
    """Ask ``reached`` until it returns something, and return that.

    The pauses grow by a twentieth from 20 ms to 2 s: a state that comes soon is seen soon, and one that takes long costs
    few calls.

    Raises:
        Unsettled: it did not come within ``seconds``.
    """
    end = time.monotonic() + seconds
    pause = 0.02
    while (found := reached()) is None:
        if time.monotonic() > end:
            raise Unsettled(
                f"{what} did not settle within {seconds:.0f} s", next="look at it on AWS, then run this again"
            )
        time.sleep(pause)
        pause = min(pause * 1.05, 2.0)
    return found
