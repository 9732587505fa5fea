"""Draws the states of a release, as SVG that follows the reader's colours, without scripts, fonts or external references."""

from __future__ import annotations

from ml_delivery.records import FAILED, RETIRED, ROLLED_BACK, STAGED, VERIFIED

__all__ = ["MOVES", "PLACES", "drawing"]

WIDTH, HEIGHT = 130, 44
# The middle of each state.
PLACES = {STAGED: (90, 110), VERIFIED: (480, 50), FAILED: (480, 170), ROLLED_BACK: (780, 50), RETIRED: (780, 170)}
# From which state to which, what brings it about, and how far beside the straight line it is drawn.
MOVES = (
    (STAGED, VERIFIED, "every check passed, all traffic", 0),
    (STAGED, FAILED, "a check failed, Ctrl-C, a crash", 0),
    (VERIFIED, ROLLED_BACK, "invoke rollback", -14),
    (ROLLED_BACK, VERIFIED, "invoke rollback --to N", 14),
    (VERIFIED, RETIRED, "invoke retire", 0),
)


def drawing() -> str:
    """The drawing."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 220" role="img" aria-labelledby="title">',
        '<title id="title">The states of a release: staged, then verified or failed; rolled back or retired after that</title>',
        "<style>text{font:14px sans-serif;text-anchor:middle;fill:#333}rect{fill:#fff;stroke:#0072b2;stroke-width:2}"
        "path{fill:none;stroke:#555;stroke-width:1.5}.says{font-size:12px}.page{fill:#fff;stroke:none}</style>",
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8Z" style="fill:#555"/></marker></defs><rect class="page" width="860" height="220"/>',
    ]
    for start, end, says, beside in MOVES:
        (x1, y1), (x2, y2) = PLACES[start], PLACES[end]
        way = 1 if x2 > x1 else -1
        x1, x2 = x1 + way * WIDTH // 2, x2 - way * WIDTH // 2
        parts.append(f'<path d="M{x1} {y1 + beside} {x2} {y2 + beside}" marker-end="url(#end)"/>')
        lift = 18 if beside > 0 else -8
        lift += (y2 - y1) * 3 // 4 if y2 > y1 else (y2 - y1) // 3  # beside a line that slopes
        parts.append(f'<text class="says" x="{(x1 + x2) / 2}" y="{(y1 + y2) / 2 + beside + lift}">{says}</text>')
    for name, (x, y) in PLACES.items():
        parts.append(f'<rect x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>')
        parts.append(f'<text x="{x}" y="{y + 5}">{name}</text>')
    return "\n".join([*parts, "</svg>"])
