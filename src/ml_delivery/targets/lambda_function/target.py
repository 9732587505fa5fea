"""The base class of the targets on Lambda, whatever their package type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ml_delivery.target import Parity, Target
from ml_delivery.targets.lambda_function import settings
from ml_delivery.targets.lambda_function.settings import LambdaSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud
    from ml_delivery.cloudformation import Infrastructure
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment, Function
    from ml_delivery.observed import Observed, Place

__all__ = ["LambdaTarget"]


class LambdaTarget(Target):
    """A function on AWS Lambda."""

    function: ClassVar[type[Function]] = LambdaSettings
    fronts = ("none", "function-url", "http-api", "load-balancer")
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
    pythons = ("3.11", "3.12", "3.13", "3.14")
    # Included in Lambda's Python: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
    provided = frozenset({"boto3", "botocore", "jmespath", "s3transfer"})

    probe = Path(__file__).with_name("probe.py")
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html and …/monitoring-metrics-view.html
    parity: ClassVar[tuple[Parity, ...]] = (
        Parity("a function's memory", "on Linux, a process that holds more is killed", "limited to function.memory"),
        Parity("a function's network", "this machine's", "isolated, or a VPC's"),
        Parity("a function's processor", "this machine's, all of it", "service.architecture, by function.memory"),
        Parity("a function's /tmp", "this machine's", "its own, 512 MB"),
        Parity("files outside /tmp", "read-only on Linux 5.13 and newer: EACCES", "read-only: EROFS"),
        Parity("processes and threads", "not limited", "1,024"),
        Parity("executions at once", "two per processor and version; others wait", "1,000; others are throttled"),
        Parity("stored versions", "not limited", "75 GB of code in a region"),
        Parity("API requests per second", "not limited", "throttled: 15 to Lambda that change something"),
        Parity("an HTTP API's domain", "no name, certificate or record; reached by the API", "at http.domain"),
        Parity("a load balancer's domain", "no name, certificate or record; reached on loopback", "at http.domain"),
        Parity(
            "a load balancer's network", "http.scheme has no effect; subnets may be of AWS alone", "in http.subnets"
        ),
        Parity("old Python versions", "run as long as this machine has them", "refused after their end"),
        Parity("metrics", "within a second", "by the minute, some minutes late"),
        Parity("alarms", "judged over the last seconds", "judged by the minute"),
        Parity("the address", "on loopback, below a path that names it", "HTTPS, at a name of AWS"),
    )

    def problems(self, environment: Environment) -> list[str]:
        from ml_delivery.targets.lambda_function import front

        return front.problems(environment)

    def glibc(self, python: str) -> int:
        """Python 3.11 runs on Amazon Linux 2, later versions on Amazon Linux 2023.

        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
        """
        return 26 if python == "3.11" else 34

    def serving(self, environment: Environment) -> tuple[str, ...]:
        own = settings.of(environment)
        return ("-P", str(Path(__file__).with_name("serve.py")), str(own.timeout), str(own.memory))

    def infrastructure(self, config: Config, environment: Environment) -> Infrastructure:
        from ml_delivery.targets.lambda_function import infrastructure

        return infrastructure.part(config, environment)

    def observe(self, at: Place) -> Observed:
        from ml_delivery.targets.lambda_function import observing

        return observing.observe(at)

    def removals(self, config: Config, environment: Environment, cloud: Cloud) -> dict[str, Callable[[], object]]:
        from ml_delivery.targets.lambda_function import infrastructure

        return infrastructure.removals(config, environment, cloud)
