"""A service behind an HTTP API: open or signed, from pages, at a domain, and back to none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from test_front import ask, configure
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.account import stacks
from ml_delivery.errors import ConfigError
from ml_delivery.release import front

API = 'front = "http-api"'
OPEN = f'{API}\naccess = "open"'
PAGES = 'origins = ["https://app.example.com"]'
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
DOMAIN = f'domain = "api.example.com"\ncertificate = "{CERTIFICATE}"'


def test_open_api_serves_what_is_live(tiny: Tiny) -> None:
    """Its address stays from release to release; methods, bodies, queries and statuses pass; none closes it."""
    configure(tiny, f"{OPEN}\n{PAGES}")
    tiny.push()
    url = tiny.invoke("deploy").splitlines()[-1].removeprefix("address: ")
    assert url.endswith("/$default/")
    status, body, headers = ask(f"{url}version?a=b", Origin="https://app.example.com")
    assert (status, json.loads(body)["release"]) == (200, 1)
    assert headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert ask(f"{url}version", Origin="https://other.example.com")[2]["Access-Control-Allow-Origin"] is None
    status, _, headers = ask(
        f"{url}version", "OPTIONS", Origin="https://app.example.com", Access_Control_Request_Method="POST"
    )
    assert (status // 100, headers["Access-Control-Allow-Origin"]) == (2, "https://app.example.com")
    tiny.repair("second")
    tiny.push()
    assert tiny.invoke("deploy").splitlines()[-1] == f"address: {url}"
    assert json.loads(ask(f"{url}version", "POST", b"{}")[1])["release"] == 2
    assert tiny.invoke("rollback").splitlines()[-1] == f"address: {url}"
    assert json.loads(ask(f"{url}version")[1])["release"] == 1
    configure(tiny, "")
    tiny.push()
    assert "address" not in tiny.invoke("deploy")
    assert ask(f"{url}version")[0] == 403


def test_event_has_the_headers_that_aws_adds(tiny: Tiny) -> None:
    """Through the API as in a deploy's own requests: an application may need the port, or redirect what is not HTTPS."""
    tiny.replace("src/service/handler.py", '"note": "first"', '"note": event["headers"]')
    configure(tiny, OPEN)
    tiny.push()
    url = tiny.invoke("deploy").splitlines()[-1].removeprefix("address: ")
    for body in (ask(f"{url}version")[1], tiny.invoke("call", "/version")):
        seen = json.loads(body)["note"]
        assert [seen[f"x-forwarded-{name}"] for name in ("for", "port", "proto")] == ["127.0.0.1", "443", "https"]


def test_signed_requests_alone_are_answered(tiny: Tiny) -> None:
    """With IAM an unsigned request is refused, but a browser's question whether it may ask."""
    configure(tiny, f"{API}\n{PAGES}")
    tiny.deploy()
    url = front.find(tiny.open(), prepare=True).address
    assert ask(f"{url}version")[0] == 403
    running = emulator.up(tiny.root)
    request = AWSRequest("GET", f"{url}version")
    keys = Credentials(running.access_key, running.secret_key)
    SigV4Auth(keys, "execute-api", "eu-west-1").add_auth(request)
    named = {name.replace("-", "_"): value for name, value in request.headers.items()}
    assert ask(f"{url}version", **named)[0] == 200
    asked = {"Origin": "https://app.example.com", "Access_Control_Request_Method": "GET"}
    assert ask(f"{url}version", "OPTIONS", **asked)[0] // 100 == 2


def test_question_of_a_browser_needs_no_signature(tiny: Tiny) -> None:
    """Signed requests alone, but for OPTIONS, on every path; without pages there is no such route."""

    def routes(http: str) -> dict[str, str]:
        configure(tiny, http)
        stack = stacks.front(tiny.config, tiny.config.environment("main"))
        assert stack is not None
        made = [
            one["Properties"] for one in json.loads(stack.body)["Resources"].values() if one["Type"].endswith("Route")
        ]
        return {one["RouteKey"]: one["AuthorizationType"] for one in made}

    assert routes(API) == {"$default": "AWS_IAM"}
    assert routes(f"{API}\n{PAGES}") == {"$default": "AWS_IAM", "OPTIONS /{proxy+}": "NONE", "OPTIONS /": "NONE"}
    assert routes(f"{OPEN}\n{PAGES}") == {"$default": "NONE"}


def test_front_can_be_changed(tiny: Tiny) -> None:
    """From a Function URL to an API: one address is closed, the other is there."""
    configure(tiny, 'front = "function-url"\naccess = "open"')
    tiny.deploy()
    old = front.find(tiny.open(), prepare=True).address
    assert ask(f"{old}version")[0] == 200
    configure(tiny, OPEN)
    new = front.find(tiny.open(), prepare=True).address
    assert (ask(f"{new}version")[0], ask(f"{old}version")[0]) == (200, 403)


def test_domain_is_part_of_the_stack(tiny: Tiny) -> None:
    """On AWS the address is the domain, and the API is reached by no other name; the emulator serves it by the API."""
    configure(tiny, f'{OPEN}\n{DOMAIN}\nzone = "Z0123456789ABC"')  # a zone that is on AWS alone
    stack = stacks.front(tiny.config, tiny.config.environment("main"))
    assert stack is not None
    made = json.loads(stack.body)
    assert made["Resources"]["Api"]["Properties"]["DisableExecuteApiEndpoint"] is True
    assert made["Outputs"]["Address"]["Value"] == "https://api.example.com/"
    tiny.deploy()
    found = front.find(tiny.open(), prepare=True)
    assert json.loads(ask(f"{found.address}version")[1])["release"] == 1
    mappings = tiny.open().cloud.client("apigatewayv2").get_api_mappings(DomainName="api.example.com")["Items"]
    assert [one["Stage"] for one in mappings] == ["$default"]


@pytest.mark.parametrize(
    ("http", "says"),
    [
        (f'{API}\ncallers = ["123456789012"]', "http.callers: an HTTP API has no policy that could name them"),
        (f'{API}\ndomain = "api.example.com"', "http.domain, http.certificate: only one is set"),
        (f'{API}\nzone = "Z1234"', "http.zone: there is no http.domain"),
        (f"{API}\n[function]\ntimeout = 31", "function.timeout: 31 s, and an HTTP API answers 503 after 30 s"),
        (f'front = "function-url"\n{DOMAIN}', "http.domain: only another front has one"),
        (DOMAIN, "http.certificate: there is no front that could have one"),
        (f'{API}\ndomain = "Prices"', "http.domain"),
    ],
)
def test_what_can_not_be_is_refused(tiny: Tiny, http: str, says: str) -> None:
    """Settings that an HTTP API has not, halves of a domain, and a function that takes longer than the API waits."""
    if "[function]" in http:
        text = (tiny.root / "pipeline.toml").read_text()
        tiny.write("pipeline.toml", re.sub(r"(?m)^timeout = \d+", "timeout = 31", text))
        http = http.partition("\n[function]")[0]
    configure(tiny, http)
    with pytest.raises(ConfigError) as fault:
        assert tiny.config
    assert says in fault.value.message


def lint(tiny: Tiny, http: str, folder: Path) -> str:
    """What cfn-lint finds in the stack of an address."""
    configure(tiny, http)
    stack = stacks.front(tiny.config, tiny.config.environment("main"))
    assert stack is not None
    (folder / "front.json").write_text(stack.body)
    words = [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "warning", "--", folder / "front.json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("http", [f"{OPEN}\n{PAGES}", API, f'{API}\n{PAGES}\n{DOMAIN}\nzone = "Z0123456789ABC"'])
def test_template_is_clean(tiny: Tiny, tmp_path: Path, http: str) -> None:
    """cfn-lint finds nothing in it."""
    assert lint(tiny, http, tmp_path) == ""
