"""The records: Source → Manifest → Artifact → Release, and what a target reports.

Each record is made in one place and read by later stages; none refers to a later one. ``formats.py`` writes and reads those
that are stored in the ledger and the bucket.

context     one environment, opened
releases    releases, and what a target reports about them
artifacts   what is built, and from what
"""

from ml_delivery.records.artifacts import Artifact, Content, Layer, Limit, Manifest, Packed, Provenance, Pushed, Source
from ml_delivery.records.context import Context, Foundation
from ml_delivery.records.releases import (
    DIGEST_VARIABLE,
    FAILED,
    RELEASE_VARIABLE,
    ROLLED_BACK,
    STAGED,
    VERIFIED,
    Answer,
    Cost,
    Live,
    Look,
    Numbers,
    Release,
    Removed,
    Settings,
    Traffic,
)

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
    "Foundation",
    "Layer",
    "Limit",
    "Live",
    "Look",
    "Manifest",
    "Numbers",
    "Packed",
    "Provenance",
    "Pushed",
    "Release",
    "Removed",
    "Settings",
    "Source",
    "Traffic",
]
