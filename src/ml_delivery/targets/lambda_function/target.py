"""What every target on Lambda is, however its packages are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ml_delivery.target import Target
from ml_delivery.targets.lambda_function.settings import LambdaSettings

if TYPE_CHECKING:
    from ml_delivery.keys import Function

__all__ = ["LambdaTarget"]


class LambdaTarget(Target):
    """A function on AWS Lambda."""

    function: ClassVar[type[Function]] = LambdaSettings
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
    pythons = ("3.11", "3.12", "3.13", "3.14")
    # In Lambda's Python already: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
    provided = frozenset({"boto3", "botocore", "jmespath", "s3transfer"})

    def glibc(self, python: str) -> int:
        """Python 3.11 runs on Amazon Linux 2, those after it on Amazon Linux 2023.

        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
        """
        return 26 if python == "3.11" else 34
