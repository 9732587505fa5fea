"""Where things happen: one environment, opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_delivery.errors import CloudError

if TYPE_CHECKING:
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.keys import Environment

__all__ = ["Context", "Foundation"]


@dataclass(frozen=True)
class Foundation:
    """What an environment stands on: its stack's outputs, and whether they are those of the template in the package.

    Attributes:
        bucket: holds artifacts and the ledger.
        outputs: all of the stack's outputs, those of the target's own part among them.
        current: whether the stack is as the package and ``pipeline.toml`` say.
    """

    bucket: str
    outputs: dict[str, str]
    current: bool


@dataclass(frozen=True)
class Context:
    """One environment, opened: what everything that acts on it is given."""

    config: Config
    environment: Environment
    cloud: Cloud
    foundation: Foundation

    @property
    def name(self) -> str:
        """``<service>-<environment>``, which names most of what it has on AWS."""
        return self.config.name_of(self.environment)

    @property
    def where(self) -> str:
        """What has to be added to a command for it to reach the same cloud: `` --cloud aws``, or nothing."""
        return "" if self.cloud.name == "embedded" else f" --cloud {self.cloud.name}"

    def output(self, name: str) -> str:
        """An output of the stack that the environment's target adds.

        Raises:
            CloudError: the stack has none of this name, since it was created for another target.
        """
        if name not in self.foundation.outputs:
            raise CloudError(
                f"the stack of {self.environment.name} has no {name}, which {self.environment.target} needs",
                next=f"invoke bootstrap --branch {self.environment.branch}{self.where}",
            )
        return self.foundation.outputs[name]
