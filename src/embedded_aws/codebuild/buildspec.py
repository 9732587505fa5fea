"""Which buildspecs this emulator runs: version 0.2, with the keys that are listed here; any other fails the build.

https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from embedded_aws.codebuild.log import Stop

PHASES = ("install", "pre_build", "build", "post_build")
KNOWN = {"version", "env", "phases", "cache"}
KNOWN_ENV = {"shell", "variables", "exported-variables"}
KNOWN_PHASE = {"commands", "finally", "on-failure", "runtime-versions"}


def read(source: Path, name: str) -> dict[str, Any]:
    """The buildspec ``name`` of the clone ``source``; a name of several lines is the buildspec itself.

    Raises:
        Stop: it is missing, is not YAML, or has keys that this emulator does not support.
    """
    try:
        spec = yaml.safe_load(name if "\n" in name else (source / name).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Stop("FAILED", "YAML_FILE_ERROR", f"{name.splitlines()[0]}: {error}") from error
    _check(spec, "the buildspec" if "\n" in name else name)
    return dict(spec)


def _check(spec: Any, name: str) -> None:
    unknown: list[str] = []
    if not isinstance(spec, dict) or spec.get("version") != 0.2 or not isinstance(spec.get("phases"), dict):
        raise Stop("FAILED", "YAML_FILE_ERROR", f"{name}: version 0.2 with phases is needed")
    unknown += set(spec) - KNOWN
    unknown += [f"env.{key}" for key in set(spec.get("env") or {}) - KNOWN_ENV]
    for phase, content in spec["phases"].items():
        unknown += [phase] if phase not in PHASES else []
        unknown += [f"phases.{phase}.{key}" for key in set(content or {}) - KNOWN_PHASE]
    if unknown:
        raise Stop("FAILED", "YAML_FILE_ERROR", f"{name}: the embedded AWS does not know {', '.join(sorted(unknown))}")


def cached(spec: dict[str, Any]) -> list[str]:
    """The folders in the source that are kept from build to build."""
    paths = [path.removesuffix("/**/*") for path in (spec.get("cache") or {}).get("paths") or []]
    return [path for path in paths if not path.startswith(("/", "..", "~"))]
