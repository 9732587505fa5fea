"""Builds a clone of the service in a process of its own, by its commit's own package and target, not by those of the tree.

A newer package may pack the same commit to other bytes.

``python -m ml_delivery.release.rebuild CLONE BRANCH RESULT`` writes what it came to into the file RESULT, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

from ml_delivery import config
from ml_delivery.artifact import build
from ml_delivery.errors import BuildError, PipelineError

__all__ = ["Rebuilt", "rebuild"]


@dataclass(frozen=True)
class Rebuilt:
    """The digests of a rebuild: of the file or image, and of its contents."""

    digest: str
    content: str


def rebuild(root: Path, clone: Path, branch: str) -> Rebuilt:
    """Build ``clone``, a clone of the service in ``root``, for the environment of ``branch``.

    Raises:
        BuildError: it can't be built.
    """
    path = [entry for entry in sys.path if entry and Path(entry) != root]
    with tempfile.TemporaryDirectory() as folder:
        for wheel in clone.glob("vendor/ml_delivery-*.whl"):
            with zipfile.ZipFile(wheel) as vendored:
                vendored.extractall(Path(folder, "package"))
            path.insert(0, str(Path(folder, "package")))
        path.insert(0, str(clone))  # what is ejected there wins
        result = Path(folder, "result.json")
        words = [sys.executable, "-m", "ml_delivery.release.rebuild", str(clone), branch, str(result)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        done = subprocess.run(words, cwd=clone, env=variables, capture_output=True, text=True, check=False)
        if not result.is_file():
            raise BuildError(f"the rebuild exited with code {done.returncode}: {done.stderr.strip()[-500:]}")
        found = json.loads(result.read_text(encoding="utf-8"))
    if "message" in found:
        remedy = "check that commit out, then invoke build"  # the error's own remedy would be one for the clone
        raise BuildError(f"the commit can't be built again: {found['message']}", next=remedy)
    return Rebuilt(**found)


def _main(clone: Path, branch: str, result: Path) -> None:
    try:
        made = build.build(config.load(clone), branch)
        found = asdict(Rebuilt(made.digest, made.content))
    except PipelineError as error:
        found = {"message": error.message}
    result.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
