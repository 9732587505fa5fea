"""The built artifact, put where its environment finds it, with what says where it came from."""

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
    """The manifest of the last build, if it is one of the tree as it is now.

    Raises:
        BuildError: there is none, or the tree has changed since.
        SourceError: the tree is dirty and ``cloud`` is not the embedded one.
    """
    manifest = build.last(config.root)
    now = source.read(config.root)
    if manifest.version != now.version:
        raise BuildError(f"the last build is of {manifest.version}, the tree is {now.version}", next="invoke build")
    source.require_clean(now, chosen(cloud))
    return manifest


def push(context: Context, manifest: Manifest) -> Pushed:
    """Push what ``manifest`` describes; pushing it again changes nothing.

    Its bill of materials and its manifest, which is its provenance, are kept first: whoever finds the record of an artifact
    finds where it came from.

    Raises:
        ConfigError: it was built for another target than the environment's.
        CloudError, BuildError, SetupError: as the target's ``push`` raises them.
    """
    wanted = context.environment.target
    if manifest.target != wanted:
        raise ConfigError(
            "pipeline.toml",
            [
                f"environments.{context.environment.name}: the build is for {manifest.target}, this environment is {wanted}"
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
