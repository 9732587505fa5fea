"""Secrets: a variable holds where one lies; the service reads it as its role may, and nobody else sees it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import HANDLER, TEMPLATE, Tiny

from ml_delivery import config
from ml_delivery.errors import ConfigError
from ml_delivery.targets.lambda_function import infrastructure

READING = """
    if event["rawPath"] == "/secrets":
        from ml_service.secrets import secret
        found = {}
        for name in ("API_KEY", "OTHER_KEY", "FORBIDDEN", "LOG_LEVEL"):
            try:
                found[name] = secret(name)
            except Exception as error:
                found[name] = type(error).__name__ + ": " + str(error)
        body = found
"""


def test_secret_is_read_at_run_time_and_shown_nowhere(tiny: Tiny) -> None:
    """The function gets the value of what it names, and of nothing else; plan, ledger, configuration and log hold references."""
    root = tiny.root
    shutil.copytree(TEMPLATE / "src/ml_service", root / "src/ml_service", ignore=shutil.ignore_patterns("__pycache__"))
    tiny.write("src/service/handler.py", HANDLER.replace("    return {", READING + "    return {"))
    path = f"/{tiny.name}/key"
    tiny.replace(
        "pipeline.toml",
        "[environments.production]",
        f'[function.secrets]\nAPI_KEY = "ssm:{path}"\nOTHER_KEY = "secretsmanager:{tiny.name}"\n\n[environments.production]',
    )
    tiny.commit()
    cloud = tiny.open().cloud
    cloud.client("ssm").put_parameter(Name=path, Value="s3cret-one", Type="SecureString")
    cloud.client("ssm").put_parameter(Name=f"{path}-of-others", Value="s3cret-three", Type="SecureString")
    cloud.client("secretsmanager").create_secret(Name=tiny.name, SecretString="s3cret-two")
    outcome = tiny.deploy()
    client, name = cloud.client("lambda"), f"{tiny.name}-production"
    assert outcome.release.variables["API_KEY"] == f"ssm:{path}"
    said = json.loads(tiny.open().deployer.call("/secrets").body)
    assert (said["API_KEY"], said["OTHER_KEY"]) == ("s3cret-one", "s3cret-two")
    assert said["FORBIDDEN"].startswith("KeyError")
    assert said["LOG_LEVEL"].startswith("ValueError: LOG_LEVEL does not refer to a secret")
    found = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    client.update_function_configuration(
        FunctionName=name, Environment={"Variables": {**found, "FORBIDDEN": f"ssm:{path}-of-others"}}
    )
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    said = json.loads(tiny.open().deployer.call("/secrets", "$LATEST").body)
    assert said["API_KEY"] == "s3cret-one"
    assert "AccessDenied" in said["FORBIDDEN"]
    for words in (["plan", "--json"], ["releases", "--json"], ["config"], ["logs"], ["status", "--json"]):
        assert "s3cret" not in tiny.invoke(*words), words


def test_only_declared_secrets_widen_the_role(tiny: Tiny) -> None:
    """What looks like a reference elsewhere grants nothing; an environment's own override the function's."""
    variables = 'HARMLESS = "ssm:/x,*"\nREFERENCE = "ssm:/y"\nNAME = "secretsmanager:z"\n'
    secrets = '\n[function.secrets]\nAPI_KEY = "ssm:/a"\nOTHER_KEY = "secretsmanager:b"\n\n[probe]\npaths = []\n'
    tiny.replace("pipeline.toml", "[function.variables]\n", f"[function.variables]\n{variables}")
    production = tiny.config.environment("main")
    assert infrastructure.part(tiny.config, production).parameters["Secrets"] == "none"
    tiny.replace("pipeline.toml", "\n[promote]", f"{secrets}\n[promote]")
    own = '[environments.production.variables]\nAPI_KEY = "ssm:/x,*"\nPLAIN = "ssm:/*"\n'
    text = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", f'{text}\n{own}\n[environments.staging.function.secrets]\nAPI_KEY = "ssm:/c"\n')
    granted = {
        name: infrastructure.part(tiny.config, environment).parameters["Secrets"].split(",")
        for name, environment in tiny.config.environments.items()
    }
    named = "arn:aws:secretsmanager:eu-west-1:*:secret:b-??????"
    assert granted["production"] == [named]
    assert granted["staging"] == [named, "arn:aws:ssm:eu-west-1:*:parameter/c"]


@pytest.mark.parametrize(
    "wrong",
    [
        "ssm:/x,*",
        "ssm:/*",
        r"ssm:/x\n",
        "secretsmanager:a,*",
        "secretsmanager:?",
        "hunter2",
        "ssm:hunter2",
        "secretsmanager:hunter 2",
        "vault:/hunter2",
    ],
)
def test_a_secret_itself_is_refused_and_not_shown(tiny: Tiny, wrong: str) -> None:
    """What is no reference may be the secret: it is refused, and the message does not repeat it."""
    text = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", text + f'\n[function.secrets]\nAPI_KEY = "{wrong}"\n')
    with pytest.raises(
        ConfigError, match=r"function.secrets.API_KEY: not a reference; write a table of references"
    ) as fault:
        config.load(Path(tiny.root), {})
    assert wrong not in str(fault.value)
