"""The delivery package itself: eject."""

from __future__ import annotations

from typing import Any

from ml_delivery.tasks import console
from ml_delivery.tasks.base import JSON, action, find_root

UNDO = "remove the copy; the installed package runs again"


@action(help={"undo": UNDO, "yes": "with --undo: remove a changed copy, too", "json": JSON})
def eject(_: Any, undo: bool = False, yes: bool = False, json: bool = False) -> None:
    """Copy the delivery package into this repository, where it takes precedence and can be changed."""
    from ml_delivery import eject as ejecting

    root = find_root()
    package = ejecting.undo(root, changed=yes) if undo else ejecting.eject(root)
    if json:
        return console.document(package)
    folders = ", ".join(f"{folder}/" for folder in ejecting.FOLDERS)
    if undo:
        console.say(f"removed {folders}; ml-delivery {package.version} runs as it is {package.where}")
        return console.say("next: git add --all, and commit")
    console.say(f"ml-delivery {package.version} is in {folders}, and runs from there")
    console.say(
        f"next: change it, git add {' '.join(ejecting.FOLDERS)}, and commit; every clone then runs the copy too"
    )
    console.say(
        "An update of the template no longer changes the code that runs; `invoke doctor` lists what you changed."
    )
    console.say("undo: invoke eject --undo")
