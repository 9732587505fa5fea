"""``invoke batch``: the live release's model answers the lines of a file; and what can go wrong before it costs anything."""

from __future__ import annotations

import json
from pathlib import Path

import endpointed
from endpointing import based, root, service
from tiny import Tiny

__all__ = ["based", "root", "service"]  # fixtures
SETTINGS = '\n[jobs]\ninstance = "ml.m5.large"\ndollars_per_hour = 0.1\nminutes = 5\n'


def test_file_is_predicted_line_by_line(service: Tiny, tmp_path: Path) -> None:
    """Each line is a request to the live release, its answer the same line of FILE.out; a bad one is named."""
    service.write("pipeline.toml", (service.root / "pipeline.toml").read_text() + SETTINGS)
    file = tmp_path / "products.jsonl"
    file.write_text('{"item": 1}\n{"item": 2}\n')
    words = ("batch", str(file))
    nothing = service.invoke(*words, code=1)
    assert "does not exist yet on embedded" in nothing
    endpointed.repair(service, "first")
    service.replace("src/service/app.py", '"/echo"', '"/invocations"')
    service.commit()
    service.invoke("build", "push")
    assert "✗ nothing is live, so that nothing can answer\n  next: invoke deploy" in service.invoke(*words, code=1)
    service.invoke("deploy")
    printed = service.invoke(*words)
    model = f"{service.name}-production-r1"
    assert f"answers 2 lines with {model}, at most 0.08 hours of an instance, 0.01 USD; Ctrl-C stops it" in printed
    assert f": 2 lines in {file}.out, 0.0" in printed
    answers = [json.loads(line) for line in Path(f"{file}.out").read_text().splitlines()]
    assert [(one["CONTENT_TYPE"], one["body"]) for one in answers] == [
        ("application/json", '{"item": 1}'),
        ("application/json", '{"item": 2}'),
    ]
    Path(f"{file}.out").unlink()
    file.write_text('{"item": 1}\n{"item": \n')
    refused = service.invoke(*words, code=1)
    assert f"{file}, line 2: no JSON" in refused
    assert "write one request a line" in refused
    file.write_text("")
    assert "has 0 bytes; write one request a line" in service.invoke(*words, code=1)
    assert "No such file" in service.invoke("batch", str(tmp_path / "none.jsonl"), code=1)
    assert not Path(f"{file}.out").exists()
