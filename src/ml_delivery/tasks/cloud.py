"""The embedded cloud's tasks: up, down, status, reset."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import JSON, action, find_root


@action(help={"port": "a port on loopback; default: the last one, or a free one"})
def up(_: Any, port: int = 0) -> None:
    """Start the embedded AWS; other tasks start it when they need it."""
    from ml_delivery import emulator

    running = emulator.up(find_root(), port=port)
    console.say(f"the embedded AWS answers at {running.endpoint} (pid {running.pid})")
    if running.notice:
        console.warn(running.notice)


@action()
def down(_: Any) -> None:
    """Stop the embedded AWS; its contents are kept."""
    from ml_delivery import emulator

    console.say("the embedded AWS has stopped" if emulator.down(find_root()) else "the embedded AWS was not running")


@action(name="status", help={"json": JSON})
def cloud_status(_: Any, json: bool = False) -> None:
    """Show whether the embedded AWS runs, and where."""
    from ml_delivery import emulator

    found = emulator.status(find_root())
    if json:
        return console.document(found)
    console.say(str(found))


@action()
def reset(_: Any) -> None:
    """Stop the embedded AWS and delete its contents."""
    from ml_delivery import emulator

    emulator.reset(find_root())
    console.say("the embedded AWS is empty")
