"""The deployer of one environment's endpoint: a model and a variant for each release, weights that split traffic."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ml_delivery.containers import images
from ml_delivery.errors import Moved, Refused
from ml_delivery.records import Answer, Idle, Line, Live
from ml_delivery.target import Deployer
from ml_delivery.targets.sagemaker import calls, costs, reasons, settings, variant_metrics
from ml_delivery.targets.sagemaker.endpoint import FAILED, UPDATE_SECONDS, Busy, Endpoint, State
from ml_delivery.targets.sagemaker.models import Models
from ml_delivery.targets.sagemaker.names import Names, number_of
from ml_delivery.targets.sagemaker.variants import Variants, shares_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml_delivery.records import Artifact, Context, Cost, Numbers, Release, Removed, Settings, Traffic

__all__ = ["SagemakerDeployer"]

# AWS publishes an endpoint's metrics per minute, a few minutes late.
METRICS_PERIOD, METRICS_DELAY, DAY = 60, 180, 86_400


class SagemakerDeployer(Deployer):
    """The endpoint of one environment."""

    wakes_within = UPDATE_SECONDS

    def __init__(self, context: Context) -> None:
        self.context, self.names = context, Names(context.name)
        self.own = settings.of(context.environment)
        self._service, self._where = (
            context.config.service.name,
            f"--branch {context.environment.branch}{context.where}",
        )
        self._ping = next(iter(context.environment.probe.paths), "/version")
        self._waking: set[str] = set()  # the variants that this process has started again
        self._asked: dict[str, list[float]] = {}  # when this process itself called each variant
        if context.cloud.name == "aws":
            self.least_pause, self.least_period = METRICS_DELAY + METRICS_PERIOD, METRICS_PERIOD
            self.metrics_delay = METRICS_DELAY

    @cached_property
    def client(self) -> Any:
        """SageMaker's client."""
        return self.context.cloud.client("sagemaker")

    @cached_property
    def endpoint(self) -> Endpoint:
        """The endpoint."""
        return Endpoint(self.client, self.names, self._service)

    @cached_property
    def models(self) -> Models:
        """The models of its releases."""
        return Models(self.client, self.names, self._service, self._where)

    @cached_property
    def variants(self) -> Variants:
        """Which variants the endpoint has."""
        return Variants(self.endpoint, self.names, self.own, self._where)

    # -- what the state machine needs

    def live(self) -> Live | None:
        with self.context.cloud.faults():
            state = self.endpoint.read()
            traffic = shares_of(state)
            if traffic is None or state is None:
                return None
            variant = self.endpoint.described(state.config).get(traffic.deployed)
            model = self.models.read(variant["ModelName"]) if variant else None
        if variant is None or model is None:  # which no update can do without
            gone = f"model {variant['ModelName']}" if variant else f"endpoint configuration {state.config}"
            raise Refused(
                f"{traffic.deployed} gets the traffic, but its {gone} was deleted, not by this pipeline",
                next=f"invoke retire {self._where}, then invoke deploy {self._where}; in between, nothing serves",
            )
        repository, _, digest = model.image.partition("@")
        kind = str(variant["InstanceType"])
        return Live(
            deployed=traffic.deployed,
            release=model.release,
            digest=digest,
            settings={
                "instance_type": kind,
                "instances": model.settings["instances"],
                "start": int(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 0)),
                "ping": model.ping,
                "role": model.role,
                "repository": repository,
                "architecture": settings.architecture(kind),
            },
            variables=model.variables,
            traffic=traffic,
        )

    def settings(self) -> Settings:
        return {
            "instance_type": self.own.instance_type,
            "instances": self.own.instances,
            "start": self.own.start,
            "ping": self._ping,
            "role": self.context.output("ServiceRole"),
            "repository": self.context.output("Repository"),
            "architecture": self.context.config.service.architecture,
        }

    def stage(self, release: Release, dropped: tuple[str, ...]) -> str:
        deployed, live, own = f"r{release.number}", self.live(), release.settings
        kept = {name: value for name, value in (live.variables if live else {}).items() if name not in dropped}
        with self.context.cloud.faults():
            self.endpoint.require_own()
            self.models.create(release, deployed, kept | release.environment, str(own["ping"]))
            state = self.endpoint.settle()
            if state is not None and state.status == FAILED:  # it can't be updated, and serves nothing
                self.endpoint.delete()
                state = None
            began = time.time()
            if state is None:
                made = self.endpoint.create([self.variants.described(deployed, own, weight=100)])
                if made is None or made.status == FAILED:
                    why = self._why(deployed, made, began)
                    self.endpoint.delete()  # what failed is not charged, but stands in the way of the next deploy
                    raise self._unhealthy(deployed, why)
            elif deployed not in state.variants:
                config, after = self.variants.add(state, deployed, own)
                if after is None or after.config != config:
                    raise self._unhealthy(deployed, self._why(deployed, after, began))
        return deployed

    def stored(self, artifact: Artifact) -> str:
        return images.stored(self.context.cloud, artifact)

    def call(
        self,
        path: str,
        deployed: str = "",
        *,
        method: str = "GET",
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        began = time.perf_counter()
        with self.context.cloud.faults():
            if not deployed and self.traffic() is None:
                return Answer(0, "", "nothing is live", time.perf_counter() - began, gone=True)
            runtime = self.context.cloud.client("sagemaker-runtime", read_timeout=calls.SECONDS)
            answer = calls.call(runtime, self.names.endpoint, deployed, method, path, body, headers or {})
            if answer.gone and deployed:
                return self._woken(deployed, answer)
            if not answer.waking:
                self._asked.setdefault(deployed, []).append(time.time())
            return answer

    def numbers(self, deployed: str, since: float) -> Numbers:
        asked = self._asked.get(deployed, [])
        return variant_metrics.numbers(
            self.context.cloud, self.names.endpoint, deployed, since, self.least_period or 1, asked
        )

    def traffic(self) -> Traffic | None:
        with self.context.cloud.faults():
            return shares_of(self.endpoint.read())

    def shift(self, wanted: Traffic | None, seen: Traffic | None, note: str) -> None:
        """As ``Deployer.shift``, but a compare-and-swap as far as SageMaker has one.

        It has no conditional change. The endpoint is read and compared just before the change; from then on, until the change
        is done, SageMaker refuses any other; then the result is read back. A change between that read and the request, some
        milliseconds, is overwritten unseen.
        """
        with self.context.cloud.faults():
            state = self.endpoint.read()
            there = shares_of(state)
            if (there and there.revision) != (seen and seen.revision):
                raise Moved("the traffic split was changed in the meantime, not by this deploy")
            if wanted is None:
                self.endpoint.delete()
                return
            if state is None or not state.settled or not wanted.all <= set(state.variants):
                raise Moved("the endpoint is being changed, or has no such variant any more, not by this deploy")
            self._reweigh(state, wanted)
            self.endpoint.mark(state.arn, note)

    def deployed(self) -> dict[str, int]:
        with self.context.cloud.faults():
            return {variant: number_of(variant) for variant in self.models.all()}

    def remove(self, deployed: str) -> None:
        with self.context.cloud.faults():
            state = self.endpoint.settle()
            if state and deployed in state.shares:
                return
            if state and deployed in state.variants:
                self.variants.trim(state, deployed)
            self.models.delete(deployed)

    def rest(self, deployed: str) -> None:
        with self.context.cloud.faults():
            state = self.endpoint.settle()
            if state and deployed in state.variants and deployed not in state.shares:
                self.variants.trim(state)

    def logs(self, since: float) -> Iterator[Line]:
        group = self.context.output("LogGroup")
        with self.context.cloud.faults():
            for event in reasons.events(self.context.cloud, group, since):
                yield Line(event["timestamp"] / 1000, event["message"].rstrip("\n"))

    def discard(self, keep: set[str], before: float) -> list[Removed]:
        with self.context.cloud.faults():
            self.endpoint.sweep()
        return images.discard(self.context.cloud, self.context.output("Repository"), keep, before)

    def cost(self, requests_per_second: float) -> Cost | None:
        traffic = self.traffic()
        p95 = self.numbers(traffic.deployed, time.time() - DAY).p95 if traffic else 0.0
        count = self.own.instances * (1 + self.own.standby)
        return costs.estimate(requests_per_second, self.own.instance_type, count, p95)

    def idle(self) -> Idle:
        with self.context.cloud.faults():
            self.endpoint.require_own()
            state = self.endpoint.read()
            models = [f"the model {self.names.model(variant)}" for variant in self.models.all()]
            if state is None:
                return Idle(tuple(models), 0.0)
            kinds = self.endpoint.described(state.config)
        running = [
            (str(kinds.get(name, {}).get("InstanceType", "")), one.instances) for name, one in state.variants.items()
        ]
        instances = [f"{count} × {kind or 'an unknown type'}" for kind, count in running]
        endpoint = f"the endpoint {self.names.endpoint} ({' and '.join(instances) or 'no instance'})"
        return Idle((endpoint, *models), costs.monthly(running))

    def retire(self) -> None:
        with self.context.cloud.faults():
            self.endpoint.require_own()
            self.endpoint.delete()  # first, since it is what costs
            self.endpoint.sweep()
            self.models.clear()  # last, since ``idle`` names them as long as something is left

    # -- parts

    def _reweigh(self, state: State, wanted: Traffic) -> None:
        """Split traffic as ``wanted``, and read back that it is so.

        Raises:
            Moved: something else changed the endpoint.
        """
        split = {**dict.fromkeys(state.variants, 0.0), **wanted.weights}
        split[wanted.deployed] = 100.0 - sum(wanted.weights.values())
        if split == {one.name: one.weight for one in state.variants.values()}:
            return
        try:
            self.endpoint.reweigh(split)
        except Busy as error:
            raise Moved(f"the endpoint is being changed, not by this deploy: {error}") from error
        after = self.endpoint.settle()
        if (
            after is None
            or after.config != state.config
            or split != {one.name: one.weight for one in after.variants.values()}
        ):
            raise Moved("the traffic split was changed in the meantime, not by this deploy")

    def _woken(self, deployed: str, answer: Answer) -> Answer:
        """The answer of a variant that was not found: it is added to the endpoint again if its model exists."""
        state = self.endpoint.read()
        waking = Answer(0, "", f"{deployed} is being started", answer.seconds, waking=True)
        if state is None:
            return answer
        if not state.settled:
            return waking
        if deployed in state.variants:  # since just now, or what was refused is the request itself
            ready = deployed in self._waking
            self._waking.discard(deployed)
            return waking if ready else answer
        if deployed in self._waking:
            return Answer(0, "", f"SageMaker could not start {deployed}: {state.reason}", answer.seconds)
        model = self.models.read(self.names.model(deployed))
        if model is None:
            return answer
        with suppress(Busy):
            self.variants.wake(state, deployed, model.settings)
            self._waking.add(deployed)
        return waking

    def _why(self, deployed: str, state: State | None, began: float) -> str:
        reason = state.reason if state else "the endpoint was deleted"
        return reasons.explained(self.context, self.names, deployed, reason, began)

    def _unhealthy(self, deployed: str, why: str) -> Refused:
        return Refused(f"{deployed} does not start: {why}", next=f"fix what it names, then invoke deploy {self._where}")
