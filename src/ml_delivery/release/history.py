"""The ledger as one self-contained HTML page: who released what and when, the result, and how long each step took."""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from ml_delivery.release import words
from ml_pages.charts import bar, legend
from ml_pages.page import document, state, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Release

__all__ = ["page"]

# The page's class of a step's colour; what puts a previous state back has one.
COLOURS = {
    "stage": "c0",
    "probe version": "c5",
    "probe live": "c5",
    "shift": "c2",
    "watch": "c4",
    "restore": "c1",
    "recover": "c1",
}
OTHERS = "other"


def page(title: str, releases: Iterable[Release], live: int = 0) -> str:
    """The page of these releases, newest first, as HTML; it loads no other file and has no scripts.

    Args:
        title: its heading.
        releases: what it lists.
        live: the number of the one that serves, which is marked; 0 for none.
    """
    found = list(releases)
    longest = max((sum(step.seconds for step in release.steps) for release in found), default=0.0)
    colours: dict[str, list[str]] = {}
    for name in dict.fromkeys(step.name for release in found for step in release.steps):
        colours.setdefault(COLOURS.get(name, OTHERS), []).append(name)
    named = [(colour, ", ".join(names)) for colour, names in colours.items()]
    about = f"<p class='faint'>{len(found)} releases, newest first. Time of each step:</p>{legend(named)}"
    heads = ("release", "state", "when", "who", "source, digest, model", "time", "watched, cause")
    return document(title, about + table(heads, [_row(release, longest, release.number == live) for release in found]))


def _row(release: Release, longest: float, live: bool) -> list[str]:
    artifact, total = release.artifact, sum(step.seconds for step in release.steps)
    named = (artifact.version, artifact.digest, artifact.model)
    looks = [f"at {look.weight} %: {words.look(look)}" for look in release.watched]
    steps = [
        (
            step.seconds,
            COLOURS.get(step.name, OTHERS),
            f"{words.step(step.name, step.weight)}: {step.seconds:.2f} s",
        )
        for step in release.steps
    ]
    return [
        f"<b>{release.number} live</b>" if live else str(release.number),
        state(release.state),
        time.strftime("<time>%Y-%m-%d %H:%M:%S</time>", time.localtime(release.at)),
        escape(release.who),
        "<br>".join(f"<code>{escape(name[:19])}</code>" for name in named),
        f"{bar(steps, longest)}<br>{total:.2f} s",
        "<br>".join(map(escape, filter(None, [*looks, release.cause]))),
    ]
