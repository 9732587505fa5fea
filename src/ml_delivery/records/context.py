"""One environment, opened."""

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
    """An environment's foundation: its stack's outputs, and whether the stack is up to date.

    Attributes:
        bucket: the bucket of artifacts and the ledger.
        outputs: all of the stack's outputs, including those of the target's part.
        current: whether the stack matches the package's template and ``pipeline.toml``.
    """

    bucket: str
    outputs: dict[str, str]
    current: bool


@dataclass(frozen=True)
class Context:
    """One environment, opened: what everything that acts on it needs."""

    config: Config
    environment: Environment
    cloud: Cloud
    foundation: Foundation

    @property
    def name(self) -> str:
        """``<service>-<environment>``, the name of most of its resources on AWS."""
        return self.config.name_of(self.environment)

    @property
    def where(self) -> str:
        """What must be appended to a command so that it uses the same cloud: `` --cloud aws``, or nothing."""
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
