"""What was promised against what came: ``python -m service.feedback --outcomes FILE``, in the service's folder.

The file is a CSV with the columns ``date`` (like 2026-01-31), ``stockcode``, ``price`` (that was charged) and ``units`` (that were
sold, zero too). Each row is compared with what the promoted model expects at that price on that day.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from service import artifact, pricing
from service.artifact import Model

__all__ = ["BadOutcomes", "Outcome", "Realised", "compare", "main", "read"]

SAME = 0.005  # a price that differs by less, as a share, is the recommended one


class BadOutcomes(Exception):
    """The outcomes can't be used; the message names the row and what it must be."""


@dataclass(frozen=True)
class Outcome:
    """What a product was sold for on a day, and how many units."""

    on: date
    stockcode: str
    price: float
    units: float


@dataclass(frozen=True)
class Realised:
    """Sums over outcomes: days, units and revenue, promised and realised, and the share of days within their interval."""

    days: int
    promised_units: float
    units: float
    promised_revenue: float
    revenue: float
    inside: float


def read(path: Path) -> list[Outcome]:
    """The outcomes of a CSV file.

    Raises:
        BadOutcomes: it can't be read, or a row is not an outcome.
    """
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                try:
                    price, units = float(row["price"]), float(row["units"])
                    if not (0 < price < 1e9 and 0 <= units < 1e9):
                        raise ValueError
                    found.append(Outcome(date.fromisoformat(row["date"]), row["stockcode"].strip(), price, units))
                except (KeyError, TypeError, ValueError, AttributeError):
                    raise BadOutcomes(
                        f"{path.name}, row {number}: it must have a date like 2026-01-31, a stockcode, a price above 0 and "
                        f"units of 0 or more, not {dict(row)}"
                    ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadOutcomes(f"{path.name} can't be read: {error}") from error
    if not found:
        raise BadOutcomes(f"{path.name} has no rows")
    return found


def compare(model: Model, outcomes: Iterable[Outcome]) -> tuple[dict[str, Realised], int]:
    """Outcomes by whether the recommended price was charged (``followed``, ``other price``), and how many are of no product
    that ``model`` knows.
    """
    groups: dict[str, list[tuple[Outcome, dict[str, float], float]]] = {}
    unknown = 0
    for outcome in outcomes:
        if outcome.stockcode not in model.products:
            unknown += 1
            continue
        product = model.products[outcome.stockcode]
        recommended = product["decision"]["price"]
        name = "followed" if abs(outcome.price / recommended - 1) <= SAME else "other price"
        asked = [pricing.Asked(outcome.stockcode, outcome.price, outcome.on)]
        expected = pricing.predict([model], asked)["predictions"][0]
        groups.setdefault(name, []).append((outcome, expected, product["paid"]))
    return {name: _sum(groups[name]) for name in sorted(groups)}, unknown


def _sum(rows: list[tuple[Outcome, dict[str, float], float]]) -> Realised:
    inside = [expected["sales_low"] <= one.units <= expected["sales_high"] for one, expected, _ in rows]
    return Realised(
        days=len(rows),
        promised_units=sum(expected["sales"] for _, expected, _ in rows),
        units=sum(one.units for one, _, _ in rows),
        promised_revenue=sum(expected["revenue"] for _, expected, _ in rows),
        revenue=sum(one.units * one.price * paid for one, _, paid in rows),
        inside=sum(inside) / len(inside),
    )


def main(words: list[str] | None = None) -> int:
    """Print the table; exit code 1, with the reason, when the outcomes or the model can't be used."""
    parser = argparse.ArgumentParser(description="Compare what was promised with what came.")
    parser.add_argument("--root", type=Path, default=Path(), help="the service's folder")
    parser.add_argument("--outcomes", type=Path, required=True, help="CSV: date, stockcode, price, units")
    options = parser.parse_args(words)
    try:
        model = artifact.load(options.root)[0]
        groups, unknown = compare(model, read(options.outcomes))
    except (BadOutcomes, artifact.ModelFault) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    print("| price charged | days | units, promised | units | revenue, promised | revenue | in the 90 % interval |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, one in groups.items():
        numbers = [one.promised_units, one.units, one.promised_revenue, one.revenue]
        cells = [name, str(one.days), *(f"{number:.1f}" for number in numbers), f"{one.inside:.0%}"]
        print(f"| {' | '.join(cells)} |")
    if unknown:
        print(f"! {unknown} rows are of products that {model.kind} {model.digest[:19]} does not know")
    return 0


if __name__ == "__main__":
    sys.exit(main())
