"""Bad answers to the template's questions: each is refused with its reason, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bake import Refused, bake

BAD = [
    ({"project_slug": "Demand_Pricing"}, "project_slug: 'Demand_Pricing' can't name"),
    ({"project_slug": "-x-"}, "project_slug"),
    ({"project_slug": "ab"}, "project_slug"),
    ({"project_slug": "a" * 33}, "project_slug"),
    ({"project_slug": "sthree-prices"}, "project_slug: 'sthree-prices' can't name a bucket and a parameter"),
    ({"project_slug": "aws-prices"}, "AWS keeps what starts with xn--, sthree-, amzn-s3-demo-, amazon, aws, ssm"),
    ({"project_slug": "a/b"}, "project_slug: 'a/b' can't name"),
    ({"project_slug": "../up"}, "project_slug: '../up' can't name"),
    (
        {"aws_region": "mars-north-1"},
        "aws_region: Lambda is not offered in 'mars-north-1'; write for example 'eu-west-1'",
    ),
    ({"python_version": "2.7"}, "python_version: Lambda does not run '2.7'; write one of 3.11, 3.12, 3.13, 3.14"),
    ({"python_version": "3.15"}, "python_version: Lambda does not run '3.15'"),
    ({"github_repository": "just-a-name"}, "github_repository: 'just-a-name' is not OWNER/NAME"),
    ({"github_repository": "sued/.."}, "github_repository: 'sued/..' is not OWNER/NAME"),
    ({"github_repository": "-sued/preis"}, "github_repository: '-sued/preis' is not OWNER/NAME"),
    ({"project_name": 'a "quoted" name'}, "project_name: quotes, backslashes"),
    ({"description": "two\nlines"}, "description: quotes, backslashes"),
    ({"author": " "}, "author: it is empty; write for example 'The Demand Pricing team'"),
    ({"target": "kubernetes"}, "kubernetes"),
    ({"licence": "WTFPL"}, "WTFPL"),
]


@pytest.mark.parametrize(("answers", "says"), BAD, ids=lambda v: json.dumps(v) if isinstance(v, dict) else "")
def test_bad_answer_is_refused_and_leaves_nothing(tmp_path: Path, answers: dict[str, str], says: str) -> None:
    """A bad answer is named with its reason, and no file or folder remains."""
    with pytest.raises(Refused) as refusal:
        bake(tmp_path / "out", **answers)
    assert says in str(refusal.value)
    if not {"target", "licence"} & set(answers):  # those two are cookiecutter's own words, with its own traceback
        assert "Traceback" not in str(refusal.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"out", "home"}


def test_all_bad_answers_are_named_at_once(tmp_path: Path) -> None:
    """Several bad answers come in one message."""
    with pytest.raises(Refused) as refusal:
        bake(tmp_path / "out", project_slug="X", aws_region="x", python_version="x", github_repository="x", author=" ")
    for name in ("project_slug", "aws_region", "python_version", "github_repository", "author"):
        assert f"  {name}: " in str(refusal.value)
