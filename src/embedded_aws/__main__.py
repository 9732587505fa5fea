"""The server: ``embedded_aws.process`` runs this file as a script, with an interpreter that has ministack installed.

The package is loaded from the folder that holds this file, and nothing beside that folder is: in a service it lies in the
site-packages of the delivery environment, whose packages must not replace those that ministack was locked with.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    load()
    from embedded_aws.server import serve

    serve.main()
