"""The records: Source → Manifest → Artifact → Release, and what a target reports.

Each record is made in one place and read by later stages; none refers to a later one. ``formats.py`` writes and reads those
that are stored in the ledger and the bucket.

context      one environment, opened
experiments  an A/B of two releases
releases     releases, and what a target reports about them
artifacts    what is built, and from what
variables    the variables that each release adds
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ml_delivery.records.artifacts import (
    Artifact,
    Content,
    Differences,
    Layer,
    Limit,
    Manifest,
    Packed,
    Provenance,
    Pruned,
    Pushed,
    Replaced,
    Source,
    Unimported,
)
from ml_delivery.records.context import Context, Foundation
from ml_delivery.records.variables import DIGEST_VARIABLE, RELEASE_VARIABLE

if TYPE_CHECKING:
    from ml_delivery.records.experiments import (
        RUNNING,
        STARTING,
        STOPPED,
        STOPPING,
        Arm,
        Experiment,
        Measured,
        Reading,
        Rule,
        Verdict,
    )
    from ml_delivery.records.releases import (
        FAILED,
        RETIRED,
        ROLLED_BACK,
        STAGED,
        VERIFIED,
        Answer,
        Cost,
        Idle,
        Line,
        Live,
        Look,
        Numbers,
        Release,
        Removed,
        Settings,
        Took,
        Traffic,
    )
else:
    _EXPERIMENTS = {
        "RUNNING",
        "STARTING",
        "STOPPED",
        "STOPPING",
        "Arm",
        "Experiment",
        "Measured",
        "Reading",
        "Rule",
        "Verdict",
    }

    def __getattr__(name):
        """What ``releases`` and ``experiments`` have; imported when it is first used, since a build needs none of it."""
        if name in ("releases", "experiments") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(f"{__name__}.{'experiments' if name in _EXPERIMENTS else 'releases'}"), name)


__all__ = [
    "DIGEST_VARIABLE",
    "FAILED",
    "RELEASE_VARIABLE",
    "RETIRED",
    "ROLLED_BACK",
    "RUNNING",
    "STAGED",
    "STARTING",
    "STOPPED",
    "STOPPING",
    "VERIFIED",
    "Answer",
    "Arm",
    "Artifact",
    "Content",
    "Context",
    "Cost",
    "Differences",
    "Experiment",
    "Foundation",
    "Idle",
    "Layer",
    "Limit",
    "Line",
    "Live",
    "Look",
    "Manifest",
    "Measured",
    "Numbers",
    "Packed",
    "Provenance",
    "Pruned",
    "Pushed",
    "Reading",
    "Release",
    "Removed",
    "Replaced",
    "Rule",
    "Settings",
    "Source",
    "Took",
    "Traffic",
    "Unimported",
    "Verdict",
]
