"""``image.lock``: the digests of base images, so that a tag that moves changes no build. Without the file, each build looks it up.

A line for each base, ``NAME@sha256:DIGEST``, where NAME is as in ``build.base`` or the Dockerfile. The service's repository has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.containers.reading import DIGEST
from ml_delivery.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.files import Files

__all__ = ["FILE", "UPDATE", "bases", "by_digest", "of_source", "record"]

FILE = "image.lock"
UPDATE = "invoke build --update-base"
HEAD = f"# Base images by their digests; `{UPDATE}` updates them.\n"


def bases(text: str) -> dict[str, str]:
    """The digest of each base image that ``text``, the file, names.

    Raises:
        BuildError: a line is not a name with a digest.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            name, _, digest = line.strip().partition("@")
            if not name or not DIGEST.fullmatch(digest):
                raise BuildError(f"{FILE}, line {number}, is not NAME@sha256:DIGEST: {line[:80]}", next=UPDATE)
            found[name] = digest
    return found


def of_source(files: Files) -> dict[str, str] | None:
    """The digests in the source's own file; None if it has none.

    Raises:
        BuildError: as ``bases``.
        SourceError: the file is on the disk only.
    """
    try:
        return bases(files.one(FILE).decode("utf-8", "replace"))
    except FileNotFoundError:
        return None


def by_digest(name: str, known: dict[str, str] | None) -> str:
    """The base image ``name``, with its digest if that is known.

    Raises:
        BuildError: there is a file, and it does not name this base.
    """
    if known is None or "@" in name:
        return name
    if name not in known:
        raise BuildError(f"{FILE} does not name the base image {name}", next=f"{UPDATE}, and commit {FILE}")
    return f"{name}@{known[name]}"


def record(root: Path, base: str) -> bool:
    """Write the base image ``base``, a name with a digest, into the file; returns whether that changed it.

    Raises:
        BuildError: as ``bases``.
    """
    file = root / FILE
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    name, _, digest = base.partition("@")
    known = {**bases(before), name: digest}
    after = HEAD + "".join(f"{one}@{of}\n" for one, of in sorted(known.items()))
    if after == before:
        return False
    temporary = file.with_name(f"{FILE}.new")
    temporary.write_text(after, encoding="utf-8")
    temporary.replace(file)
    return True
