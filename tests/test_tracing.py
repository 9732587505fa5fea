"""X-Ray is a setting: with it the function's role may send traces, and its requests are sampled; the log has them anyway."""

from __future__ import annotations

import json

from tiny import Tiny

HANDLER_LINE = 'print("asked for", event["rawPath"])'


def test_tracing_is_a_setting_of_the_release(tiny: Tiny) -> None:
    """Turned on it is in the plan, on the function and in its role's rights; turned off it is gone from all of them."""
    tiny.replace("src/service/handler.py", HANDLER_LINE, 'print("trace", os.environ["_X_AMZN_TRACE_ID"])')
    tiny.commit()
    tiny.deploy()
    tiny.open().deployer.call("/")
    assert "Sampled=0" in tiny.invoke("logs")
    tiny.replace("pipeline.toml", "timeout = 3", 'timeout = 3\ntracing = "Active"')
    tiny.commit("Trace")
    tiny.push()
    assert "setting tracing: PassThrough → Active" in tiny.invoke("plan", code=2)
    tiny.deploy()
    opened = tiny.open()
    assert opened.deployer.live().settings["tracing"] == "Active"  # type: ignore[union-attr]
    opened.deployer.call("/")
    assert "Sampled=1" in tiny.invoke("logs")
    iam, role = opened.cloud.client("iam"), f"{tiny.name}-production-function"
    policy = iam.get_role_policy(RoleName=role, PolicyName="traces")["PolicyDocument"]
    assert "xray:PutTraceSegments" in json.dumps(policy)
    tiny.rollback()
    assert tiny.open().deployer.live().settings["tracing"] == "PassThrough"  # type: ignore[union-attr]
    tiny.replace("pipeline.toml", '\ntracing = "Active"', "")
    tiny.commit("Trace no more")
    tiny.push()
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == ["logs"]


def test_unknown_tracing_is_refused(tiny: Tiny) -> None:
    """What Lambda does not know is named with what it does."""
    tiny.replace("pipeline.toml", "timeout = 3", 'timeout = 3\ntracing = "always"')
    assert "'always' is not one of PassThrough, Active" in tiny.invoke("config", code=1)
