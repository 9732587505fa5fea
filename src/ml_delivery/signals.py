"""Cancels: Ctrl-C, what CI sends, and a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CANCELS", "uninterrupted"]

CANCELS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore cancels while the block restores what served before, or releases what this process holds."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    # Not SIG_IGN, which Python reports as an error when it races with a signal.
    handlers = {number: signal.signal(number, lambda *_: None) for number in CANCELS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
