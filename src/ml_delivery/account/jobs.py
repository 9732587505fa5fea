"""What jobs add to an environment: the role that they run as, the repository of their image, and the role that may start them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_delivery import cloudformation

if TYPE_CHECKING:
    from ml_delivery.config import Config

__all__ = ["infrastructure"]

FILE = Path(__file__).parent / "jobs.yaml"


def infrastructure(config: Config) -> cloudformation.Infrastructure:
    """The part for ``[jobs]``; empty where it names no instance."""
    jobs = config.jobs
    if not jobs.instance:
        return cloudformation.Infrastructure()
    part = cloudformation.read(FILE)
    delivery = part.pop("Delivery")
    statements, rights = (
        role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        for role in (part["Resources"]["JobRole"], delivery["Resources"]["TrainRole"])
    )
    for number, (bucket, prefix) in enumerate(map(_place, jobs.reads), 1):
        where = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}"}
        objects = {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}/{prefix}*"}
        condition = {"StringLike": {"s3:prefix": f"{prefix}*"}}
        statements += [
            {
                "Sid": f"Read{number}",
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:GetObjectVersion"],
                "Resource": objects,
            },
            {
                "Sid": f"List{number}",
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": where,
                "Condition": condition,
            },
        ]
    if jobs.image:
        account, _, _, region, _ = jobs.image.split(".", 4)
        repository = jobs.image.partition("/")[2].partition("@")[0]
        (pull,) = (statement for statement in statements if statement["Sid"] == "Pull")
        own = {"Fn::Sub": f"arn:${{AWS::Partition}}:ecr:{region}:{account}:repository/{repository}"}
        pull["Resource"] = [pull["Resource"], own]
        (find,) = (statement for statement in rights if statement["Sid"] == "FindImageOfJobs")
        find["Resource"] = [find["Resource"], own]
    return cloudformation.Infrastructure(part, delivery=delivery)


def _place(uri: str) -> tuple[str, str]:
    """Bucket and prefix of ``s3://bucket/prefix``."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, prefix
