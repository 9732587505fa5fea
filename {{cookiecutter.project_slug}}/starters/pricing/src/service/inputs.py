"""Checks what callers send; a wrong value is refused with a message that says what it must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from service.pricing import Asked

__all__ = ["MOST", "BadRequest", "batch", "query", "today"]

MOST = 1000  # bins of a request, and instances of a batch
LONGEST = 64  # characters of a stock code


class BadRequest(Exception):
    """A parameter is wrong; the message says which, and what it must be."""


def query(given: Mapping[str, str]) -> tuple[date, float | None, float | None, int]:
    """The day, lowest and highest price, and number of bins in a request for a price.

    Raises:
        BadRequest: a parameter is wrong or unknown.
    """
    for name in given:
        if name not in ("low", "high", "bins", "date"):
            raise BadRequest(f"a parameter must be one of low, high, bins and date, not {name!r}")
    low, high = (_price(name, given[name]) if name in given else None for name in ("low", "high"))
    bins = given.get("bins", "20")
    if not re.fullmatch("[0-9]{1,9}", bins) or not 2 <= int(bins) <= MOST:
        raise BadRequest(f"bins must be a whole number from 2 to {MOST}, not {bins!r}")
    return _day(given.get("date")), low, high, int(bins)


def batch(body: Any) -> list[Asked]:
    """The instances of a batch, from ``{"instances": [{"stockcode": …, "price": …, "date": …}]}``; the date may be left out.

    Raises:
        BadRequest: it is anything else; the message names the place.
    """
    if not isinstance(body, dict) or body.keys() != {"instances"} or not isinstance(body["instances"], list):
        raise BadRequest('the body must be {"instances": [...]}')
    if not 1 <= len(body["instances"]) <= MOST:
        raise BadRequest(f"instances must be 1 to {MOST}, not {len(body['instances'])}")
    return [_instance(f"instances[{i}]", one) for i, one in enumerate(body["instances"])]


def _instance(place: str, one: Any) -> Asked:
    if not isinstance(one, dict) or not {"stockcode", "price"} <= one.keys() <= {"stockcode", "price", "date"}:
        raise BadRequest(f"{place} must have a stockcode and a price, and may have a date")
    code, price, day = one["stockcode"], one["price"], one.get("date")
    if not isinstance(code, str) or not 1 <= len(code) <= LONGEST:
        raise BadRequest(f"{place}.stockcode must be a string of 1 to {LONGEST} characters")
    if isinstance(price, bool) or not isinstance(price, (int, float)):
        raise BadRequest(f"{place}.price must be a number")
    if "date" in one and not isinstance(day, str):
        raise BadRequest(f"{place}.date must be a string")
    return Asked(code, _price(f"{place}.price", price), _day(day))


def _price(name: str, given: str | float) -> float:
    try:
        value = float(given)
    except (ValueError, OverflowError):
        value = 0.0
    if not 0 < value < 1e9:  # refuses nan and inf too
        raise BadRequest(f"{name} must be a price above 0 and below 1e9, not {str(given)[:40]!r}")
    return value


def _day(given: str | None) -> date:
    if given is None:
        return today()
    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
            raise ValueError
        return date.fromisoformat(given)
    except ValueError:
        raise BadRequest(f"date must be like 2026-01-31, not {given[:40]!r}") from None


def today() -> date:
    """The day to use when none is given."""
    return datetime.now(UTC).date()
