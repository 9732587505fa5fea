"""``pipeline.toml``: every problem at once, each with its place and what to write; precedence; the CLI's own errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import SETTINGS, Tiny

from ml_delivery import config
from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing
from ml_delivery.cloud import chosen
from ml_delivery.errors import ConfigError
from ml_delivery.targets.lambda_function.settings import of

GOOD = SETTINGS.format(name="demand-pricing", python="3.12")


def problems(root: Path, text: str) -> list[str]:
    """The problems of a pipeline.toml with this text."""
    (root / "pipeline.toml").write_text(text)
    with pytest.raises(ConfigError) as fault:
        config.load(root, {})
    assert fault.value.next == f"correct {root / 'pipeline.toml'}"
    return fault.value.problems


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Unknown keys and tables, wrong types, values outside their limits and missing keys are all named, each once."""
    text = """
[service]
name = "Demand_Pricing"
target = "lambda-zip"
pyton = "3.12"
region = "mars"
[function]
memory = "big"
timeout = 9000
[function.variables]
"9X" = "y"
XX = 1
[probe]
paths = ["healthz"]
[rollout]
[environments.production]
branch = "main"
account = 123
[environments.Staging]
branch = "main"
"""
    assert problems(tmp_path, text) == [
        "rollout: unknown table; write one of service, function, http, prepare, train, evaluate, promote, jobs, tune, probe, "
        "deploy, build, hooks, github, monitoring, environments, or remove it",
        "service.pyton: unknown key; did you mean python?",
        "service.name: 'Demand_Pricing' is not allowed; write 3 to 32 lower-case letters, digits and single dashes: "
        '"my-service"',
        'service.python: missing; write a quoted version: "3.12"',
        "service.region: 'mars' is not allowed; write an AWS region: \"eu-west-1\"",
        'function.variables.9X: not an allowed name; write a table of strings: LOG_LEVEL = "INFO"',
        'function.variables.XX: 1 is not a string; write a table of strings: LOG_LEVEL = "INFO"',
        "function.memory: 'big' is not a whole number; write megabytes: 1024",
        "function.timeout: 9000 is not between 1 and 900; write seconds: 15",
        "probe.paths: ['healthz'] is not a list of allowed values; write a list of paths: [\"/readyz\"]",
        'environments.production.account: 123 is not a quoted string; write a quoted 12-digit AWS account: "123456789012"',
        "environments.Staging.name: 'Staging' is not allowed; write 2 to 16 lower-case letters and digits: \"staging\"",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[service", "not TOML: "),
        (GOOD.split("[environments")[0], "environments: missing; write a table for each: [environments.production]"),
        (GOOD.replace('"develop"', '"main"'), "environments: the branch 'main' is named twice; name each once"),
        ("service = 1\n" + GOOD.partition("[function]")[2], "service: 1 is not a table; write [service]"),
        (GOOD.replace("timeout = 3", "timeout = true"), "function.timeout: True is not a whole number"),
        (
            GOOD.replace('[function.variables]\nLOG_LEVEL = "INFO"', 'variables = "x"')
            + '[environments.staging.function.variables]\nAA = "1"\n',
            "function.variables: 'x' is not a table",
        ),
        (
            GOOD + 'name = "x"',
            "environments.staging.name: unknown key; the table's name is the environment's name, so remove it",
        ),
    ],
)
def test_each_fault_is_named(tmp_path: Path, text: str, says: str) -> None:
    """A fault of the whole file is a problem like any other."""
    assert any(problem.startswith(says) for problem in problems(tmp_path, text))


def test_precedence_is_default_file_environment(tmp_path: Path) -> None:
    """A default gives way to the file, and the file to the environment variable, which is checked as the file is."""
    (tmp_path / "pipeline.toml").write_text(GOOD)
    assert config.load(tmp_path, {}).service.architecture == "x86_64"
    assert config.load(tmp_path, {}).service.python == "3.12"
    assert config.load(tmp_path, {"PIPELINE_PYTHON": "3.13"}).service.python == "3.13"
    with pytest.raises(ConfigError, match=r"'2\.7' is not one of"):
        config.load(tmp_path, {"PIPELINE_PYTHON": "2.7"})


def test_cloud_is_flag_then_variable_then_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--cloud`` wins over ``PIPELINE_CLOUD``, that over the default; an unknown one is refused."""
    assert chosen("") == "embedded"
    monkeypatch.setenv("PIPELINE_CLOUD", "aws")
    assert chosen("") == "aws"
    assert chosen("embedded") == "embedded"
    with pytest.raises(ConfigError, match="'azure' is not a cloud; write one of embedded, aws"):
        chosen("azure")


def test_environments_own_variables_win(tmp_path: Path) -> None:
    """Of two variables with one name, the environment's counts."""
    (tmp_path / "pipeline.toml").write_text(GOOD + '[environments.staging.variables]\nLOG_LEVEL = "DEBUG"\nXX = "1"\n')
    loaded = config.load(tmp_path, {})
    assert loaded.environments["staging"].variables == {"LOG_LEVEL": "DEBUG", "XX": "1"}
    assert loaded.environment("main").variables == {"LOG_LEVEL": "INFO"}
    with pytest.raises(
        ConfigError, match=r"the branch 'x'; the branches are: main \(production\), develop \(staging\)"
    ):
        loaded.environment("x")


OVERRIDES = """
[deploy]
strategy = "canary"
pause = 60

[environments.staging.function]
memory = 512
[environments.staging.function.variables]
EXTRA = "1"
[environments.staging.deploy]
strategy = "all-at-once"
[environments.staging.probe]
paths = ["/healthz"]
"""


def test_environment_overrides_sections(tmp_path: Path) -> None:
    """An environment's own table overrides single keys of function, deploy and probe; the others have the file's."""
    (tmp_path / "pipeline.toml").write_text(GOOD + OVERRIDES)
    loaded = config.load(tmp_path, {})
    staging, production = loaded.environments["staging"], loaded.environments["production"]
    assert (of(staging).memory, of(staging).timeout) == (512, 3)
    assert (of(production).memory, of(production).timeout) == (256, 3)
    assert staging.variables == {"LOG_LEVEL": "INFO", "EXTRA": "1"}
    assert (staging.deploy.strategy, staging.deploy.pause) == ("all-at-once", 60)
    assert (production.deploy.strategy, production.deploy.pause) == ("canary", 60)
    assert (staging.probe.paths, production.probe.paths) == (("/healthz",), ("/readyz",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[environments.staging.function]\nmemory = 1", "environments.staging.function.memory: 1 is not between 128"),
        (
            "[environments.staging.deploy]\nkeeep = 1",
            "environments.staging.deploy.keeep: unknown key; did you mean keep?",
        ),
        ('target = "moon"', "environments.staging.target: 'moon' is not one of"),
        (
            "[environments.staging.function]\ndrain = 5",
            "environments.staging.function.drain: unknown key; it is one of eks, so remove it",
        ),
        ("function = 1", "environments.staging.function: 1 is not a table; write [environments.staging.function]"),
    ],
)
def test_overrides_are_checked(tmp_path: Path, text: str, says: str) -> None:
    """What an environment overrides is checked as the sections are, and named by its own place, once."""
    found = problems(tmp_path, GOOD + text + "\n")
    assert len(found) == 1
    assert says in found[0]


def test_environment_has_a_target_of_its_own(tmp_path: Path) -> None:
    """One environment may run elsewhere than the others; keys that its target does not have are left out there."""
    (tmp_path / "pipeline.toml").write_text(GOOD + 'target = "lambda-image"\n')
    loaded = config.load(tmp_path, {})
    assert [e.target for e in loaded.environments.values()] == ["lambda-zip", "lambda-image"]


def test_file_is_found_from_below_and_missed_clearly(tmp_path: Path) -> None:
    """Any folder of a service will do; outside of one the fault says so."""
    (tmp_path / "pipeline.toml").write_text(GOOD)
    (tmp_path / "a/b").mkdir(parents=True)
    assert config.find_root(tmp_path / "a/b") == tmp_path
    with pytest.raises(ConfigError, match="run this inside a service"):
        config.load(tmp_path / "a", {})


def test_settings_of_an_earlier_version_say_what_to_write(tmp_path: Path) -> None:
    """What services had before 0.1.0 is named with what replaces it."""
    found = "\n".join(problems(tmp_path, "[model]\ntrials = 12\n\n[monitoring]\nmax_backup = 5\nmax_drift = 25\n"))
    assert "model: unknown table; write [train], [evaluate] and [promote], each with its command; trials" in found
    for name in ("max_backup", "max_drift"):
        assert (
            f"monitoring.{name}: unknown key; remove it: the service's own alarms, with their thresholds, are in"
            in found
        )


def test_build_for_another_target_is_not_pushed(tiny: Tiny) -> None:
    """Environments may have targets of their own, and one commit is built for one of them at a time."""
    tiny.replace("pipeline.toml", "[environments.staging]\n", '[environments.staging]\ntarget = "lambda-image"\n')
    tiny.commit()
    zipped = build.build(tiny.config)
    opened = tiny.open()
    staging = replace(opened, environment=tiny.config.environments["staging"])
    with pytest.raises(
        ConfigError, match="staging: the build is for the target lambda-zip, not for lambda-image"
    ) as refusal:
        pushing.push(staging, zipped)
    assert refusal.value.next.startswith("invoke build --branch ")
    assert pushing.push(opened, zipped).artifact.digest == zipped.digest
