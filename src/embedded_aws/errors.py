"""What can go wrong when the emulator is started.

EmulatorError       the message says what failed; which command helps is known to the program that started it
├── OtherPort       it runs already, on another port than the requested one
├── PortTaken       another program listens on the requested port
├── Unreadable      a file of the state that it keeps can't be read
└── NotStarted      the server failed to start; ``log`` is its log file
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EmulatorError", "NotStarted", "OtherPort", "PortTaken", "Unreadable"]


class EmulatorError(Exception):
    """The emulator cannot be started as requested."""


class OtherPort(EmulatorError):
    """It runs already, on another port than the requested one."""


class PortTaken(EmulatorError):
    """Another program listens on the requested port."""


class Unreadable(EmulatorError):
    """A file of the state that it keeps can't be read; the message names it."""


class NotStarted(EmulatorError):
    """The server failed to start; its log's last lines are in the message, and ``log`` is the file."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log
