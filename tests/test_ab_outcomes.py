"""Outcomes of an A/B, from a file or from the log: what is one, and what is refused, with its line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_ab_statistics import EXPERIMENT, RULE

from ml_delivery.errors import ConfigError
from ml_delivery.experiments.outcomes import of_file, of_log
from ml_delivery.records import Line
from ml_service import outcomes

USERS = replace(EXPERIMENT, rule=replace(RULE, unit="user", count="outcomes"))
HEAD = "request,release,revenue"


def test_both_kinds_of_file_are_read(tmp_path: Path) -> None:
    """CSV as spreadsheets write it, and a JSON document in each line; further columns don't matter."""
    (tmp_path / "a.csv").write_text("\ufeffrelease,request,revenue,shop\r\n1,x,2.5,a\r\n2,y,0,b\r\n", encoding="utf-8")
    (tmp_path / "a.jsonl").write_text(
        '{"request": "x", "release": 1, "revenue": 2.5}\n\n{"request": 7, "release": 2, "revenue": 0}\n'
    )
    assert of_file(tmp_path / "a.csv", EXPERIMENT).values == {1: {"x": 2.5}, 2: {"y": 0.0}}
    assert of_file(tmp_path / "a.jsonl", EXPERIMENT).values == {1: {"x": 2.5}, 2: {"7": 0.0}}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("x,3,1", "release 3 is not in this A/B, which compares 1 and 2"),
        ("x,1.5,1", "release 1.5 is not in this A/B"),
        ("x,,1", "release '' is not a number"),
        ("x,nan,1", "release is NaN"),
        ("x,1,NaN", "revenue is NaN"),
        ("x,1,-3", "revenue -3 is not from 0 to 1000000000; write the net value"),
        ("x,1,inf", "revenue inf is not from 0 to 1000000000"),
        ("x,1,1e300", "revenue 1e300 is not from 0 to 1000000000"),
        ("x,1,12 EUR", "revenue '12 EUR' is not a number"),
        ("x,1,", "revenue '' is not a number"),
        ("x,1", "there is no revenue"),
        (",1,2", "there is no request"),
        (f"{'x' * 201},1,2", "there is no request"),
        ("a,2,2", "request 'a' is there twice; write one row with its total"),
    ],
)
def test_row_that_is_no_outcome_is_refused(tmp_path: Path, row: str, says: str) -> None:
    """The message has the file, the line, what is wrong and, where it helps, what to write."""
    file = tmp_path / "outcomes.csv"
    file.write_text(f"{HEAD}\na,1,2\n{row}\n")
    with pytest.raises(ConfigError) as refused:
        of_file(file, EXPERIMENT)
    assert f"outcomes.csv, line 3: {says}" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("a.csv", b"", "has no outcome"),
        ("a.csv", f"{HEAD}\n".encode(), "has no outcome"),
        ("a.csv", b"\xff\xfe\x00", "can't be read"),
        ("a.txt", b"x", "neither .csv nor .jsonl"),
        ("a.jsonl", b"[1]\n", "line 1: there is no request"),
        ("a.jsonl", b"{broken\n", "line 1: there is no request"),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": NaN}\n', "revenue is NaN"),
        ("a.jsonl", b'{"request": "x", "release": true, "revenue": 1}\n', "there is no release"),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": [1]}\n', "is not a number"),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": 1' + b"0" * 400 + b"}\n", "is not a number"),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": 1, "at": "noon"}\n', "at 'noon' is no time"),
        (
            "a.jsonl",
            b'{"request": "x", "release": 1, "revenue": 1, "at": 1764000000000}\n',
            "at 1764000000000 is not in sec",
        ),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": 1, "at": NaN}\n', "at nan is not in seconds"),
        ("a.jsonl", b'{"request": "x", "release": 1, "revenue": 1, "at": "2026-01-31T12:00"}\n', "has no time zone"),
    ],
)
def test_file_that_cannot_be_used_is_refused(tmp_path: Path, name: str, body: bytes, says: str) -> None:
    """An empty file, another format, a damaged one: one message, no traceback."""
    (tmp_path / name).write_bytes(body)
    with pytest.raises(ConfigError, match="--outcomes") as refused:
        of_file(tmp_path / name, EXPERIMENT)
    assert says in str(refused.value)


def test_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """By its name; a folder too."""
    for path in (tmp_path / "nowhere.csv", tmp_path):
        with pytest.raises(ConfigError, match=r"can't be read|neither"):
            of_file(path, EXPERIMENT)


def test_many_problems_are_counted(tmp_path: Path) -> None:
    """The first ones are named, with how many more there are."""
    file = tmp_path / "a.csv"
    file.write_text(f"{HEAD}\n" + "x,9,1\n" * 100)
    with pytest.raises(ConfigError, match="and 95 more lines") as refused:
        of_file(file, EXPERIMENT)
    assert len(refused.value.problems) == 6


def test_requests_from_before_are_left_out(tmp_path: Path) -> None:
    """They were answered before traffic was split: by ``at``, in seconds or as a time."""
    file = tmp_path / "a.csv"
    file.write_text(
        "request,release,revenue,at\na,1,2,0.5\nb,1,2,1.5\nc,1,2,1970-01-01T00:00:00Z\nd,1,2,1970-01-01T02:00:03+02:00\n"
    )
    found = of_file(file, EXPERIMENT)
    assert (list(found.values[1]), found.earlier) == (["b", "d"], 2)


def test_users_are_summed_and_those_of_both_releases_left_out(tmp_path: Path) -> None:
    """Where the unit is the user, several outcomes are one value; who was answered by both is in neither."""
    file = tmp_path / "a.csv"
    file.write_text("user,release,revenue\na,1,2\na,1,3\nb,2,1\nc,1,1\nc,2,1\n")
    found = of_file(file, USERS)
    assert (found.values, found.crossed) == ({1: {"a": 5.0}, 2: {"b": 1.0}}, 1)
    file.write_text("user,release,revenue\na ,1,2\na,2,3\n0,1,1\n0,2,1\n")
    assert of_file(file, USERS).crossed == 2
    file.write_text("request,user,release,revenue\n1,a,1,2\n2,a,2,3\n")
    found = of_file(file, EXPERIMENT)
    assert (found.values, found.crossed) == ({1: {"1": 2.0}, 2: {"2": 3.0}}, 1)


def test_log_is_read_with_what_else_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What the service wrote; a repeated report has its newer value; other lines are passed over, broken ones counted."""
    for value in (1.0, 2.0):
        assert outcomes.record(json.dumps({"request": "x", "release": 1, "revenue": value}))[1] == 202
    assert outcomes.record(json.dumps([{"request": "y", "user": "u", "release": 2, "revenue": 0}]))[1] == 202
    assert outcomes.record(json.dumps({"request": "z", "release": 9, "revenue": 1}))[1] == 202
    written = [line for line in capsys.readouterr().out.splitlines() if line]
    others = [
        "START",
        '{"level": "info", "path": "/"}',
        '{"outcome": 3}',
        '"outcome"',
        '{"outcome": {"cut',
        "[" * 9999 + '"outcome"',
    ]
    found = of_log([Line(2.0, text) for text in [*others, *written]], EXPERIMENT)
    assert found.values == {1: {"x": 2.0}, 2: {"y": 0.0}}
    assert found.unusable == 3
    assert found.users == {"u": {2}}


def test_repeated_report_of_a_users_request_has_its_newer_value(tmp_path: Path) -> None:
    """As of a request: a client that retries adds nothing to its user's sum; in a file a request that is there twice is refused."""
    reported = [("1", 2.0), ("1", 2.0), ("2", 5.0), ("2", 4.0)]
    rows = [{"request": name, "user": "a", "release": 1, "revenue": value} for name, value in reported]
    rows += [{"user": "a", "release": 1, "revenue": 1.0}] * 2  # without a request each is one of its own
    assert of_log([Line(2.0, json.dumps({"outcome": row})) for row in rows], USERS).values[1] == {"a": 8.0}
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(ConfigError, match="line 2: request '1' is there twice"):
        of_file(tmp_path / "a.jsonl", USERS)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "[]",
        "[" * 9999,
        "3",
        '{"request": "x", "release": 1}',
        '{"release": 1, "revenue": 1}',
        '{"request": "", "release": 1, "revenue": 1}',
        '{"request": 3, "release": 1, "revenue": 1}',
        '{"request": "a\\nb", "release": 1, "revenue": 1}',
        '{"request": "x", "release": 0, "revenue": 1}',
        '{"request": "x", "release": "1", "revenue": 1}',
        '{"request": "x", "release": true, "revenue": 1}',
        '{"request": "x", "release": 1, "revenue": NaN}',
        '{"request": "x", "release": 1, "revenue": -1}',
        '{"request": "x", "release": 1, "revenue": 1e10}',
        '{"request": "x", "release": 1, "revenue": "1"}',
        '{"request": "x", "release": 1, "Revenue!": 1}',
        '{"request": "x", "release": 1, "revenue": 1, "at": "noon"}',
        '{"request": "x", "release": 1, "revenue": 1, "at": 1764000000000}',
        '[{"request": "x", "release": 1, "revenue": 1}, {}]',
    ],
)
def test_service_refuses_what_is_no_outcome(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    """400 with a problem document, and nothing is written, not even those of a list that are outcomes."""
    document, status = outcomes.record(body)
    assert (status, document["status"], capsys.readouterr().out) == (400, 400, "")
    assert document["detail"]


def test_service_takes_so_many_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred are taken, one more is refused."""
    one = {"request": "x", "user": "u", "release": 1, "at": 1764000000.5, "revenue": 19.9, "margin": 3}
    assert outcomes.record(json.dumps([one] * outcomes.MOST)) == ({"recorded": 100}, 202)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["outcome"] == one
    assert outcomes.record(json.dumps([one] * (outcomes.MOST + 1)))[1] == 400


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ({"revenue": 1}, 202),
        ({"revenue": 1, "margin": 2}, 202),
        ({"margin": 2}, 400),
        ({"revenue": 1, "likes": 2}, 400),
    ],
)
def test_service_may_name_its_numbers(numbers: dict[str, int], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The first must be there, the others may, and a mistyped one is refused."""
    body = json.dumps({"user": "u", "release": 1, **numbers})
    assert outcomes.record(body, "revenue", "margin")[1] == status
    assert bool(capsys.readouterr().out) == (status == 202)
