"""Where the template lies that is being rendered, for the hook that packs the delivery package from it.

A module of its own that nothing else imports: in an update cruft renders the old template first, and Python keeps what that
imported; a name that the old one does not have is loaded from the new one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jinja2.ext import Extension

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["Checkout"]


class Checkout(Extension):
    """Adds the filter ``checkout``."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["checkout"] = checkout


def checkout(_: str) -> str:
    """The folder of the template that is being rendered, as a Python literal for the hook.

    While cookiecutter or cruft renders a hook, the current folder is the root of that checkout; in an update, of the new one.
    """
    return repr(os.getcwd())
