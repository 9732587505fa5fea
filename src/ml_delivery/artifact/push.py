"""Pushes the built artifact to its environment, with its provenance."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ml_delivery import formats, source, target
from ml_delivery.artifact import build, store
from ml_delivery.cloud import chosen
from ml_delivery.errors import BuildError, ConfigError

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Context, Manifest, Pushed

__all__ = ["built", "push"]


def built(config: Config, cloud: str) -> Manifest:
    """The manifest of the last build, which must be of the current tree.

    Raises:
        BuildError: there is none, or the tree has changed since.
        SourceError: the tree has uncommitted changes and ``cloud`` is not the embedded one.
    """
    manifest = build.last(config.root)
    now = source.read(config.root)
    if manifest.version != now.version:
        raise BuildError(
            f"the last build is of {manifest.version}, but the tree is at {now.version}", next="invoke build"
        )
    source.require_clean(now, chosen(cloud))
    return manifest


def push(context: Context, manifest: Manifest) -> Pushed:
    """Push the artifact that ``manifest`` describes; idempotent.

    Its bill of materials and its manifest, which is its provenance, are stored first, so that an artifact's record never
    exists without them.

    Raises:
        ConfigError: it was built for a target other than the environment's.
        CloudError, BuildError, SetupError: as raised by the target's ``push``.
    """
    wanted = context.environment.target
    if manifest.target != wanted:
        raise ConfigError(
            "pipeline.toml",
            [
                f"environments.{context.environment.name}: the build is for the target {manifest.target}, not for {wanted}"
            ],
            next=f"invoke build --branch {context.environment.branch}",
        )
    kind, folder = target.load(wanted, context.config), context.config.root / build.FOLDER
    bill, kept = store.keep(context.cloud, context.foundation.bucket, folder, manifest.version)
    pushed = kind.push(context, manifest)
    other = formats.manifest("manifest.json", formats.read("manifest.json", kept))
    same = other.digest == manifest.digest if kind.same_bytes else other.content == manifest.content
    if not same or hashlib.sha256(bill).hexdigest() != manifest.sbom.removeprefix("sha256:"):
        # They are of another build, whose push failed before its record: what is recorded is this one.
        store.keep(context.cloud, context.foundation.bucket, folder, manifest.version, replace=True)
    return pushed
