"""The starters: what they hold, that they agree, and that blank is deployed in its first minute."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from bake import QUESTIONS, bake, commit, files, git, start
from test_bake import run
from tiny import TEMPLATE

from local_extensions.answers import CHOICES
from ml_delivery import keys
from ml_delivery.dependencies import locks

STARTERS = sorted(path.name for path in (TEMPLATE / "starters").iterdir() if (path / "pyproject.toml").exists())
# Whatever is of the example of another starter.
PRICING = re.compile(rb"\bpric(e|es|ing)\b|elastic|regret|\bsales\b|stockcode|onnx(?! binary)|lightgbm|optuna", re.I)


def test_every_starter_can_be_chosen_and_says_what_it_is() -> None:
    """The question offers the folders that there are, each with its words."""
    assert sorted(CHOICES["starter"]) == STARTERS
    assert all(f"{starter} (" in QUESTIONS["__prompts__"]["starter"] for starter in STARTERS)


@pytest.mark.parametrize("target", CHOICES["target"])
def test_blank_is_small_and_holds_nothing_of_pricing(tmp_path: Path, target: str) -> None:
    """At most 60 files, and 3,000 lines beside its locks."""
    found = files(bake(tmp_path / "out", starter="blank", target=target, licence="Apache-2.0"))
    assert len(found) <= 60
    written = {n: c for n, c in found.items() if not n.startswith("vendor/") and not re.match("requirements/.*txt$", n)}
    assert sum(content.count(b"\n") for content in written.values()) <= 3000
    # The thresholds of pricing's two alarms are keys of [monitoring] until the service declares its own alarms.
    written["pipeline.toml"] = re.sub(rb"max_(drift|backup) .*\n", b"", written["pipeline.toml"])
    held = {name: PRICING.findall(content) for name, content in written.items() if PRICING.search(content)}
    assert not held


def test_readme_counts_the_files_of_blank(tmp_path: Path) -> None:
    """Of a bake with the default answers."""
    found = files(bake(tmp_path / "out", starter="blank"))
    readme = (TEMPLATE.parent / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"with `blank` (\d+) files", readme) == [str(len(found))]


@pytest.mark.parametrize("starter", STARTERS)
def test_settings_are_whole(tmp_path: Path, starter: str) -> None:
    """``pipeline.toml`` of each starter shows every key that there is, and its gate is the service's own."""
    found = tomllib.loads((bake(tmp_path / "out", starter=starter) / "pipeline.toml").read_text())
    for section, kind in keys.SECTIONS.items():
        assert {field.name for field in fields(kind)} <= set(found[section]), section
    assert all(found[stage]["command"] for stage in ("train", "evaluate", "promote"))
    assert found["promote"]["options"]


@pytest.mark.parametrize("starter", STARTERS)
def test_locks_are_not_stale(starter: str) -> None:
    """Each starter's locks hold what it declares."""
    assert locks.stale(TEMPLATE / "starters" / starter) == []


@pytest.mark.parametrize("starter", STARTERS)
def test_bake_of_every_target_has_its_locks(tmp_path: Path, starter: str) -> None:
    """What a target declares in place of the others' packages is what a bake's lockfiles hold."""
    for target in CHOICES["target"]:
        made = bake(tmp_path / target, starter=starter, target=target)
        assert locks.stale(made) == [], target
        pins = {pin.name for pin in locks.read(made / locks.SERVE)}
        served = target in ("eks", "sagemaker")
        assert ("gunicorn" in pins, "apig-wsgi" in pins) == (served, not served)


def test_starters_lock_the_same_versions() -> None:
    """What two starters have in common they have in one version, so that one bump is one decision."""

    def pinned(starter: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for lock in (TEMPLATE / "starters" / starter / "requirements").glob("*.txt"):
            for pin in locks.read(lock):
                found.setdefault(pin.name, set()).add(pin.version)
        return found

    first, *others = (pinned(starter) for starter in STARTERS)
    for other in others:
        assert {name: other[name] for name in first if name in other} == {n: first[n] for n in first if n in other}


@pytest.mark.parametrize("target", ["eks", "sagemaker"])
@pytest.mark.parametrize("starter", ["blank", "pricing"])
def test_readme_is_of_its_target(tmp_path: Path, starter: str, target: str) -> None:
    """Where nothing runs on Lambda, neither the README nor the settings speak of functions' addresses or handlers."""
    made = bake(tmp_path / "out", starter=starter, target=target)
    for name in ("README.md", "pipeline.toml"):
        found = re.findall(r"Lambda|Function URL|function-url|handler|API Gateway|\[http\]", (made / name).read_text())
        assert found == [], name


def test_blank_lives(tmp_path: Path) -> None:
    """Committed and deployed at once; trained again to the same digest; its contract kept; its checks green; rolled back."""
    made = bake(tmp_path / "out", starter="blank")
    start(made)
    try:
        assert "release 1 is verified" in run(made, "make", "deploy")
        said = json.loads(run(made, "invoke", "call", "/v1/predict?kilometres=10"))
        assert 20 < said["minutes"] < 35
        run(made, "make", "train")
        assert git(made, "status", "--porcelain") == ""
        assert "✗" not in run(made, "invoke", "doctor", "--contract")
        output = run(made, "nox", "-s", "lint", "types", "test", "sast")
        assert output.count("was successful") == 4
        # The gate is in pipeline.toml, and what it refuses leaves model.lock as it was.
        refused = run(made, "invoke", "promote", "--option", "max-error=1", code=1)
        assert "✗ refused: the error is" in refused
        assert "✗ [promote] command exited with code 1" in refused
        assert git(made, "status", "--porcelain") == ""
        examples = made / "data/examples.csv"
        examples.write_text("\n".join(examples.read_text().splitlines()[:40]) + "\n")
        (made / "model.lock").unlink()  # so that there is no champion to be compared with
        run(made, "invoke", "train", "promote")
        commit(made, "Other examples")
        assert "release 2 is verified" in run(made, "make", "deploy")
        assert json.loads(run(made, "invoke", "call", "/version"))["model"] != said["model"]
        assert "release 1 is verified" in run(made, "make", "rollback")
        assert json.loads(run(made, "invoke", "call", "/version"))["model"] == said["model"]
    finally:
        run(made, "invoke", "cloud.down")


def test_pricing_keeps_the_contract(tmp_path: Path, promoted: Path) -> None:
    """The full starter keeps it too, once a model is promoted; before that the line says what to do."""
    import shutil

    made = bake(tmp_path / "out", starter="pricing")
    start(made)
    run(made, "make", "setup")
    output = run(made, "invoke", "doctor", "--contract", code=1)
    assert "✗ model.lock           there is no model yet (no model.lock)\n    fix: invoke train promote" in output
    shutil.copytree(promoted / "models", made / "models")
    shutil.copy(promoted / "model.lock", made)
    assert "✗" not in run(made, "invoke", "doctor", "--contract")
