"""The address of a service: made where ``[http]`` asks for one, for whom it says, and called over HTTP as users call it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from roles import ACCOUNT, Roles
from tiny import Tiny

from ml_delivery import emulator
from ml_delivery.account import stacks
from ml_delivery.errors import ConfigError
from ml_delivery.release import front

OPEN = 'front = "function-url"\naccess = "open"'
IAM = 'front = "function-url"'


def configure(tiny: Tiny, http: str) -> None:
    """Write ``[http]``, and commit."""
    text = (tiny.root / "pipeline.toml").read_text().partition("\n[http]")[0]
    tiny.write("pipeline.toml", f"{text}\n[http]\n{http}\n" if http else text)
    tiny.commit("Front")


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes, Message]:
    """What is answered over HTTP, whatever its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, named, method=method), timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read(), refused.headers


def signed(url: str, keys: dict[str, str]) -> int:
    """The status of a request that is signed with these keys."""
    request = AWSRequest("GET", url)
    SigV4Auth(Credentials(*keys.values()), "lambda", "eu-west-1").add_auth(request)
    return ask(url, **{name.replace("-", "_"): value for name, value in request.headers.items()})[0]


def test_without_asking_there_is_none(tiny: Tiny) -> None:
    """By default nothing is reachable but by AWS's API, and nothing is printed of it."""
    tiny.push()
    assert "address" not in tiny.invoke("deploy") + tiny.invoke("status")
    assert json.loads(tiny.invoke("status", "--json"))["address"] == ""
    aws = tiny.open().cloud.client("lambda")
    assert aws.list_function_url_configs(FunctionName=f"{tiny.name}-production")["FunctionUrlConfigs"] == []


def test_open_address_is_called_by_everyone(tiny: Tiny) -> None:
    """A deploy and status end with it; it serves what is live, also after the next deploy and a rollback."""
    configure(tiny, OPEN)
    tiny.push()
    printed = tiny.invoke("deploy").splitlines()
    assert printed[-1].startswith("address: http://127.0.0.1:")
    url = printed[-1].removeprefix("address: ")
    status, body, headers = ask(f"{url}version?a=b")
    assert (status, json.loads(body)["release"], headers["Content-Type"]) == (200, 1, "application/json")
    assert tiny.invoke("status").splitlines()[-1] == f"address: {url}"
    tiny.repair("second")
    tiny.push()
    assert json.loads(tiny.invoke("deploy", "--json"))["address"] == url
    assert json.loads(ask(f"{url}version", "POST", b"{}")[1])["release"] == 2
    assert tiny.invoke("rollback").splitlines()[-1] == f"address: {url}"
    assert json.loads(ask(f"{url}version")[1])["release"] == 1
    assert json.loads(tiny.invoke("status", "--json"))["address"] == url


def test_both_permissions_are_granted_for_calls_by_the_address_alone(tiny: Tiny) -> None:
    """Everyone may do what the address needs, on the alias: nothing without the address, and no version by its number."""
    configure(tiny, OPEN)
    tiny.deploy()
    assert front.find(tiny.open(), prepare=True).address
    name = f"{tiny.name}-production"
    policy = json.loads(tiny.open().cloud.client("lambda").get_policy(FunctionName=name, Qualifier="live")["Policy"])
    found = {one["Action"]: (one["Principal"], one["Condition"], one["Resource"]) for one in policy["Statement"]}
    arn = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:{name}:live"
    assert found == {
        "lambda:InvokeFunctionUrl": ("*", {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}, arn),
        "lambda:InvokeFunction": ("*", {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}, arn),
    }


def test_address_is_closed_again(tiny: Tiny) -> None:
    """From open to IAM, and to none: the next deploy closes it, even one with nothing else to do."""
    configure(tiny, OPEN)
    tiny.deploy()
    url = front.find(tiny.open(), prepare=True).address
    assert ask(f"{url}version")[0] == 200
    configure(tiny, IAM)
    tiny.push()
    assert f"address: {url} (requests must be signed)" in tiny.invoke("deploy")
    assert ask(f"{url}version")[0] == 403
    configure(tiny, "")
    tiny.push()
    assert "address" not in tiny.invoke("deploy")
    assert ask(f"{url}version")[0] == 403
    configure(tiny, OPEN)
    tiny.push()
    assert "address: " in tiny.invoke("deploy")
    configure(tiny, "")
    assert f"{tiny.name}-production-front: removed" in tiny.invoke("bootstrap")


def test_pages_of_these_origins_may_call_it(tiny: Tiny) -> None:
    """CORS is answered by the address, for the origins in pipeline.toml and no other."""
    configure(tiny, f'{OPEN}\norigins = ["https://app.example.com"]')
    tiny.deploy()
    url = front.find(tiny.open(), prepare=True).address
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    for origin, allowed in (
        ("https://app.example.com", "https://app.example.com"),
        ("https://other.example.com", None),
    ):
        _, _, headers = ask(f"{url}version", "OPTIONS", Origin=origin, **asked)
        assert headers["Access-Control-Allow-Origin"] == allowed
        assert ("content-type" in (headers["Access-Control-Allow-Headers"] or "")) is bool(allowed)
        assert ask(f"{url}version", Origin=origin)[2]["Access-Control-Allow-Origin"] == allowed


def test_signed_requests_of_who_may_are_answered(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> None:
    """With IAM: a role without rights is refused, so is one with half of them; both, or being named as a caller, suffice."""
    roles = Roles(Tiny(tmp_path_factory.mktemp("signed") / "service", shared, "signed"))
    tiny, iam, sts = roles.tiny, roles.admin.client("iam"), roles.admin.client("sts")
    configure(tiny, IAM)
    tiny.deploy()
    url = front.find(tiny.open(), prepare=True).address
    me = sts.get_caller_identity()["Arn"]
    trust = [{"Effect": "Allow", "Principal": {"AWS": me}, "Action": "sts:AssumeRole"}]
    caller = f"arn:aws:iam::{ACCOUNT}:role/signed-caller"
    iam.create_role(
        RoleName="signed-caller", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust})
    )
    found = sts.assume_role(RoleArn=caller, RoleSessionName="tests")["Credentials"]
    keys = {name: found[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    assert ask(f"{url}version")[0] == 403
    assert signed(f"{url}version", keys) == 403
    function = f"arn:aws:lambda:eu-west-1:{ACCOUNT}:function:signed-production:live"
    for actions, status in (
        (["lambda:InvokeFunctionUrl"], 403),
        (["lambda:InvokeFunction"], 403),
        (["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"], 200),
    ):
        statement = [{"Effect": "Allow", "Action": actions, "Resource": function}]
        document = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.put_role_policy(RoleName="signed-caller", PolicyName="call", PolicyDocument=document)
        assert signed(f"{url}version", keys) == status, actions
    iam.delete_role_policy(RoleName="signed-caller", PolicyName="call")
    assert signed(f"{url}version", keys) == 403
    configure(tiny, f'{IAM}\ncallers = ["{caller}"]')
    front.find(tiny.open(), prepare=True)
    assert signed(f"{url}version", keys) == 200
    # The role that deploys reads the address; that it needs the right for this is with the other rights.
    with roles.acting("deploy"):
        assert front.find(tiny.open(prepare=False)).address == url


def test_on_aws_the_address_is_made_by_bootstrap(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a deploy makes no stack: it says what to type, and then the address is AWS's own; a change is shown as such."""
    running = emulator.up(tiny.root)
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    numbers = 'repository = "an-owner/a-repository"\nowner_id = "12"\nrepository_id = "345"\n'
    tiny.replace("pipeline.toml", 'repository = "an-owner/a-repository"\n', numbers)
    configure(tiny, OPEN)
    there = {
        "PIPELINE_CLOUD": "aws",
        "AWS_ENDPOINT_URL": running.endpoint,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
    }
    clean = tiny.environment
    monkeypatch.setattr(Tiny, "environment", property(lambda _: {**clean, **there}))
    assert "production gets its address after its first deploy" in tiny.invoke("bootstrap", "--yes")
    tiny.invoke("build", "push")
    bootstrap = "next: invoke bootstrap --branch main --cloud aws"
    assert f"there is no address yet; {bootstrap}" in tiny.invoke("deploy")
    assert "Add AWS::Lambda::Url Url\n" in tiny.invoke("bootstrap", "--yes")
    address = json.loads(tiny.invoke("status", "--json"))["address"]
    assert address.startswith("https://")
    assert address.endswith(".lambda-url.eu-west-1.on.aws/")
    configure(tiny, IAM)
    printed = tiny.invoke("status")
    assert f"it is not as [http] says; {bootstrap}" in printed
    tiny.invoke("bootstrap", "--yes")
    assert "it is not as" not in tiny.invoke("status")
    configure(tiny, "")
    assert '"applied": false' in tiny.invoke("bootstrap", "--json", code=1)
    assert json.loads(tiny.invoke("status", "--json"))["address"] == ""
    tiny.push()
    assert f"address: {address}\nit is not as [http] says; {bootstrap}" in tiny.invoke("deploy")  # still open
    assert f"{tiny.name}-production-front: removed" in tiny.invoke("bootstrap", "--yes")


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ('front = "rest-api"', "http.front: lambda-zip has no 'rest-api'; write one of none, function-url, http-api"),
        ('access = "open"\ncallers = ["123456789012"]', 'http.callers: access is "open"'),
        ('access = "NONE"', "http.access"),
        ('callers = ["*"]', "http.callers"),
        ('origins = ["app.example.com"]', "http.origins"),
    ],
)
def test_what_can_not_be_is_refused(tiny: Tiny, http: str, says: str) -> None:
    """An address that the target has not, callers of what is open, and values that AWS would refuse."""
    configure(tiny, http)
    with pytest.raises(ConfigError) as fault:
        assert tiny.config
    assert says in fault.value.message


@pytest.mark.parametrize("http", [OPEN, f'{IAM}\ncallers = ["123456789012"]\norigins = ["https://a.example.com"]'])
def test_template_is_clean(tiny: Tiny, tmp_path: Path, http: str) -> None:
    """cfn-lint finds nothing in it."""
    configure(tiny, http)
    stack = stacks.front(tiny.config, tiny.config.environment("main"))
    assert stack is not None
    (tmp_path / "front.json").write_text(stack.body)
    words = [
        Path(sys.executable).with_name("cfn-lint"),
        "--non-zero-exit-code",
        "warning",
        "--",
        tmp_path / "front.json",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_environment_has_its_own(tiny: Tiny) -> None:
    """Staging may be open where production is not."""
    configure(tiny, f'{IAM}\n[environments.staging.http]\naccess = "open"')
    found = {name: one.http for name, one in tiny.config.environments.items()}
    assert (found["production"].front, found["production"].access) == ("function-url", "iam")
    assert (found["staging"].front, found["staging"].access) == ("function-url", "open")
