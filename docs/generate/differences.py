"""Where the emulator differs from AWS: the rows that the targets bring, as ``invoke cloud.parity`` prints them."""

from __future__ import annotations

from pathlib import Path

from ml_delivery import plugin

__all__ = ["page"]

HEAD = """\
# Where the emulator differs from AWS

`invoke cloud.parity` prints these for the targets of a service; [what is real here](../explanation/real.md) says more about each.

| what | on the emulator | on AWS | targets |
|---|---|---|---|
"""


def page() -> str:
    """The page, in Markdown."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for target in plugin.built_in():
        for row in plugin.find(target, Path()).parity:
            found.setdefault((row.what, row.here, row.there), []).append(f"`{target}`")
    rows = [f"| {what} | {here} | {there} | {', '.join(names)} |" for (what, here, there), names in found.items()]
    return HEAD + "\n".join(rows) + "\n"
