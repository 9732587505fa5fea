"""docs/howto/fastapi.md, done as it is written: its files written, its changes applied, its commands typed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from bake import ROOT, bake, start
from site_pages import written
from test_own_model import run

PAGE = (ROOT / "docs/howto/fastapi.md").read_text(encoding="utf-8")


def test_service_is_served_with_fastapi(tmp_path: Path) -> None:
    """The application of the page passes its checks and the contract, is deployed as a function, and answers."""
    files, changes = written(PAGE)
    assert {name for name, _ in files} == {"src/service/app.py", "tests/test_service.py"}
    made = bake(tmp_path / "out", starter="blank", project_slug="trips")
    start(made)
    run(made, "make setup")
    for name, content in files:
        (made / name).write_text(content, encoding="utf-8")
    for change in changes:
        subprocess.run(["git", "apply", "-"], cwd=made, input=change, text=True, check=True)
    try:
        printed = {" ".join(one.split()[:2]): run(made, one) for one in re.findall(r"^\$ (.*)$", PAGE, re.M)}
    finally:
        run(made, "invoke cloud.down")
    assert printed["nox -s"].count("was successful") == 3
    assert "✗" not in printed["invoke doctor"]
    assert "release 1 is verified" in printed["make deploy"]
    assert 20 < json.loads(printed["invoke call"])["minutes"] < 40
