"""Outcomes: what came of the requests that a release answered, from a file or from the service's log.

An outcome names a request or a user, the release that answered, and a number: ``request, release, value``. It may have ``at``,
when the request was answered: ISO 8601 with a time zone, or seconds since 1970.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import ConfigError

if TYPE_CHECKING:
    from ml_delivery.records import Experiment, Line

__all__ = ["LARGEST", "Outcomes", "of_file", "of_log"]

LARGEST = 1e9  # a value above this is a wrong unit or a damaged file, and one alone would outweigh all others
LATEST = 1e11  # seconds since 1970; above that they are milliseconds
LONGEST = 200  # characters of an identifier
MOST_PROBLEMS = 5


@dataclass
class Outcomes:
    """Outcomes by release and by request or user.

    Attributes:
        values: the metric of each, by release and identifier; of a user, the sum over the requests.
        crossed: users with outcomes of both releases; where the unit is the user, they are in no release.
        earlier: how many were left out, since their requests were answered before the A/B.
        unusable: how many were none.
    """

    values: dict[int, dict[str, float]]
    crossed: int = 0
    earlier: int = 0
    unusable: int = 0
    users: dict[str, set[int]] = field(default_factory=dict)
    reports: dict[tuple[int, str, str], float] = field(default_factory=dict)  # by release, request or user, and request


class _Unusable(ValueError):
    """The message says why."""


@dataclass(frozen=True)
class _Outcome:
    unit: str
    request: str
    user: str
    release: int
    value: float
    at: float | None


def of_file(path: Path, experiment: Experiment) -> Outcomes:
    """The outcomes of a CSV file with a header, or of a file with a JSON document in each line (``.jsonl``).

    Raises:
        ConfigError: it can't be read, or a row is no outcome of this A/B; names the first of them, with their lines.
    """
    found, problems, count = _empty(experiment), [], 0
    try:
        for number, row in _rows(path):
            count += 1
            try:
                one = _outcome(row, experiment)
                if one.request and any((release, one.unit, one.request) in found.reports for release in found.values):
                    raise _Unusable(f"request {one.request!r} is there twice; write one row with its total")
                _add(found, one, experiment)
            except _Unusable as error:
                problems.append(f"{path.name}, line {number}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("--outcomes", [f"{path} can't be read: {error}"]) from error
    if not count:
        problems.append(f"{path.name} has no outcome")
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more lines"] if len(problems) > MOST_PROBLEMS else []
        raise ConfigError("--outcomes", [*problems[:MOST_PROBLEMS], *more])
    return _settled(found, experiment)


def of_log(lines: Iterable[Line], experiment: Experiment) -> Outcomes:
    """The outcomes in the service's log, where ``ml_service.outcomes`` writes them.

    A request that is reported again has its newer value, so that a report can be repeated. What is no outcome of this A/B is
    counted, and left out.
    """
    found = _empty(experiment)
    for line in lines:
        if '"outcome"' not in line.text:
            continue
        try:
            row = json.loads(line.text)
            if not isinstance(row, dict) or not isinstance(row.get("outcome"), dict):
                continue
            _add(found, _outcome(row["outcome"], experiment), experiment)
        except (ValueError, RecursionError):
            found.unusable += 1
    return _settled(found, experiment)


def _empty(experiment: Experiment) -> Outcomes:
    return Outcomes({experiment.control.release: {}, experiment.challenger.release: {}})


def _add(found: Outcomes, one: _Outcome, experiment: Experiment) -> None:
    if one.at is not None and one.at < experiment.since:
        found.earlier += 1
        return
    request = one.request or f" {len(found.reports)}"  # no request's identifier: none begins with a space
    found.reports[one.release, one.unit, request] = one.value
    if one.user:
        found.users.setdefault(one.user, set()).add(one.release)


def _settled(found: Outcomes, experiment: Experiment) -> Outcomes:
    for (release, unit, _), value in found.reports.items():
        found.values[release][unit] = found.values[release].get(unit, 0.0) + value
    crossed = [user for user, releases in found.users.items() if len(releases) > 1]
    found.crossed = len(crossed)
    if experiment.rule.unit == "user":
        for values in found.values.values():
            for user in crossed:
                values.pop(user, None)
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows, each with its line's number."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix == ".csv":
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
        elif path.suffix in (".jsonl", ".ndjson"):
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, _document(line)
        else:
            raise ConfigError("--outcomes", [f"{path} is neither .csv nor .jsonl"])


def _document(line: str) -> dict[str, Any]:
    """A line's JSON object; empty if it is none, which is then no outcome."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _outcome(row: dict[str, Any], experiment: Experiment) -> _Outcome:
    """The outcome in a row.

    Raises:
        _Unusable: it has none of this A/B.
    """
    rule, releases = experiment.rule, (experiment.control.release, experiment.challenger.release)
    unit, request, user = _name(row, rule.unit), _optional(row, "request"), _optional(row, "user")
    release = _number(row, "release")
    if release not in releases:
        raise _Unusable(
            f"release {row.get('release')} is not in this A/B, which compares {releases[0]} and {releases[1]}"
        )
    value = _number(row, rule.metric)
    if not 0 <= value <= LARGEST:
        raise _Unusable(f"{rule.metric} {row.get(rule.metric)} is not from 0 to {LARGEST:.0f}; write the net value")
    return _Outcome(unit, request, user, int(release), value, _time(row.get("at")))


def _name(row: dict[str, Any], key: str) -> str:
    found = row.get(key)
    if not isinstance(found, str | int) or isinstance(found, bool) or not 0 < len(str(found).strip()) <= LONGEST:
        raise _Unusable(f"there is no {key}")
    return str(found).strip()


def _optional(row: dict[str, Any], key: str) -> str:
    return "" if row.get(key) in (None, "") else _name(row, key)


def _number(row: dict[str, Any], key: str) -> float:
    found = row.get(key)
    if found is None or isinstance(found, bool):
        raise _Unusable(f"there is no {key}")
    try:
        value = float(found)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable(f"{key} {str(found)[:LONGEST]!r} is not a number") from None
    if value != value:
        raise _Unusable(f"{key} is NaN")
    return value


def _time(found: Any) -> float | None:
    if found in (None, ""):
        return None
    try:
        seconds = float(found)
    except (TypeError, ValueError, OverflowError):
        pass
    else:
        if not 0 <= seconds <= LATEST:
            raise _Unusable(f"at {str(found)[:LONGEST]} is not in seconds since 1970")
        return seconds
    try:
        parsed = datetime.fromisoformat(str(found))
    except ValueError:
        raise _Unusable(f"at {str(found)[:LONGEST]!r} is no time; write 2026-01-31T12:00:00Z") from None
    if parsed.tzinfo is None:
        raise _Unusable(f"at {found!r} has no time zone; write 2026-01-31T12:00:00Z")
    return parsed.timestamp()
