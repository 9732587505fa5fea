"""What was typed: an unknown task or option, a value that is missing or no number, ends as one message with the nearest name.

invoke has no hook for this. Its parser reports an unknown word without a suggestion, and passes on int's ValueError as a traceback.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from invoke.exceptions import ParseError
from invoke.parser.parser import ParseMachine

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["explain"]


def explain() -> None:
    """Make invoke's parser explain what it can't parse; further calls change nothing."""
    if getattr(ParseMachine.handle, "explains", False):
        return
    really = ParseMachine.handle

    def handle(machine: Any, token: str) -> None:
        try:
            really(machine, token)
        except ValueError as error:
            option = f"--{machine.flag.names[0]}"
            what = "whole number" if machine.flag.kind is int else "number"
            raise ParseError(f"✗ {option}: {token!r} is not a {what}", machine.context) from error
        except ParseError as error:
            if str(error).startswith("✗"):
                raise
            raise ParseError(_unknown(machine, token) or f"✗ {error}", error.context) from error
        if machine.flag and machine.flag.kind in (int, float) and not 0 <= machine.flag.value < float("inf"):
            raise ParseError(f"✗ --{machine.flag.names[0]}: {token!r} is not a number from 0 on", machine.context)

    handle.explains = True  # type: ignore[attr-defined]
    ParseMachine.handle = handle  # type: ignore[method-assign, assignment]
    for name, missing in (("complete_flag", _value), ("complete_context", _arguments)):
        setattr(ParseMachine, name, _explaining(getattr(ParseMachine, name), missing))


def _explaining(really: Callable[[Any], None], missing: Callable[[Any], str]) -> Callable[[Any], None]:
    def complete(machine: Any) -> None:
        try:
            really(machine)
        except ParseError as error:
            raise ParseError(
                f"✗ {missing(machine)}\n  next: invoke {machine.context.name} --help", error.context
            ) from error

    return complete


def _value(machine: Any) -> str:
    return f"--{machine.flag.names[0]} needs a value"


def _arguments(machine: Any) -> str:
    return f"{machine.context.name} needs {', '.join(one.name for one in machine.context.missing_positional_args)}"


def _unknown(machine: Any, token: str) -> str:
    """The message for a task or option that does not exist; empty if ``token`` is neither."""
    task = machine.context.name
    flags = [*machine.context.flags, *machine.context.inverse_flags]
    if token.startswith("-") and token not in flags:
        near = get_close_matches(token, [flag for flag in flags if flag.startswith("--")], 1)
        return f"✗ {task} has no option {token!r}{_meant(near)}\n  next: invoke {task} --help"
    if not token.startswith("-") and token not in machine.contexts:
        return f"✗ there is no task {token!r}{_meant(get_close_matches(token, machine.contexts, 1))}\n  next: invoke --list"
    return ""


def _meant(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""
