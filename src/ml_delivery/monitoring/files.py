"""Monitoring as files, to provision Grafana from files or to inspect them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from ml_delivery.monitoring import stack
from ml_delivery.monitoring.definition import observed
from ml_delivery.observed import Place

if TYPE_CHECKING:
    from ml_delivery.config import Config

__all__ = ["FOLDER", "rendered", "write"]

FOLDER = "build/monitoring"


class _Dumper(yaml.SafeDumper):
    """Plain YAML, without anchors, and with multi-line strings as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def rendered(config: Config) -> dict[str, str]:
    """The text of each file by its path in the service, with the same bytes each time: the template of each environment's
    monitoring stack, and Grafana's provisioning files.

    Raises:
        ConfigError: ``infra/metrics.toml`` or ``[monitoring]`` is wrong.
    """
    from ml_delivery.monitoring import grafana

    found, documents = dict[str, str](), grafana.shared(config)
    for name, environment in config.environments.items():
        found[f"{FOLDER}/{name}.json"] = stack.wanted(config, environment).body
        at = Place(config, environment, environment.account)
        documents |= grafana.files(at, observed(at))
    return found | {f"{FOLDER}/grafana/{path}": _written(path, document) for path, document in documents.items()}


def write(config: Config) -> list[str]:
    """Write the files that differ; returns their paths."""
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
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
