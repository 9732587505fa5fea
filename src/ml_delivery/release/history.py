"""The ledger as one self-contained HTML page: who released what and when, the result, and how long each step took."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING

from ml_delivery.release import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Release, Took

__all__ = ["page"]

WIDTH = 360
PROBE = "#66ccee"
COLOURS = {
    "stage": "#4477aa",
    "probe version": PROBE,
    "probe live": PROBE,
    "shift": "#228833",
    "watch": "#ccbb44",
    "restore": "#ee6677",
}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; width: 100% }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
code { font-size: 12px } .faint { color: var(--faint) } .verified { color: #228833 } .failed { color: #cc3311 }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 1em }
"""


def page(title: str, releases: Iterable[Release], live: int = 0) -> str:
    """The page of these releases, newest first, as HTML; it loads no other file and has no scripts.

    Args:
        title: its heading.
        releases: what it lists.
        live: the number of the one that serves, which is marked; 0 for none.
    """
    found = list(releases)
    longest = max((sum(step.seconds for step in release.steps) for release in found), default=0.0)
    rows = "\n".join(_row(release, longest, release.number == live) for release in found)
    legend = "".join(f'<i style="background:{colour}"></i>{name}' for name, colour in COLOURS.items())
    heads = "".join(
        f"<th>{name}</th>" for name in ("", "state", "when", "who", "source, digest, model", "time", "watched, cause")
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>
<p class="faint">{len(found)} releases, newest first. Time of each step:{legend}</p>
<table><thead><tr>{heads}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _row(release: Release, longest: float, live: bool) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
    artifact = release.artifact
    named = (artifact.version, artifact.digest, artifact.model)
    what = "<br>".join(f"<code>{html.escape(name[:19])}</code>" for name in named)
    looks = [f"at {look.weight} %: {words.look(look)}" for look in release.watched]
    notes = "<br>".join(map(html.escape, filter(None, [*looks, release.cause])))
    cells = [
        f"<b>{release.number} live</b>" if live else str(release.number),
        f'<b class="{html.escape(release.state)}">{html.escape(release.state)}</b>',
        when,
        html.escape(release.who),
        what,
        _bar(release.steps, longest),
        notes,
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bar(steps: tuple[Took, ...], longest: float) -> str:
    """The steps' times as one bar, on one scale for all releases."""
    total, at, parts = sum(step.seconds for step in steps), 0.0, []
    for step in steps:
        width = step.seconds / longest * WIDTH if longest else 0.0
        colour = COLOURS.get(step.name, "#bbbbbb")
        shown = f"{html.escape(words.step(step.name, step.weight))}: {step.seconds:.2f} s"
        parts.append(
            f'<rect x="{at:.1f}" width="{width:.1f}" height="12" fill="{colour}"><title>{shown}</title></rect>'
        )
        at += width
    return f'<svg width="{WIDTH}" height="12" role="img">{"".join(parts)}</svg><br>{total:.2f} s'
