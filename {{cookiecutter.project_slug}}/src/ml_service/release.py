"""The release that this process belongs to: the build wrote ``release.json``, the deploy sets ``RELEASE_NUMBER`` and
``RELEASE_DIGEST``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Release", "read"]


@dataclass(frozen=True)
class Release:
    """A release. In a checkout, which is not built, ``number`` is 0, and ``commit`` and ``version`` are "unreleased".

    Attributes:
        model: digest of the primary model; empty for a service without one.
        content: digest of everything in the artifact.
        digest: of the artifact itself, as it was approved; empty where no deploy has set it.
    """

    number: int
    commit: str
    version: str
    model: str
    content: str
    digest: str = ""

    def document(self, model: str | None = None) -> dict[str, Any]:
        """What ``/version`` answers, which a deploy compares with the release that it made.

        Args:
            model: digest of the model that is open, if the service knows it; default: that of ``release.json``.
        """
        return {
            "release": self.number,
            "commit": self.commit,
            "version": self.version,
            "model": self.model if model is None else model,
            "content": self.content,
            **({"digest": self.digest} if self.digest else {}),
        }


def read() -> Release:
    """This process's release; ``release.json`` is at the artifact's root, beside the packages."""
    try:
        built = json.loads((Path(__file__).parents[1] / "release.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        built = {"commit": "unreleased", "version": "unreleased", "model": "", "content": ""}
    number = int(os.environ.get("RELEASE_NUMBER", "0"))
    digest = os.environ.get("RELEASE_DIGEST", "")
    return Release(number, built["commit"], built["version"], built["model"], built["content"], digest)
