"""The emulator's processes: ``embedded_aws.process`` runs this file as a script, with an interpreter that has ministack installed.

Without an argument it is the server; ``cluster`` supervises a Kubernetes cluster, ``node`` is the first process of one, and
``front`` stands in front of one that a kubeconfig names, and ``container`` in front of one that it starts in a container.

The package is loaded from the folder that holds this file, and nothing beside that folder is: in a service it lies in the
site-packages of the delivery environment, whose packages must not replace those that ministack was locked with.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from pathlib import Path


def load() -> None:
    """Make the package ``embedded_aws`` importable without changing ``sys.path``."""
    here = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "embedded_aws", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["embedded_aws"] = package
    spec.loader.exec_module(package)


def main() -> None:
    """Run the process that the first argument names."""
    load()
    gc.set_threshold(10_000)  # most of what it loads stays
    match sys.argv.pop(1) if len(sys.argv) > 1 else "":
        case "cluster":
            from embedded_aws.kubernetes import supervisor

            supervisor.main()
        case "front":
            from embedded_aws.kubernetes import existing

            existing.main()
        case "container":
            from embedded_aws.kubernetes import k3s

            k3s.main()
        case "node":
            from embedded_aws.kubernetes.node import main as node

            node.main()
        case _:
            from embedded_aws.server import serve

            serve.main()


if __name__ == "__main__":
    main()
