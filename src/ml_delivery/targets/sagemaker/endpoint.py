"""The endpoint: its variants and their weights, changed one update after another.

An update starts a new fleet beside the old one, and replaces it once it is healthy. One that failed ends InService, on the
old configuration: so the configuration's name is compared, not the status.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateEndpoint.html
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import CloudError, Refused
from ml_delivery.targets.sagemaker.models import missing, tags_of
from ml_delivery.targets.sagemaker.names import LIVE, OWNER, Names, number_of
from ml_delivery.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Busy", "Endpoint", "State", "Variant"]

IN_SERVICE, FAILED = "InService", "Failed"
# While it has one of these, it is being changed: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html
CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
# An update is waited for as long as a deploy may keep its lock without a write, which is 20 minutes.
UPDATE_SECONDS = 1100.0


class Busy(Exception):
    """The endpoint is being changed, and refuses other changes until that is done."""


@dataclass(frozen=True)
class Variant:
    """A production variant, as the endpoint has it now."""

    name: str
    weight: float
    instances: int


@dataclass(frozen=True)
class State:
    """An endpoint.

    Attributes:
        status: SageMaker's.
        config: the name of the configuration that serves.
        pending: the name of the one that an update under way replaces it by; empty for none.
        variants: those that serve, by name.
        reason: why the last change failed; empty if it did not.
        tags: its own.
        changed: when it was changed last, as SageMaker reports it.
    """

    arn: str
    status: str
    config: str
    pending: str = ""
    variants: dict[str, Variant] = field(default_factory=dict)
    reason: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    changed: str = ""

    @property
    def settled(self) -> bool:
        """Whether it is not being changed."""
        return self.status not in CHANGING

    @property
    def revision(self) -> str:
        """Changes whenever its configuration, its weights or its state do."""
        weights = sorted((one.name, one.weight) for one in self.variants.values())
        content = [self.config, self.status, self.changed, weights]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    @property
    def shares(self) -> dict[str, float]:
        """The variants with traffic, and their weights; none before the first release is given it.

        SageMaker sends all requests to a lone variant, whatever its weight, so a new endpoint serves before its release was
        checked: it counts as live only with this tag, or when it has lost both tags.
        """
        live = LIVE in self.tags or self.untagged
        return {one.name: one.weight for one in self.variants.values() if one.weight > 0} if live else {}

    @property
    def untagged(self) -> bool:
        """Whether all variants are releases', but the tag that it was created with is gone: something else removed it."""
        return OWNER not in self.tags and bool(self.variants) and all(map(number_of, self.variants))


class Endpoint:
    """One environment's endpoint."""

    def __init__(self, client: Any, names: Names, service: str) -> None:
        self._client, self._names, self._service = client, names, service

    def read(self) -> State | None:
        """What it is now; None if it does not exist."""
        try:
            found = self._client.describe_endpoint(EndpointName=self._names.endpoint)
            marks = tags_of(self._client, found["EndpointArn"])
        except Exception as error:
            if missing(error):
                return None
            raise
        variants = [
            Variant(one["VariantName"], float(one.get("CurrentWeight", 0)), int(one.get("DesiredInstanceCount", 1)))
            for one in found.get("ProductionVariants", [])
        ]
        return State(
            arn=found["EndpointArn"],
            status=found["EndpointStatus"],
            config=found.get("EndpointConfigName", ""),
            pending=found.get("PendingDeploymentSummary", {}).get("EndpointConfigName", ""),
            variants={one.name: one for one in variants},
            reason=found.get("FailureReason", ""),
            tags=marks,
            changed=str(found["LastModifiedTime"]),
        )

    def require_own(self) -> None:
        """Check that the endpoint, if there is one, is this pipeline's.

        Raises:
            Refused: it is not, or has lost its tags.
        """
        state, name = self.read(), self._names.endpoint
        if state is not None and state.untagged:
            lost = f"Key={OWNER},Value={self._service} Key={LIVE},Value=restored"
            raise Refused(
                f"the endpoint {name} has lost the tags by which this pipeline knows it; something else removed them",
                next=f"aws sagemaker add-tags --resource-arn {state.arn} --tags {lost}",
            )
        if state is not None and state.tags.get(OWNER) != self._service:
            raise Refused(
                f"there is an endpoint {name} that was not deployed by this pipeline",
                next=f"aws sagemaker delete-endpoint --endpoint-name {name}, if it is not needed; then run this again",
            )

    def settle(self, seconds: float = UPDATE_SECONDS) -> State | None:
        """What it is once it is not being changed; None if it does not exist.

        Raises:
            Unsettled: it timed out.
        """

        def done() -> tuple[State | None] | None:
            found = self.read()
            return (found,) if found is None or found.settled else None

        return wait(done, what=f"the endpoint {self._names.endpoint}", seconds=seconds)[0]

    def described(self, config: str) -> dict[str, dict[str, Any]]:
        """The variants of a configuration, by name, as SageMaker has them; none if it was deleted."""
        try:
            found = self._client.describe_endpoint_config(EndpointConfigName=config)
        except Exception as error:
            if missing(error):
                return {}
            raise
        return {one["VariantName"]: one for one in found["ProductionVariants"]}

    def create(self, variants: list[dict[str, Any]]) -> State | None:
        """Create it with these variants, and return what it is then; SageMaker may have failed to."""
        self._client.create_endpoint(
            EndpointName=self._names.endpoint,
            EndpointConfigName=self._config(variants),
            Tags=[{"Key": OWNER, "Value": self._service}],
        )
        return self.settle()

    def begin(self, state: State, kept: Iterable[str], added: list[dict[str, Any]]) -> str:
        """Start an update to those variants of ``state`` that are ``kept``, and the ``added`` ones; the configuration's name.

        Weights and numbers of instances stay as they are when the update begins.

        Raises:
            Busy: it is being changed.
            CloudError: its present configuration was deleted.
        """
        described = self.described(state.config)
        if not described:
            raise CloudError(f"the endpoint configuration {state.config} was deleted, while the endpoint uses it")
        variants = [
            {
                **described[name],
                "InitialVariantWeight": state.variants[name].weight,
                "InitialInstanceCount": state.variants[name].instances,
            }
            for name in sorted(kept)
        ]
        config = self._config([*variants, *added])
        with _busy():
            self._client.update_endpoint(
                EndpointName=self._names.endpoint, EndpointConfigName=config, RetainAllVariantProperties=True
            )
        return config

    def reweigh(self, weights: dict[str, float]) -> None:
        """Start to split traffic by these weights. SageMaker has no condition for that.

        Raises:
            Busy: it is being changed.
        """
        with _busy():
            self._client.update_endpoint_weights_and_capacities(
                EndpointName=self._names.endpoint,
                DesiredWeightsAndCapacities=[
                    {"VariantName": name, "DesiredWeight": weight} for name, weight in sorted(weights.items())
                ],
            )

    def mark(self, arn: str, note: str) -> None:
        """Record that it serves users, and by which shift."""
        text = "".join(letter for letter in note if letter.isalnum() or letter in " _.:/=+-@")
        self._client.add_tags(ResourceArn=arn, Tags=[{"Key": LIVE, "Value": text[:256]}])

    def delete(self) -> bool:
        """Delete it, and wait until it is gone; whether it existed."""
        if self.settle() is None:
            return False
        self._client.delete_endpoint(EndpointName=self._names.endpoint)
        wait(
            lambda: True if self.read() is None else None,
            what=f"the deletion of {self._names.endpoint}",
            seconds=UPDATE_SECONDS,
        )
        return True

    def sweep(self) -> None:
        """Delete the configurations that it does not use, and that this pipeline created."""
        state = self.read()
        used = {state.config, state.pending} if state else set()
        pages = self._client.get_paginator("list_endpoint_configs").paginate(NameContains=self._names.endpoint)
        listed = [one["EndpointConfigName"] for page in pages for one in page["EndpointConfigs"]]
        for config in listed:
            if config in used or not self._names.is_config(config):
                continue
            try:
                self._client.delete_endpoint_config(EndpointConfigName=config)
            except Exception as error:
                if not missing(error):
                    raise

    def _config(self, variants: list[dict[str, Any]]) -> str:
        """The configuration with these variants, created unless it exists."""
        name = self._names.config(variants)
        try:
            self._client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        except Exception as error:
            if code_of(error) != "ValidationException" or "already existing" not in str(error):
                raise
        return name


@contextmanager
def _busy() -> Iterator[None]:
    """Raise ``Busy`` for SageMaker's refusal to change an endpoint that is being changed."""
    try:
        yield
    except Exception as error:
        if code_of(error) == "ValidationException" and "in-progress" in str(error):
            raise Busy(str(error)) from error
        raise
