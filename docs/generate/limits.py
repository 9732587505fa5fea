"""AWS's limits, and how a rehearsal holds them, from ``docs/limits.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["page"]

HEAD = """\
# AWS's limits

What AWS refuses or cuts, of what a service can meet: how the emulator or a check holds it here, and what moto's server does,
a second opinion. A test tries each row. None was validated against AWS so far; `nox -s aws` does that for a maintainer who has an
account.

"""


def page() -> str:
    """The page, in Markdown."""
    rows = tomllib.loads(Path("docs/limits.toml").read_text(encoding="utf-8"))["limit"]
    text = HEAD
    for row in rows:
        held = row["held"] if isinstance(row["held"], list) else [row["held"]]
        moto = f"; moto {row['moto']}" if "moto" in row else ""
        text += f"- **{row['what']}**: {row['limit']} ([source]({row['source']})). Held by: {', '.join(held)}{moto}\n"
    return text
