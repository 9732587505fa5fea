"""What the answers to ``cookiecutter.json`` must be, and why."""

from __future__ import annotations

import re
import sys
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
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SLUG = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
# Of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html), and of SSM for parameters
# (https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html).
RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-", "amazon", "aws", "ssm")
REPOSITORY = r"(?=[^/]{1,39}/)[A-Za-z0-9](-?[A-Za-z0-9])*/(?!\.{1,2}$|.*\.git$)[A-Za-z0-9._-]{1,100}"


def problems(answers: dict[str, Any]) -> list[str]:
    """What is wrong with the answers, all at once: ``name: reason; a valid example``. Empty when all is well."""
    found = []
    for name in ("project_name", "description", "author"):
        text = answers[name]
        if not text.strip():
            found.append(f"{name}: it is empty; write for example {EXAMPLES[name]!r}")
        elif re.search(r'["\\\x00-\x1f\x7f]|\{[{%#]', text):
            found.append(
                f"{name}: quotes, backslashes, control characters and template braces would break the files that it is "
                f"written to; write for example {EXAMPLES[name]!r}"
            )
    slug = answers["project_slug"]
    if not re.fullmatch(SLUG, slug) or not 3 <= len(slug) <= 32:
        found.append(
            f"project_slug: {slug!r} can't name a bucket, a function and a folder alike: 3 to 32 lower-case letters, digits "
            "and single dashes, starting with a letter; write for example 'demand-pricing'"
        )
    elif slug.startswith(RESERVED_STARTS):
        found.append(
            f"project_slug: {slug!r} can't name a bucket and a parameter: AWS keeps what starts with "
            f"{', '.join(RESERVED_STARTS)} for itself; write for example 'demand-pricing'"
        )
    if not re.fullmatch(REPOSITORY, answers["github_repository"]):
        found.append(
            f"github_repository: {answers['github_repository']!r} is not OWNER/NAME; write for example "
            "'your-organisation/demand-pricing'"
        )
    if answers["aws_region"] not in REGIONS:
        found.append(f"aws_region: Lambda is not offered in {answers['aws_region']!r}; write for example 'eu-west-1'")
    if answers["python_version"] not in PYTHONS:
        found.append(
            f"python_version: Lambda does not run {answers['python_version']!r}; write one of {', '.join(PYTHONS)}"
        )
    return found


EXAMPLES = {
    "project_name": "Demand Pricing",
    "description": "Recommends a price for each product.",
    "author": "The Demand Pricing team",
}


def refuse(answers: dict[str, Any]) -> None:
    """Exit with every problem named, if there is one; nothing has been written then."""
    if found := problems(answers):
        print("✗ no service was made:", *found, sep="\n  ", file=sys.stderr)
        sys.exit(1)
