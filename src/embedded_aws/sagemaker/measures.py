"""A training job's metrics: what its regular expressions find in the output.

https://docs.aws.amazon.com/sagemaker/latest/dg/define-train-metrics.html: at most 40, each over standard output and error; the
first group is the value. They are published under ``/aws/sagemaker/TrainingJobs`` if the execution role may.
"""

from __future__ import annotations

import re
import threading

from embedded_aws.sagemaker import store
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.roles import Session
from embedded_aws.sagemaker.store import Record

NAMESPACE = "/aws/sagemaker/TrainingJobs"


class Measures:
    """The metrics of one job; ``history`` holds all values of each, in order."""

    def __init__(self, definitions: list[dict[str, str]], job: str, session: Session) -> None:
        self._patterns = compiled(definitions)
        self._job, self._lock = job, threading.Lock()
        self._publishes = bool(definitions) and session.may("cloudwatch:PutMetricData", "*")
        self.history: dict[str, list[float]] = {}
        self._last: dict[str, Record] = {}

    def read(self, line: str) -> None:
        """Find values in a line of output."""
        from ministack.services import cloudwatch

        for name, pattern in self._patterns:
            for match in pattern.finditer(line):
                try:
                    value = float(match[1])
                except (ValueError, IndexError):
                    continue
                with self._lock:
                    self.history.setdefault(name, []).append(value)
                    self._last[name] = {"MetricName": name, "Value": value, "Timestamp": store.now()}
                if self._publishes:
                    cloudwatch.record_metric(NAMESPACE, name, value, "None", {"TrainingJobName": self._job})

    def final(self) -> list[Record]:
        """The last value of each."""
        with self._lock:
            return list(self._last.values())


def compiled(definitions: list[dict[str, str]]) -> list[tuple[str, re.Pattern[str]]]:
    """The expressions by the metric's name.

    Raises:
        Refusal: one is no regular expression.
    """
    found = []
    for definition in definitions:
        try:
            found.append((definition["Name"], re.compile(definition["Regex"])))
        except re.error as error:
            raise Refusal(f"The regular expression of the metric {definition['Name']} is invalid: {error}") from error
    return found
