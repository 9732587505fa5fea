"""Which variants an endpoint has: those with traffic, the new release, and the one that is kept ready for a rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml_delivery.errors import CloudError, Refused
from ml_delivery.records import Traffic
from ml_delivery.targets.sagemaker.endpoint import Busy, Endpoint, State
from ml_delivery.targets.sagemaker.names import Names, number_of

if TYPE_CHECKING:
    from ml_delivery.records import Settings
    from ml_delivery.targets.sagemaker.settings import SagemakerSettings

__all__ = ["Variants", "shares_of"]


class Variants:
    """The variants of one endpoint.

    Args:
        own: the settings in the configuration.
        where: the options by which a command reaches the environment, such as ``--branch main``.
    """

    def __init__(self, endpoint: Endpoint, names: Names, own: SagemakerSettings, where: str) -> None:
        self._endpoint, self._names, self._own, self._where = endpoint, names, own, where

    def described(self, deployed: str, own: Settings, instances: int = 1, weight: int = 0) -> dict[str, Any]:
        """A release's variant as SageMaker takes it, with at least this number of instances."""
        return {
            "VariantName": deployed,
            "ModelName": self._names.model(deployed),
            "InstanceType": own["instance_type"],
            "InitialInstanceCount": max(int(own["instances"]), instances),
            "InitialVariantWeight": weight,
            "ContainerStartupHealthCheckTimeoutInSeconds": own["start"],
        }

    def add(self, state: State, deployed: str, own: Settings) -> tuple[str, State | None]:
        """Add a release's variant without traffic, in place of older ones; the configuration it is in, and what there is then.

        Raises:
            Refused: something else is changing the endpoint.
        """
        serving = set(state.shares)
        kept = serving | self._standby(state) | _foreign(state)
        # Where nothing serves, a variant of weight 0 would be alone.
        added = self.described(deployed, own, _serving(state), weight=0 if serving else 100)
        try:
            config = self._endpoint.begin(state, kept, [added])
        except Busy as error:
            raise Refused(
                f"the endpoint is being changed, not by this deploy: {error}", next=f"invoke plan {self._where}"
            ) from error
        return config, self._endpoint.settle()

    def wake(self, state: State, deployed: str, own: Settings) -> None:
        """Start to add a variant without traffic, beside all others.

        Raises:
            Busy: the endpoint is being changed.
        """
        self._endpoint.begin(state, state.variants, [self.described(deployed, own, _serving(state))])

    def trim(self, state: State, dropped: str = "") -> None:
        """Take from the endpoint the variants without traffic, but for the one that is kept ready; in one update.

        Raises:
            CloudError: SageMaker could not.
        """
        serving = set(state.shares)
        kept = serving | self._standby(state, dropped) | _foreign(state)
        if not serving:  # no release was ever given traffic
            if set(state.variants) <= {dropped}:
                self._endpoint.delete()
            return
        if kept >= set(state.variants):
            return
        try:
            config = self._endpoint.begin(state, kept, [])
        except Busy as error:
            raise CloudError(f"UpdateEndpoint: {error}") from error
        after = self._endpoint.settle()
        if after is None or after.config != config:
            raise CloudError(f"UpdateEndpoint: {after.reason if after else 'the endpoint was deleted'}")

    def _standby(self, state: State, dropped: str = "") -> set[str]:
        """The variant that is kept ready for a rollback: the newest before what serves, where ``function.standby`` says so."""
        live = max((number_of(name) for name in state.shares), default=0)
        older = [name for name in state.variants if 0 < number_of(name) < live and name != dropped]
        return {max(older, key=number_of)} if self._own.standby and older else set()


def shares_of(state: State | None) -> Traffic | None:
    """How an endpoint splits traffic; the oldest release with a weight is the one that gets the rest."""
    if state is None or not (shares := state.shares):
        return None
    oldest_first = sorted(shares, key=lambda name: (number_of(name), name))
    return Traffic.weighed({name: shares[name] for name in oldest_first}, state.revision)


def _foreign(state: State) -> set[str]:
    """The variants that this pipeline did not stage, and leaves alone."""
    return {name for name in state.variants if not number_of(name)}


def _serving(state: State) -> int:
    """The most instances of a variant with traffic: a new release starts with no fewer."""
    return max((state.variants[name].instances for name in state.shares), default=1)
