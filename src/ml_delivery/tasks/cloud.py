"""The embedded cloud's tasks: up, down, status, reset, parity."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import JSON, action, find_root, read_config


@action(help={"port": "a port on loopback; default: the last one, or a free one"})
def up(_: Any, port: int = 0) -> None:
    """Start the embedded AWS; deploys do it by themselves."""
    from ml_delivery import emulator

    running = emulator.up(find_root(), port=port)
    console.say(f"the embedded AWS answers at {running.endpoint} (pid {running.pid})")
    if running.notice:
        console.warn(running.notice)


@action()
def down(_: Any) -> None:
    """Stop the embedded AWS; what it holds is kept."""
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
    """Stop the embedded AWS and forget all that it holds."""
    from ml_delivery import emulator

    emulator.reset(find_root())
    console.say("the embedded AWS is empty")


@action(help={"json": JSON})
def parity(_: Any, json: bool = False) -> None:
    """Show where a rehearsal on the embedded AWS differs from AWS, for the service's targets."""
    from dataclasses import asdict

    from ml_delivery import target

    config = read_config()
    names = dict.fromkeys(environment.target for environment in config.environments.values())
    found = {name: target.load(name, config).parity for name in names}
    if json:
        return console.document({name: [asdict(row) for row in rows] for name, rows in found.items()})
    for name, rows in found.items():
        console.say(f"{name}:")
        console.table([{"what": row.what, "on the embedded AWS": row.here, "on AWS": row.there} for row in rows])
