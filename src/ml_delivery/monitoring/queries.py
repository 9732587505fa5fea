"""What is asked of CloudWatch, and where: the queries that panels and alarms share.

Names may be CloudFormation's ``${…}`` as well as real ones: a ``Place`` says which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.targets.lambda_function.alias import ALIAS
from ml_delivery.targets.lambda_function.costs import dollars_per_gb_second

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = [
    "LEAST_FOR_DRIFT",
    "NAMESPACE",
    "Place",
    "Query",
    "alias",
    "backup",
    "by_version",
    "drift",
    "failures",
    "function",
    "own",
    "place",
]

# As src/service/telemetry.py writes them; a test compares.
NAMESPACE = "MLService"
FIFTHS = (":0.2", "0.2:0.4", "0.4:0.6", "0.6:0.8", "0.8:")
LEAST_FOR_DRIFT = 100  # predictions in a period: by chance alone, fewer would look like drift


@dataclass(frozen=True)
class Place:
    """Where to look; each part a real name, or one of CloudFormation's. ``price`` is dollars a gigabyte second."""

    service: str
    environment: str
    branch: str
    region: str
    account: str
    memory: str
    price: str

    @property
    def function(self) -> str:
        """The function, the CodeBuild project and the topic have this name alike."""
        return f"{self.service}-{self.environment}"

    @property
    def log_group(self) -> str:
        return f"/aws/lambda/{self.function}"


@dataclass(frozen=True)
class Query:
    """One line of a panel: a metric, or an expression in CloudWatch's metric math over the panel's other queries.

    ``{period}`` in an expression stands for the seconds that a point of the plot covers. A query that is not ``shown`` is
    there for others to refer to.
    """

    id: str
    label: str = ""
    namespace: str = ""
    metric: str = ""
    statistic: str = "Sum"
    dimensions: tuple[tuple[str, str], ...] = ()
    expression: str = ""
    shown: bool = True


def place(config: Config, environment: Environment, account: str) -> Place:
    """The place of one environment, by its real names."""
    service = config.service
    return Place(
        service.name,
        environment.name,
        environment.branch,
        service.region,
        account,
        str(environment.function.memory),
        dollars_per_gb_second(service.architecture),
    )


def function(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """Lambda's own metric of the whole function."""
    return Query(id, label, "AWS/Lambda", metric, statistic, (("FunctionName", at.function),), shown=shown)


def alias(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """Lambda's own metric of what users call: the alias."""
    dimensions = (("FunctionName", at.function), ("Resource", f"{at.function}:{ALIAS}"))
    return Query(id, label, "AWS/Lambda", metric, statistic, dimensions, shown=shown)


def own(at: Place, id: str, metric: str, label: str = "", statistic: str = "Sum", shown: bool = True) -> Query:
    """A metric that the service itself writes into its log."""
    return Query(id, label, NAMESPACE, metric, statistic, (("Function", at.function),), shown=shown)


def by_version(at: Place, id: str, metric: str, statistic: str) -> Query:
    """Lambda's own metric of each version that the alias has called; labelled by the version."""
    schema = "{AWS/Lambda,ExecutedVersion,FunctionName,Resource}"
    terms = f'FunctionName="{at.function}" Resource="{at.function}:{ALIAS}" MetricName="{metric}"'
    return Query(
        id, "${PROP('Dim.ExecutedVersion')}", expression=f"SEARCH('{schema} {terms}', '{statistic}', {{period}})"
    )


def failures(at: Place) -> tuple[Query, ...]:
    """Percent of the users' requests that failed: what Lambda counts as errors, and answers of 500 and above."""
    return (
        alias(at, "requests", "Invocations", shown=False),
        alias(at, "thrown", "Errors", shown=False),
        own(at, "answered", "Failures", shown=False),
        Query("rate", "failed", expression="100 * (FILL(thrown, 0) + FILL(answered, 0)) / requests"),
    )


def backup(at: Place) -> tuple[Query, ...]:
    """Percent of the predictions that the backup model made."""
    return (
        own(at, "backup", "BackupUsed", shown=False),
        own(at, "predictions", "BackupUsed", statistic="SampleCount", shown=False),
        Query("share", "by the backup", expression="100 * backup / predictions"),
    )


def drift(at: Place) -> tuple[Query, ...]:
    """The population stability index of recommended prices against training, over fifths of the latter.

    The service measures where a price lies among those of training, from 0 to 1; a fifth of them belongs into each fifth.
    The index is 0 for no drift, and large above 0.25; a hundredth of smoothing keeps an empty fifth finite.
    """
    shares = tuple(
        own(at, f"fifth{i}", "RecommendedPriceRank", statistic=f"PR({fifth})", shown=False)
        for i, fifth in enumerate(FIFTHS)
    )
    smooth = [f"((fifth{i} / 100 + 0.002) / 1.01)" for i in range(len(FIFTHS))]
    index = " + ".join(f"({share} - 0.2) * LOG({share} / 0.2)" for share in smooth)
    return (
        *shares,
        own(at, "ranked", "RecommendedPriceRank", statistic="SampleCount", shown=False),
        Query("index", "stability index", expression=f"(ranked >= {LEAST_FOR_DRIFT}) * ({index})"),
    )
