"""Pushes the built artifact to its environment, with its provenance."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ml_delivery import source, target
from ml_delivery.artifact import build, provenance, store
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
    """Push the artifact that ``manifest`` describes, with its bill of materials and its provenance; idempotent.

    The bill is stored first, under its own digest: so an artifact's record never exists without it, and another build's never
    takes its place. The provenance is last, since only the registry knows an image's digest; without it nothing is released.

    Raises:
        ConfigError: it was built for a target other than the environment's.
        BuildError: the bill of materials is not the build's.
        CloudError, SetupError: as raised by the target's ``push``.
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
    bill = (context.config.root / build.FOLDER / "sbom.cdx.json").read_bytes()
    if f"sha256:{hashlib.sha256(bill).hexdigest()}" != manifest.sbom:
        raise BuildError("build/sbom.cdx.json is not of the last build", next="invoke build")
    store.keep(context.cloud, context.foundation.bucket, manifest.version, bill)
    pushed = target.load(wanted, context.config).push(context, manifest)
    provenance.keep(context, manifest, pushed.artifact)
    return pushed
