"""Source → Manifest → Artifact: what is built, and from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "Artifact",
    "Content",
    "Differences",
    "Layer",
    "Limit",
    "Manifest",
    "Packed",
    "Provenance",
    "Pruned",
    "Pushed",
    "Replaced",
    "Source",
    "Unimported",
]


@dataclass(frozen=True)
class Source:
    """A commit, and whether the working tree differs from it.

    Attributes:
        commit: the checked-out commit, 40 hex digits.
        branch: the checked-out branch; empty for a detached HEAD.
        tree: git's digest of the commit's files, or if the tree is dirty, a digest of how it differs from them.
        dirty: whether the working tree differs from the commit's, ignored files apart.
    """

    commit: str
    branch: str
    tree: str
    dirty: bool

    @property
    def version(self) -> str:
        """The name of this source's artifacts: the commit, marked if the tree is dirty."""
        return f"{self.commit}-dirty-{self.tree[:12]}" if self.dirty else self.commit


@dataclass(frozen=True)
class Content:
    """A package's share of an artifact: how many files, and their size in bytes, unpacked and, in a ZIP, zipped."""

    package: str
    files: int
    size: int
    zipped: int


@dataclass(frozen=True)
class Layer:
    """An image layer that the service adds: its name, its digest in the engine, and its files' size in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Pruned:
    """Files of a package that are left out of the artifact: by which pattern, how many, and their size in bytes."""

    package: str
    rule: str
    files: int
    size: int


@dataclass(frozen=True)
class Replaced:
    """A file of ``package`` that is not in the artifact, since ``by`` has another one with the same path."""

    path: str
    package: str
    by: str


@dataclass(frozen=True)
class Unimported:
    """A module of a package that can't be imported on the machine that built, and Python's reason."""

    module: str
    package: str
    reason: str


@dataclass(frozen=True)
class Differences:
    """How an artifact differs from what pip would install, and the result of importing its packages.

    Attributes:
        pruned: what is left out.
        replaced: files of which two packages have different ones.
        unimported: what can't be imported.
        imported: how many modules were imported; 0 where the machine can't load what is built for another architecture.
    """

    pruned: tuple[Pruned, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    unimported: tuple[Unimported, ...] = ()
    imported: int = 0


@dataclass(frozen=True)
class Manifest:
    """What was built, and from what; ``build/manifest.json``.

    Attributes:
        version: the source's (``Source.version``); ``commit``, ``tree`` and ``dirty`` are its parts.
        target: the target that it was built for.
        digest: sha256 of the file that was built; of an image, its manifest's, or its id in the engine that built it.
        size, unzipped: in bytes; for an image, what the service adds to its base image.
        content: digest of its contents, which the service returns at ``/version``.
        lock, sbom: digests of the lockfile ``requirements/serve.txt`` and of the bill of materials.
        model: digest of the primary model; empty for a service without one.
        interpreter: what compiled its bytecode, with the patch version: ``CPython 3.12.1``; empty where that was not recorded.
        image: its name, and ``layers`` those that the service adds; both empty for a ZIP.
        engine: the container engine that built the image and has it; empty where ``build/image`` is the image, or for a ZIP.
        differences: from what pip would install.
        base: the name of an image's base, with ``@`` and its digest, as far as an engine knows them.
        base_layers: the digests of the base's unpacked layers.
        builder: who built it: the ARN of a CodeBuild project; empty for any other machine.
        invocation: CodeBuild's ARN of the build, and when it ``started`` (seconds since 1970).
    """

    version: str
    commit: str
    tree: str
    dirty: bool
    target: str
    digest: str
    size: int
    unzipped: int
    content: str
    lock: str
    sbom: str
    model: str
    python: str
    architecture: str
    contents: tuple[Content, ...]
    image: str = ""
    layers: tuple[Layer, ...] = ()
    interpreter: str = ""
    differences: Differences = Differences()
    base: str = ""
    base_layers: tuple[str, ...] = ()
    builder: str = ""
    invocation: str = ""
    started: float = 0.0
    engine: str = ""


@dataclass(frozen=True)
class Artifact:
    """A pushed artifact.

    Attributes:
        version: the source it was built from (``Source.version``).
        digest: of what the target runs: ``sha256:`` and 64 hex digits.
        content: digest of its contents, which the service returns at ``/version``.
        model: digest of its primary model; empty for none.
        location: its key in the environment's bucket; for an image, its URI with the digest.
        size: in bytes.
        tag: the semantic version that git's tag gives its commit, such as ``v1.4.2``; empty for none.
    """

    version: str
    commit: str
    dirty: bool
    digest: str
    content: str
    model: str
    python: str
    architecture: str
    location: str
    size: int
    tag: str = ""

    @classmethod
    def of(cls, manifest: Manifest, digest: str, location: str) -> Artifact:
        """The artifact that ``manifest`` describes, pushed with this digest to this location."""
        return cls(
            version=manifest.version,
            commit=manifest.commit,
            dirty=manifest.dirty,
            digest=digest,
            content=manifest.content,
            model=manifest.model,
            python=manifest.python,
            architecture=manifest.architecture,
            location=location,
            size=manifest.size,
        )


@dataclass(frozen=True)
class Provenance:
    """What the statement says that a build made beside its artifact.

    Attributes:
        digest: the artifact's.
        source: the commit, or the working tree's digest where it had uncommitted changes.
        environment: the environment that it was pushed to.
        builder: the ARN of the CodeBuild project that built it; empty for any other machine.
        invocation: CodeBuild's ARN of the build.
        sbom: the digest of its bill of materials.
    """

    digest: str
    source: str
    environment: str
    builder: str
    invocation: str
    sbom: str


@dataclass(frozen=True)
class Pushed:
    """What a push did: the artifact, and whether its bytes had to be uploaded.

    ``tag``: the semantic version that it can also be found by; empty if its commit has none, None if it has no such name.
    """

    artifact: Artifact
    uploaded: bool
    tag: str | None = None


@dataclass(frozen=True)
class Limit:
    """The maximum unpacked size of an artifact in bytes, its ``reason``, such as ``build.budget is 200 MB``, and what can be done
    ``instead`` of a smaller artifact; empty for nothing."""

    size: int
    reason: str
    instead: str = ""


@dataclass(frozen=True)
class Packed:
    """The result of packing: the fields of ``Manifest`` that only the target knows, and ``files`` to move to ``build/``."""

    digest: str
    size: int
    contents: tuple[Content, ...]
    files: tuple[tuple[Path, str], ...] = ()
    image: str = ""
    layers: tuple[Layer, ...] = ()
    base: str = ""
    base_layers: tuple[str, ...] = ()
    engine: str = ""
