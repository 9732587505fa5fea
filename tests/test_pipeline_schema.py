"""The schema of ``pipeline.toml`` that editors use: current, true of every bake, and as strict as the check itself."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pipeline_schema
import pytest
from bake import ROOT, bake
from test_bake import MATRIX
from tiny import TEMPLATE

from ml_delivery import keys, plugin
from ml_delivery.sections import read_section

SHIPPED = json.loads(pipeline_schema.FILE.read_text(encoding="utf-8"))
CHECK = jsonschema.Draft7Validator(SHIPPED)
TARGETS = plugin.built_in()
LEAST = """\
[service]
name = "a-service"
target = "lambda-zip"
python = "3.12"
region = "eu-west-1"

[environments.production]
branch = "main"
"""
# Of every type that TOML has, within the limits of some keys and outside those of others.
VALUES: list[Any] = [
    "", "x", "main", "eu-west-1", "a b", "ssm:/a/b", "../x", "/x", "no\nline", "123456789012", "3.12", "lambda-zip", "http://x.y",
    -1, 0, 1, 50, 100, 1000, 10**9, True, False, 1.5,
    [], ["x"], [""], ["/x"], [1], ["main", 2], ["123456789012"], [{"path": "/x"}], [{"path": "x"}], [{}],
    {}, {"A_B": "x"}, {"a b": "x"}, {"A_B": "ssm:/a"}, {"A_B": 1}, {"A_B": True}, {"A_B": []},
]  # fmt: skip


def faults(text: str) -> list[str]:
    """What the schema refuses of a file, as ``place: why``."""
    found = CHECK.iter_errors(tomllib.loads(text))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def test_shipped_schema_is_current() -> None:
    """``python tests/pipeline_schema.py`` would write what is there, and it is a schema."""
    assert pipeline_schema.FILE.read_text(encoding="utf-8") == pipeline_schema.text()
    jsonschema.Draft7Validator.check_schema(SHIPPED)


@pytest.mark.parametrize(
    "answers", [a for a in MATRIX if a["python_version"] == "3.12"], ids=lambda a: "-".join(a.values())
)
def test_every_bake_is_valid_and_names_its_schema(tmp_path: Path, answers: dict[str, str]) -> None:
    """A new service's file has no fault, and its first line leads an editor to the schema of the package that it vendors."""
    made = bake(tmp_path / "out", **answers)
    text = (made / "pipeline.toml").read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named
    assert (made / named[1]).read_text(encoding="utf-8") == pipeline_schema.FILE.read_text(encoding="utf-8")
    assert faults(text) == []


def test_roots_file_is_valid() -> None:
    """The template's own ``pipeline.toml``."""
    assert faults((ROOT / "pipeline.toml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("section", [*(s for s in keys.SECTIONS if s != "function"), *TARGETS])
def test_schema_and_check_agree_on_each_key(section: str) -> None:
    """Of each key of each section, the schema refuses the values that ``invoke config`` refuses, and no others."""
    kind = plugin.find(section, TEMPLATE).function if section in TARGETS else keys.SECTIONS[section]
    made = pipeline_schema._section(kind)
    whole = {"$schema": SHIPPED["$schema"], "definitions": SHIPPED["definitions"], **made}
    there = SHIPPED["definitions"].get(f"function-{section}" if section in TARGETS else section)
    assert (there or SHIPPED["properties"][section]) == made
    good = (
        {"name": "a-service", "target": "lambda-zip", "python": "3.12", "region": "eu-west-1"}
        if section == "service"
        else {}
    )
    check = jsonschema.Draft7Validator(whole)
    seen = set()
    for name in [*made["properties"], "not_there"]:
        for value in VALUES:
            problems: list[str] = []
            read_section(section, kind, {**good, name: value}, problems)
            accepted = check.is_valid({**good, name: value})
            assert accepted == (not problems), (name, value, problems)
            seen.add(accepted)
    assert seen == {True, False}


WRONG = {
    "an unknown table": ("[service]", "[servce]\nx = 1\n[service]", "servce"),
    "a missing key": ('region = "eu-west-1"\n', "", "service: 'region' is a required"),
    "no environment": ('[environments.production]\nbranch = "main"', "", "'environments' is a required"),
    "an environment's name": ("environments.production", "environments.Production", "does not match"),
    "a key of another target": ("[env", "[function]\nreplicas = 2\n[env", "replicas"),
    "an environment's key of another target": ('"main"', '"main"\nfunction.replicas = 2', "replicas"),
    "its own target's key is missing": ('"main"', '"main"\ntarget = "eks"\nfunction.timeout = 2', "timeout"),
    "an override": ('"main"', '"main"\ndeploy.weight = 0', "0 is less than the minimum"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file_is_refused(name: str) -> None:
    """Faults of whole files, each named at its place."""
    old, new, says = WRONG[name]
    assert old in LEAST
    assert faults(LEAST) == []
    found = faults(LEAST.replace(old, new))
    assert any(says in fault for fault in found), found


def test_environment_has_its_own_targets_keys() -> None:
    """An environment with another target takes that one's keys; a target of one's own takes any."""
    assert faults(LEAST.replace('"main"', '"main"\ntarget = "eks"\nfunction.replicas = 2')) == []
    own = LEAST.replace("lambda-zip", "folder_target:FolderTarget")
    assert faults(own.replace("[env", '[function]\ngreeting = "hello"\n[env')) == []
