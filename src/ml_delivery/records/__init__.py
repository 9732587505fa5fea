"""The records: Source → Manifest → Artifact → Release, and what a target reports.

Each record is made in one place and read by later stages; none refers to a later one. ``formats.py`` writes and reads those
that are stored in the ledger and the bucket.

context     one environment, opened
releases    releases, and what a target reports about them
artifacts   what is built, and from what
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

if TYPE_CHECKING:
    from ml_delivery.records.releases import (
        DIGEST_VARIABLE,
        FAILED,
        RELEASE_VARIABLE,
        ROLLED_BACK,
        STAGED,
        VERIFIED,
        Answer,
        Cost,
        Line,
        Live,
        Look,
        Numbers,
        Release,
        Removed,
        Settings,
        Traffic,
    )
else:

    def __getattr__(name):
        """What ``releases`` has; imported when it is first used, since a build needs none of it."""
        if name == "releases" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_module(f"{__name__}.releases"), name)


__all__ = [
    "DIGEST_VARIABLE",
    "FAILED",
    "RELEASE_VARIABLE",
    "ROLLED_BACK",
    "STAGED",
    "VERIFIED",
    "Answer",
    "Artifact",
    "Content",
    "Context",
    "Cost",
    "Differences",
    "Foundation",
    "Layer",
    "Limit",
    "Line",
    "Live",
    "Look",
    "Manifest",
    "Numbers",
    "Packed",
    "Provenance",
    "Pruned",
    "Pushed",
    "Release",
    "Removed",
    "Replaced",
    "Settings",
    "Source",
    "Traffic",
    "Unimported",
]
