"""What an A/B needs before it begins: a rule that can be used, and two releases; and how it is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from test_ab_statistics import RULE
from tiny import Tiny

from ml_delivery import formats
from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.experiments import words
from ml_delivery.records import RUNNING, Arm, Experiment
from ml_delivery.release import comparing


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("split", 0, "--split: 0; write a number from 1 to 99"),
        ("split", 100, "--split: 100"),
        ("alpha", 0.0, "--alpha: 0; write how often"),
        ("alpha", 0.5, "--alpha: 0.5"),
        ("effect", 0.0, "--effect: 0; write percent: 5"),
        ("requests", 10, "--requests: 10; write a number from 1000"),
        ("days", 15, "--days: 15; write a number from 1 to 14"),
        ("metric", "Revenue €", "--metric: 'Revenue €'"),
        ("metric", "release", "--metric: 'release'"),
        ("unit", "session", "--unit: 'session'; write request or user"),
        ("unit", "user", "--unit user: the target counts requests, not users; add --count outcomes"),
        ("count", "all", "--count: 'all'; write requests or outcomes"),
    ],
)
def test_rule_that_cannot_be_used_is_refused(field: str, value: Any, says: str) -> None:
    """Each field that is out of its range, with what to write."""
    with pytest.raises(ConfigError) as refused:
        comparing.require(replace(RULE, **{field: value}))
    assert says in str(refused.value)


def test_every_problem_of_a_rule_is_listed_before_the_cloud_is_asked(tiny: Tiny) -> None:
    """As typed: nothing was set up yet, and the rule is what is refused."""
    printed = tiny.invoke("ab", "--start", "--split", "0", "--alpha", "3", code=1)
    assert "the rule of an A/B: 2 problems" in printed


def test_nothing_to_compare_yet(tiny: Tiny) -> None:
    """Before the first release, and with a single one: one message with the next command."""
    tiny.push()
    assert "production had no A/B yet" in tiny.invoke("ab", code=1)
    assert "nothing is live, so there is nothing to compare" in tiny.invoke("ab", "--start", code=1)
    tiny.deploy()
    assert "production has one verified release, 1" in tiny.invoke("ab", "--start", code=1)
    assert "exclude each other" in tiny.invoke("ab", "--start", "--stop", code=1)


def test_experiment_survives_its_format() -> None:
    """Written and read again, with a reading and without; a field that is missing or unknown is refused."""
    made = Experiment(1, RUNNING, RULE, Arm(1, "1"), Arm(2, "2"), "me", 1.0)
    plain = json.loads(json.dumps(formats.plain(made)))
    assert formats.experiment("x", plain) == made
    for broken in ({**plain, "rule": {}}, {**plain, "newer": 1}, {**plain, "control": None}):
        with pytest.raises(CloudError):
            formats.experiment("x", broken)
    assert words.rule(made.rule).startswith("revenue per request")
