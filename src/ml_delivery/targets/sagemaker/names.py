"""The names of what an environment has in SageMaker.

At most 63 characters are allowed, which the longest names of a service and its environment leave room for.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

__all__ = ["LIVE", "OWNER", "PING_VARIABLE", "RELEASE", "Names", "number_of"]

# Tags of this package: the service that a resource is of; a model's release; of an endpoint, the last shift of its traffic.
OWNER, RELEASE, LIVE = "ml-delivery:service", "ml-delivery:release", "ml-delivery:live"
# A variable that this target adds: the path that answers SageMaker's health check.
PING_VARIABLE = "PING_PATH"
VARIANT = re.compile(r"r(\d+)")
DIGITS = 12  # of a configuration's digest, in its name


def number_of(variant: str) -> int:
    """The number of the release that a variant is; 0 for one that was not deployed by this pipeline."""
    found = VARIANT.fullmatch(variant)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Names:
    """The names below one endpoint's."""

    endpoint: str

    @property
    def log_group(self) -> str:
        """Where its containers log."""
        return f"/aws/sagemaker/Endpoints/{self.endpoint}"

    def model(self, variant: str) -> str:
        """The model of a release's variant."""
        return f"{self.endpoint}-{variant}"

    def variant(self, model: str) -> str:
        """The variant of a release's model; empty if the model is not one."""
        _, _, rest = model.partition(f"{self.endpoint}-")
        return rest if model == f"{self.endpoint}-{rest}" and number_of(rest) else ""

    def config(self, variants: list[dict[str, Any]]) -> str:
        """The endpoint configuration with these variants: one name for one content."""
        content = hashlib.sha256(json.dumps(variants, sort_keys=True).encode()).hexdigest()
        return f"{self.endpoint}-{content[:DIGITS]}"

    def is_config(self, name: str) -> bool:
        """Whether a configuration has a name as ``config`` makes it."""
        return bool(re.fullmatch(rf"{re.escape(self.endpoint)}-[0-9a-f]{{{DIGITS}}}", name))
