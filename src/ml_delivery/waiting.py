"""Waits for a state, in short, growing pauses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from ml_delivery.errors import Unsettled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wait"]

T = TypeVar("T")


def wait(reached: Callable[[], T | None], *, what: str, seconds: float = 120) -> T:
    """Call ``reached`` until it returns something other than None, and return that.

    The pauses grow by 5 % from 20 ms to 2 s, so that a quick change is seen quickly and a slow one needs few calls.

    Raises:
        Unsettled: it timed out after ``seconds``.
    """
    end = time.monotonic() + seconds
    pause = 0.02
    while (found := reached()) is None:
        if time.monotonic() > end:
            raise Unsettled(f"{what}: timed out after {seconds:.0f} s", next="check its state, then run this again")
        time.sleep(pause)
        pause = min(pause * 1.05, 2.0)
    return found
