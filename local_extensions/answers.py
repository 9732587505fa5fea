"""What the answers to ``cookiecutter.json`` must be, and why."""

from __future__ import annotations

import re
import sys
from difflib import get_close_matches
from typing import Any

# Regions where Lambda is offered: https://docs.aws.amazon.com/general/latest/gr/lambda-service.html
REGIONS = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
]
# Of the questions with a fixed set of answers. cookiecutter would refuse any other itself, but with a traceback.
CHOICES = {
    "starter": ("pricing", "blank"),
    "target": ("lambda-zip", "lambda-image", "eks", "sagemaker"),
    "licence": ("MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary"),
}
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SLUG = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
# Of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html), and of SSM for parameters
# (https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html).
RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-", "amazon", "aws", "ssm")
REPOSITORY = r"(?=[^/]{1,39}/)[A-Za-z0-9](-?[A-Za-z0-9])*/(?!\.{1,2}$|.*\.git$)[A-Za-z0-9._-]{1,100}"


def problems(answers: dict[str, Any]) -> dict[str, str]:
    """What is wrong with which of these answers, all at once: the reason, and a valid example. Empty when all is well."""
    return {name: reason for name in answers if (reason := _problem(name, answers[name]))}


def _problem(name: str, answer: str) -> str:
    """What is wrong with the answer to one question; empty when nothing is."""
    example = f"write for example {EXAMPLES[name]!r}" if name in EXAMPLES else ""
    if name in CHOICES and answer not in CHOICES[name]:
        near = get_close_matches(answer, CHOICES[name], 1)
        return f"{answer!r} is none of {', '.join(CHOICES[name])}{f'; did you mean {near[0]}?' if near else ''}"
    if name in ("project_name", "description", "author"):
        if not answer.strip():
            return f"it is empty; {example}"
        if re.search(r'["\\\x00-\x1f\x7f]|\{[{%#]', answer):
            return (
                "quotes, backslashes, control characters and template braces would break the files that it is written to; "
                f"{example}"
            )
    if name == "project_slug":
        if not re.fullmatch(SLUG, answer) or not 3 <= len(answer) <= 32:
            return (
                f"{answer!r} can't name a bucket, a function and a folder alike: 3 to 32 lower-case letters, digits "
                f"and single dashes, starting with a letter; {example}"
            )
        if answer.startswith(RESERVED_STARTS):
            return (
                f"{answer!r} can't name a bucket and a parameter: AWS keeps what starts with "
                f"{', '.join(RESERVED_STARTS)} for itself; {example}"
            )
    if name == "github_repository" and not re.fullmatch(REPOSITORY, answer):
        return f"{answer!r} is not OWNER/NAME; {example}"
    if name == "aws_region" and answer not in REGIONS:
        return f"Lambda is not offered in {answer!r}; {example}"
    if name == "python_version" and answer not in PYTHONS:
        return f"Lambda does not run {answer!r}; write one of {', '.join(PYTHONS)}"
    return ""


EXAMPLES = {
    "project_name": "Demand Pricing",
    "project_slug": "demand-pricing",
    "description": "Recommends a price for each product.",
    "author": "The Demand Pricing team",
    "github_repository": "your-organisation/demand-pricing",
    "aws_region": "eu-west-1",
}


def refuse(answers: dict[str, Any]) -> None:
    """Exit with every problem named, if there is one; nothing has been written then."""
    stop(problems(answers))


def stop(found: dict[str, str]) -> None:
    """Exit with these problems, if there are any."""
    if found:
        lines = (f"{name}: {reason}" for name, reason in found.items())
        print("✗ no service was made:", *lines, sep="\n  ", file=sys.stderr)
        sys.exit(1)
