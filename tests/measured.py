"""A tiny service that reports its own failures by deployed version, as the starters do."""

from __future__ import annotations

import shutil

from faults.harness import Service
from tiny import TEMPLATE, Tiny

from ml_delivery.keys import Deploy

CANARY = Deploy(strategy="canary", weight=50, pause=6, period=1)
# As the starters do: exceptions are caught, answered with 500, and reported in the line of the request.
HANDLER = """\
import json, os, pathlib

from ml_service.telemetry import line

RELEASE = json.loads((pathlib.Path(__file__).parent.parent / "release.json").read_text())
BAD = os.environ.get("BAD", "")


def handler(event, context):
    path, number = event["rawPath"], int(os.environ["RELEASE_NUMBER"])
    given = json.loads(event["body"]) if event.get("body") else {}
    status = 500 if BAD == "500" and path == "/" else 200
    print(line("info", path=path, status=status, Failures=int(status >= 500), Release=number))
    price = 2 * given.get("quantity", 0) + (1 if BAD == "price" else 0)
    body = {"release": number, "price": price, "lines": [{"ok": True}], "given": given, **RELEASE}
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
"""


def serve(tiny: Tiny) -> Service:
    """Deploy it, and return what changes it and calls it."""
    shutil.copytree(TEMPLATE / "src/ml_service", tiny.root / "src/ml_service", ignore=shutil.ignore_patterns("__*__"))
    (tiny.root / "src/ml_service/__init__.py").touch()
    service = Service(tiny, CANARY, HANDLER)
    service.deploy(NOTE="good")
    return service
