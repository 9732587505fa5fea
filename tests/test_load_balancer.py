"""A service behind a load balancer: made, called, changed and removed as the other addresses; what can't be is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_front import ask, configure
from test_http_api import CERTIFICATE, DOMAIN, OPEN, lint
from tiny import HANDLER, Tiny

from ml_delivery.account import stacks
from ml_delivery.errors import ConfigError
from ml_delivery.release import front

NETWORK = 'vpc = "vpc-00000001"\nsubnets = ["subnet-00000001", "subnet-00000002"]'
BALANCER = f'front = "load-balancer"\naccess = "open"\n{DOMAIN}'
WHOLE = f"{BALANCER}\n{NETWORK}"
PAGE = "https://app.example.com"


# A handler that takes a load balancer's events, too, and says as what it was called.
CALLED = 'context.invoked_function_arn.split(":")[-1]'
BOTH = HANDLER.replace('event["rawPath"]', '(event.get("rawPath") or event["path"])').replace(
    '"headers": {', f'"multiValueHeaders": {{"x-called": [{CALLED}]}}, "headers": {{"x-called": {CALLED}, '
)


@pytest.fixture
def balanced(tiny: Tiny) -> Tiny:
    """A service with such a handler."""
    tiny.write("src/service/handler.py", BOTH)
    return tiny


def made(tiny: Tiny) -> dict[str, dict[str, Any]]:
    """The resources of the address, by their logical names."""
    stack = stacks.front(tiny.config, tiny.config.environment("main"))
    assert stack is not None
    found: dict[str, dict[str, Any]] = json.loads(stack.body)["Resources"]
    return found


def test_load_balancer_serves_what_is_live(balanced: Tiny) -> None:
    """Its address stays from release to release, and costs, called or not; nothing is left of it, nor of its permission."""
    tiny = balanced
    configure(tiny, WHOLE)
    tiny.push()
    printed = tiny.invoke("deploy").splitlines()[-1]
    url = printed.removeprefix("address: ")
    assert "/_alb/" in url
    status, body, headers = ask(f"{url}version?a=b")
    assert (status, json.loads(body)["release"], headers["x-called"]) == (200, 1, "live")
    assert headers["Server"] == "awselb/2.0"
    tiny.replace("src/service/handler.py", '"first"', '"second"')
    tiny.commit()
    tiny.deploy()
    assert json.loads(ask(f"{url}version", "POST", b"{}")[1])["release"] == 2
    assert tiny.invoke("rollback").splitlines()[-1] == printed
    assert json.loads(ask(f"{url}version")[1])["release"] == 1
    cost = tiny.open().deployer.cost(0.001)
    configure(tiny, "")
    assert front.find(tiny.open(), prepare=True).address == ""
    assert ask(f"{url}version")[0] != 200
    cloud, name = tiny.open().cloud, f"{tiny.name}-production"
    groups = cloud.client("elbv2").describe_target_groups()["TargetGroups"]
    assert [one for one in groups if one["TargetGroupName"] == name] == []
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloud.client("lambda").get_policy(FunctionName=name, Qualifier="live")
    without = tiny.open().deployer.cost(0.001)
    assert cost
    assert without
    assert 16.2 < cost.dollars - without.dollars < 16.21  # 30 days of 0.0225 USD an hour


def test_deploy_asks_as_the_load_balancer_does(tiny: Tiny) -> None:
    """A handler that knows an HTTP API's events alone would answer no request there: it is not verified."""
    configure(tiny, WHOLE)
    tiny.push()
    assert "KeyError: 'rawPath'" in tiny.invoke("deploy", code=1)
    assert tiny.live() == 0


def test_front_can_be_changed_and_pages_allowed(balanced: Tiny) -> None:
    """From an HTTP API and back; the load balancer answers pages itself, and no more once they are taken out."""
    tiny = balanced
    configure(tiny, OPEN)
    tiny.deploy()
    api = front.find(tiny.open(), prepare=True).address
    assert ask(f"{api}version")[2]["x-called"] == "live"  # under which its calls are counted
    configure(tiny, f'{WHOLE}\norigins = ["{PAGE}"]')
    url = front.find(tiny.open(), prepare=True).address
    assert (ask(f"{url}version")[0], ask(f"{api}version")[0]) == (200, 403)
    asked = {"Origin": PAGE, "Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    status, body, headers = ask(f"{url}version", "OPTIONS", **asked)
    assert (status, body, headers["Access-Control-Allow-Origin"]) == (204, b"", PAGE)
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "content-type" in headers["Access-Control-Allow-Headers"]
    status, body, headers = ask(f"{url}version", Origin="https://other.example.com")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, PAGE)  # so a browser keeps it from the other page
    assert json.loads(ask(f"{url}version", "OPTIONS")[1])["release"] == 1  # no browser's question: the service's
    configure(tiny, f"{WHOLE}\nzone = 'Z0123456789ABC'")
    assert front.find(tiny.open(), prepare=True).address == url
    assert ask(f"{url}version", Origin=PAGE)[2]["Access-Control-Allow-Origin"] is None
    assert json.loads(ask(f"{url}version", "OPTIONS", **asked)[1])["release"] == 1
    configure(tiny, OPEN)
    api = front.find(tiny.open(), prepare=True).address
    assert (ask(f"{api}version")[0], ask(f"{url}version")[0] == 200) == (200, False)


def test_least_is_opened(tiny: Tiny) -> None:
    """Internal unless asked otherwise; HTTPS of at least TLS 1.2 alone; nothing outwards; one group may call one alias."""
    configure(tiny, WHOLE)
    found = {name: one["Properties"] for name, one in made(tiny).items()}
    assert found["Balancer"]["Scheme"] == "internal"
    assert (found["Listener"]["Port"], found["Listener"]["Protocol"]) == (443, "HTTPS")
    assert "TLS13-1-2" in found["Listener"]["SslPolicy"]
    assert [rule["FromPort"] for rule in found["Firewall"]["SecurityGroupIngress"]] == [443]
    assert [rule["CidrIp"] for rule in found["Firewall"]["SecurityGroupEgress"]] == ["127.0.0.1/32"]
    assert found["Permission"]["FunctionName"] == {"Fn::Sub": "${Name}-${Environment}:live"}
    assert found["Permission"]["SourceArn"]["Fn::Sub"].endswith(f":targetgroup/{found['Group']['Name']}/*")
    assert not [name for name, one in made(tiny).items() if one["Type"].endswith("ListenerRule")]
    configure(tiny, f'{WHOLE}\nscheme = "internet-facing"')
    assert made(tiny)["Balancer"]["Properties"]["Scheme"] == "internet-facing"


@pytest.mark.parametrize(
    ("http", "says"),
    [
        (WHOLE.replace('"open"', '"iam"'), "http.access: a load balancer checks no signatures"),
        (f'{WHOLE}\ncallers = ["123456789012"]', "http.callers"),
        (f'front = "load-balancer"\naccess = "open"\n{NETWORK}', "and is not made for plain HTTP; write both"),
        (WHOLE.replace(CERTIFICATE, ""), "http.domain, http.certificate"),
        (f"{BALANCER}\n{NETWORK.splitlines()[1]}", "http.vpc: a load balancer is in a VPC"),
        (f"{BALANCER}\n{NETWORK.splitlines()[0]}", "http.subnets: AWS wants at least two"),
        (WHOLE.replace(', "subnet-00000002"', ""), "http.subnets: AWS wants at least two"),
        (WHOLE.replace("00000002", "00000001"), "http.subnets: AWS wants at least two"),
        (WHOLE.replace("subnet-00000002", "sg-00000002"), "http.subnets"),
        (WHOLE.replace("vpc-00000001", "vpc-1"), "http.vpc"),
        (f'{WHOLE}\nscheme = "public"', "http.scheme"),
        (f'{WHOLE}\norigins = ["https://a.example.com", "{PAGE}"]', "http.origins: a load balancer allows one, or all"),
        (f"{OPEN}\n{NETWORK}", "http.vpc: an HTTP API has none"),
        (f'{OPEN}\nscheme = "internet-facing"', "http.scheme: an HTTP API has none"),
        (f'front = "function-url"\n{NETWORK}', "http.subnets: only another front has one"),
        (NETWORK, "http.vpc: there is no front that could have one"),
    ],
)
def test_what_can_not_be_is_refused(tiny: Tiny, http: str, says: str) -> None:
    """What a load balancer does not know, what it needs, and what belongs to it alone: each in words, with the remedy."""
    configure(tiny, http)
    with pytest.raises(ConfigError) as fault:
        assert tiny.config
    assert says in fault.value.message


def test_template_is_clean(tiny: Tiny, tmp_path: Path) -> None:
    """cfn-lint finds nothing in it."""
    assert lint(tiny, f'{WHOLE}\norigins = ["*"]\nzone = "Z0123456789ABC"\nscheme = "internet-facing"', tmp_path) == ""
