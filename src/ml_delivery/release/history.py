"""The ledger as one self-contained HTML page: who released what and when, the result, and how long each step took."""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING

from ml_delivery.release import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Release

__all__ = ["page"]

WIDTH = 360
COLOURS = {"stage": "#4477aa", "probe": "#66ccee", "shift": "#228833", "watch": "#ccbb44", "restore": "#ee6677"}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #777 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; width: 100% }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top }
code { font-size: 12px } .faint { color: var(--faint) } .verified { color: #228833 } .failed { color: #cc3311 }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .35em 0 1em }
"""


def page(title: str, releases: Iterable[Release]) -> str:
    """The page of these releases, newest first, as HTML; it loads no other file and has no scripts."""
    found = list(releases)
    longest = max((sum(release.seconds.values()) for release in found), default=0.0)
    rows = "\n".join(_row(release, longest) for release in found)
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


def _row(release: Release, longest: float) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.at))
    names = ("version", "digest", "model")
    what = "<br>".join(f"<code>{html.escape(getattr(release.artifact, name)[:19])}</code>" for name in names)
    looks = [f"at {look.weight} %: {words.look(look)}" for look in release.watched]
    notes = "<br>".join(map(html.escape, filter(None, [*looks, release.cause])))
    cells = [
        str(release.number),
        f'<b class="{html.escape(release.state)}">{html.escape(release.state)}</b>',
        when,
        html.escape(release.who),
        what,
        _bar(release.seconds, longest),
        notes,
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bar(seconds: dict[str, float], longest: float) -> str:
    """The steps' times as one bar, on one scale for all releases."""
    total, at, parts = sum(seconds.values()), 0.0, []
    for name, took in seconds.items():
        width = took / longest * WIDTH if longest else 0.0
        colour = COLOURS.get(name.split(" ")[0], "#bbbbbb")
        shown = f"{html.escape(name)}: {took:.2f} s"
        parts.append(
            f'<rect x="{at:.1f}" width="{width:.1f}" height="12" fill="{colour}"><title>{shown}</title></rect>'
        )
        at += width
    return f'<svg width="{WIDTH}" height="12" role="img">{"".join(parts)}</svg><br>{total:.2f} s'
