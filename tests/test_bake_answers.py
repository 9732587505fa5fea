"""Bad answers to the template's questions: each is refused with its reason, and nothing is left behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from bake import BIN, ROOT, Refused, bake

from local_extensions import answers, asking

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
    ({"target": "ecs"}, "target: 'ecs' is none of lambda-zip, lambda-image, eks, sagemaker"),
    (
        {"target": "lambda-zap"},
        "target: 'lambda-zap' is none of lambda-zip, lambda-image, eks, sagemaker; did you mean lambda-zip?",
    ),
    ({"licence": "WTFPL"}, "licence: 'WTFPL' is none of MIT, BSD-3-Clause, Apache-2.0, Proprietary"),
    ({"starter": "princing"}, "starter: 'princing' is none of pricing, blank; did you mean pricing?"),
    ({"description": "uses {{x}}"}, "description: template braces would be evaluated; leave them out"),
    ({"author": "{% raw"}, "author: template braces would be evaluated; leave them out"),
    ({"owner": "me"}, "owner: there is no such question; there are starter, project_name, project_slug"),
    ({"licens": "MIT"}, "licens: there is no such question; did you mean licence?"),
]


@pytest.mark.parametrize(("given", "says"), BAD, ids=lambda v: json.dumps(v) if isinstance(v, dict) else "")
def test_bad_answer_is_refused_and_leaves_nothing(tmp_path: Path, given: dict[str, str], says: str) -> None:
    """A bad answer is named with its reason, and no file or folder remains."""
    with pytest.raises(Refused) as refusal:
        bake(tmp_path / "out", **given)
    assert says in str(refusal.value)
    assert "Traceback" not in str(refusal.value)
    assert "Context:" not in str(refusal.value)
    assert list((tmp_path / "out").iterdir()) == []
    assert {p.name for p in tmp_path.iterdir()} == {"out", "home"}


NAMES = {
    "Anna's Ticket Router": "annas-ticket-router",
    "Preis für O'Hara – Süd": "preis-fur-ohara-sud",
    "3D Printing": "my-3d-printing",
    "AWS Costs": "my-aws-costs",
    "Ü": "my-u",
    "需求": "my-service",
    "a/b: c & d (e)": "a-b-c-d-e",
    "  __  ": "my-service",
    "x" * 40: "x" * 32,
    "a name that goes on and on and on": "a-name-that-goes-on-and-on-and-o",
    "thirty-one characters and then - more": "thirty-one-characters-and-then-m",
}


@pytest.mark.parametrize("name", NAMES)
def test_short_name_that_is_offered_is_accepted(name: str) -> None:
    """Whatever the service is called, the default of its short name is a valid one."""
    assert asking.slug(name) == NAMES[name]
    assert answers.problems({"project_slug": asking.slug(name)}) == {}


def test_bad_answer_is_asked_for_again_at_once(tmp_path: Path) -> None:
    """Interactively each bad answer is named before the next question, and asked for until it will do."""
    typed = ["blanc", "blank", "Prices", "No Slug", "ok-slug", "", "", "nowhere", "still", "me/prices", "", "", "", ""]
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [BIN / "cookiecutter", "--output-dir", tmp_path / "out", ROOT],
        input="\n".join(typed) + "\n",
        env={**os.environ, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked = [
        done.stdout.index(words)
        for words in ("'blanc' is none of", "'No Slug' can't", "'nowhere' is", "'still' is", "region")
    ]
    assert asked == sorted(asked)
    assert (tmp_path / "out/ok-slug/vendor").is_dir()


def test_all_bad_answers_are_named_at_once(tmp_path: Path) -> None:
    """Several bad answers come in one message."""
    with pytest.raises(Refused) as refusal:
        bake(tmp_path / "out", project_slug="X", aws_region="x", python_version="x", github_repository="x", author=" ")
    for name in ("project_slug", "aws_region", "python_version", "github_repository", "author"):
        assert f"  {name}: " in str(refusal.value)
