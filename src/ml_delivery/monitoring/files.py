"""The files that the definition is rendered to, and whether those in the tree are still theirs."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import yaml

from ml_delivery.account.stacks import INFRA
from ml_delivery.monitoring import template
from ml_delivery.monitoring.queries import place

if TYPE_CHECKING:
    from pathlib import Path

    from ml_delivery.config import Config

__all__ = ["differences", "queries", "rendered", "write"]

HEADER = "# Made by `invoke monitor --render` from ml_delivery/monitoring; changes here are lost.\n"


class _Dumper(yaml.SafeDumper):
    """Plain YAML: no anchors, and texts of several lines as such."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def queries(root: Path) -> dict[str, str]:
    """The Logs Insights queries of ``infra/queries``, by name."""
    folders = (INFRA / "queries", root / "infra/queries")
    return {path.stem: path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.glob("*.txt"))}


def rendered(config: Config) -> dict[str, str]:
    """Every file that is made of the definition: its path in the service, and its text; the same bytes each time."""
    from ml_delivery.monitoring import grafana

    known = queries(config.root)
    documents: dict[str, Any] = {"infra/monitoring.yaml": template.template(known)}
    for environment in config.environments.values():
        at = place(config, environment, environment.account)
        documents |= grafana.files(config, environment, at, known)
    documents |= grafana.shared(config)
    return {path: _written(path, document) for path, document in documents.items()}


def differences(config: Config) -> list[str]:
    """How the files in the tree differ from what they are made of: a unified diff, or a line for one that is missing."""
    lines: list[str] = []
    for path, text in rendered(config).items():
        file = config.root / path
        if not file.is_file():
            lines.append(f"{path} is missing")
            continue
        there = file.read_text(encoding="utf-8")
        lines += difflib.unified_diff(there.splitlines(), text.splitlines(), path, path, n=1, lineterm="")
    return lines


def write(config: Config) -> list[str]:
    """Write what differs; the paths that were written."""
    changed = []
    for path, text in rendered(config).items():
        file = config.root / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def _written(path: str, document: Any) -> str:
    if path.endswith(".json"):
        import json

        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
