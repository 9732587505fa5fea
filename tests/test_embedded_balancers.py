"""Load balancers of the embedded AWS call functions as on AWS: one test per gap of ministack that is closed.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html; limits are in
``contract_balancers.py``.
"""

from __future__ import annotations

import base64
import gzip
import inspect
import json
from typing import Any

import apig_wsgi
import pytest
from balanced import SERVICE, SUBNETS, Balanced
from emulated import client, code_of
from test_embedded_stacks import Stack

from ml_delivery import cloudformation, emulator

JSON = (("Content-Type", "application/json"),)


@pytest.fixture(scope="module")
def many(running: emulator.Running) -> Balanced:
    """With multi-value headers, as the pipeline makes them."""
    return Balanced(running, "balanced-many")


@pytest.fixture(scope="module")
def single(running: emulator.Running) -> Balanced:
    """With AWS's defaults."""
    return Balanced(running, "balanced-single", many=False)


def test_several_values_arrive_in_lists(many: Balanced) -> None:
    """Of headers, cookies and parameters, in the multi-value fields alone, with what the load balancer adds."""
    headers = (("X-One", "a"), ("x-one", "b, c"), ("Cookie", "k=1"), ("Cookie", "l=2"), ("X-Forwarded-For", "10.0.0.1"))
    event = many.event("/?myKey=val1&myKey=val2", headers=headers)
    assert set(event) == {
        "requestContext",
        "httpMethod",
        "path",
        "multiValueQueryStringParameters",
        "multiValueHeaders",
        "body",
        "isBase64Encoded",
    }
    assert event["requestContext"] == {"elb": {"targetGroupArn": many.group}}
    assert event["multiValueQueryStringParameters"] == {"myKey": ["val1", "val2"]}
    seen = event["multiValueHeaders"]
    assert (seen["x-one"], seen["cookie"]) == (["a", "b, c"], ["k=1", "l=2"])
    assert seen["x-forwarded-for"] == ["10.0.0.1, 127.0.0.1"]
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == (["https"], ["443"])
    assert seen["x-amzn-trace-id"][0].startswith("Root=1-")


def test_last_value_arrives_without_lists(single: Balanced) -> None:
    """Without multi-value headers, the last one wins."""
    event = single.event("/?myKey=val1&myKey=val2", headers=(("X-One", "a"), ("X-One", "b")))
    assert "multiValueHeaders" not in event
    assert (event["queryStringParameters"], event["headers"]["x-one"]) == ({"myKey": "val2"}, "b")


@pytest.mark.parametrize(
    ("asked", "path", "query"),
    [
        ("/a%2Fb//c%20d/%25", "/a%2Fb//c%20d/%25", {}),
        ("//", "//", {}),
        ("", "/", {}),
        ("/?q=a%20b%2Bc&f%5B0%5D=%C3%A9+1", "/", {"q": ["a%20b%2Bc"], "f%5B0%5D": ["%C3%A9+1"]}),
        ("/?flag&=x&empty=&&y=a=b", "/", {"flag": [""], "": ["x"], "empty": [""], "y": ["a=b"]}),
        ("/?%3Fall%3Dtrue", "/", {"%3Fall%3Dtrue": [""]}),
    ],
)
def test_path_and_query_are_not_decoded(many: Balanced, asked: str, path: str, query: dict[str, list[str]]) -> None:
    """They arrive as they were sent."""
    event = many.event(asked)
    assert (event["path"], event["multiValueQueryStringParameters"]) == (path, query)


@pytest.mark.parametrize(
    ("headers", "body", "encoded"),
    [
        ((), b"", False),
        (JSON, b"", False),
        (JSON, '{"a": "é"}'.encode(), False),
        ((("Content-Type", "TEXT/csv; charset=utf-8"),), b"a,b", False),
        ((), b"plain, of no type", True),
        ((("Content-Type", "application/x-www-form-urlencoded"),), b"a=1", True),
        ((("Content-Type", "image/png"),), b"\x89PNG\x00\xff", True),
        ((*JSON, ("Content-Encoding", "gzip")), gzip.compress(b"{}", mtime=0), True),
    ],
)
def test_body_is_encoded_by_its_type(
    many: Balanced, headers: tuple[tuple[str, str], ...], body: bytes, encoded: bool
) -> None:
    """Text, JSON, JavaScript and XML arrive as they are, all else and what is compressed in Base64; none is no text."""
    event = many.event("/", "POST", body, headers)
    found = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    assert (found, event["isBase64Encoded"]) == (body, encoded)


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "PUT"])
def test_methods_reach_the_function(many: Balanced, method: str) -> None:
    """So does a browser's preflight request, unless the listener has a rule for it."""
    assert many.event("/", method)["httpMethod"] == method


def test_headers_of_other_characters_are_dropped(many: Balanced) -> None:
    """If the load balancer's attribute says so; by default they arrive."""
    name = "routing.http.drop_invalid_header_fields.enabled"
    seen = []
    for value in ("false", "true"):
        many.aws.modify_load_balancer_attributes(
            LoadBalancerArn=many.balancer, Attributes=[{"Key": name, "Value": value}]
        )
        seen.append("x_under" in many.event("/", headers=(("X_Under", "1"), ("X-Over", "1")))["multiValueHeaders"])
    assert seen == [True, False]


ANSWERS: dict[str, Any] = {
    "/cookies": {"statusCode": 201, "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]}},
    "/number": {"statusCode": "204", "multiValueHeaders": {"Connection": ["close"], "X-Number": [3]}},
    "/binary": {"statusCode": 200, "isBase64Encoded": True, "body": base64.b64encode(b"\x00\xff").decode()},
    "/other-field": {"statusCode": 200, "headers": {"X-Lost": "1"}, "body": "text"},
    "/no-status": {"body": "text"},
    "/no-number": {"statusCode": "many"},
    "/too-low": {"statusCode": 99},
    "/text": "text",
    "/nothing": None,
    "/no-base64": {"statusCode": 200, "isBase64Encoded": True, "body": "?"},
    "/body-object": {"statusCode": 200, "body": {"a": 1}},
}
ANSWERING = f"""
import json
ANSWERS = json.loads({json.dumps(json.dumps(ANSWERS))})
def handler(event, context):
    return ANSWERS[event["path"]]
"""


@pytest.fixture(scope="module")
def answering(running: emulator.Running) -> Balanced:
    """Behind it, each path is answered with one of ``ANSWERS``; others are an exception."""
    return Balanced(running, "balanced-answers", ANSWERING)


def test_answers_become_responses(answering: Balanced) -> None:
    """Several cookies, a status as text, bytes in Base64; headers in the field of the other mode are ignored, as documented."""
    status, headers, _ = answering.ask("/cookies")
    assert (status, [value for name, value in headers if name.lower() == "set-cookie"]) == (201, ["a=1", "b=2"])
    status, headers, _ = answering.ask("/number")
    assert (status, dict(headers)["X-Number"], dict(headers).get("Connection")) == (204, "3", None)
    status, headers, body = answering.ask("/binary")
    assert (status, body, dict(headers)["Content-Type"]) == (200, b"\x00\xff", "application/octet-stream")
    status, headers, body = answering.ask("/other-field")
    assert (status, body, "X-Lost" in dict(headers)) == (200, b"text", False)
    assert dict(headers)["Server"] == "awselb/2.0"
    assert answering.ask("/other-field", "HEAD")[2] == b""


@pytest.mark.parametrize(
    "path",
    [
        "/no-status",
        "/no-number",
        "/too-low",
        "/text",
        "/nothing",
        "/no-base64",
        "/body-object",
        "/raises",
        "/%2Fcookies",
    ],
)
def test_what_is_no_response_is_a_bad_gateway(answering: Balanced, path: str) -> None:
    """Nor is an exception: 502, with the load balancer's own page."""
    status, headers, body = answering.ask(path)
    assert (status, dict(headers)["Content-Type"]) == (502, "text/html")
    assert b"502 Bad Gateway" in body


def test_target_that_can_not_be_called_is_a_bad_gateway(running: emulator.Running) -> None:
    """So is one without the permission, or whose function was deleted; without a target 503 is answered."""
    made = Balanced(running, "balanced-gone")
    made.forbid()
    assert made.ask()[0] == 502
    made.permit()
    assert made.ask()[0] == 200
    made.function.aws.delete_function(FunctionName=made.function.name)
    assert made.ask()[0] == 502
    made.aws.deregister_targets(TargetGroupArn=made.group, Targets=[{"Id": made.arn}])
    assert made.ask()[0] == 503


VERSION = """
def handler(event, context):
    return {"statusCode": 200, "body": f"{context.function_version} {context.invoked_function_arn.split(':')[-1]}"}
"""


def test_alias_splits_traffic(running: emulator.Running) -> None:
    """A canary gets its share of what arrives; and who may call the function may not call its alias."""
    made = Balanced(running, "balanced-split", VERSION)
    aws, name = made.function.aws, made.function.name
    for size in (256, 512):  # no version is published without a change
        aws.update_function_configuration(FunctionName=name, MemorySize=size)
        made.function.settle()
        aws.publish_version(FunctionName=name)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    alias = aws.create_alias(FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig=weights)["AliasArn"]
    made.aws.deregister_targets(TargetGroupArn=made.group, Targets=[{"Id": made.arn}])
    made.arn = alias
    assert code_of(made.register) == "AccessDenied"
    words = {"Action": "lambda:InvokeFunction", "Principal": SERVICE, "SourceArn": made.group}
    aws.add_permission(FunctionName=name, Qualifier="live", StatementId="alias", **words)
    made.register()
    assert {made.ask()[2] for _ in range(40)} == {b"1 live", b"2 live"}  # one of 2**39 times not


def test_independent_adapter_reads_the_events(running: emulator.Running) -> None:
    """apig-wsgi, which the starters use, serves a WSGI application behind both kinds of target groups."""
    code = f"""
import sys, types
compat = sys.modules["apig_wsgi.compat"] = types.ModuleType("apig_wsgi.compat")
compat.WSGIApplication = object
library = types.ModuleType("apig_wsgi")
exec({inspect.getsource(apig_wsgi)!r}, library.__dict__)
def app(environ, start):
    size = int(environ["CONTENT_LENGTH"])
    seen = [environ[n] for n in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "HTTP_COOKIE", "REMOTE_ADDR", "wsgi.url_scheme")]
    start("202 Accepted", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return [repr([*seen, environ["wsgi.input"].read(size)]).encode()]
handler = library.make_lambda_handler(app)
"""
    made = Balanced(running, "balanced-wsgi", code)
    asked = ("/a%20b//c?x=1&x=%C3%A9", "PUT", b"\x00\xff", (("Cookie", "k=1"),))
    seen = "['PUT', '/a b//c', 'x=1&x=%C3%A9', 'k=1', '127.0.0.1', 'https', b'\\x00\\xff']"
    status, headers, body = made.ask(*asked)
    assert (status, body.decode()) == (202, seen)
    assert [value for name, value in headers if name.lower() == "set-cookie"] == ["a=1", "b=2"]
    made.attribute("lambda.multi_value_headers.enabled", "false")
    status, headers, body = made.ask(*asked)
    assert (status, body.decode()) == (202, seen.replace("x=1&", ""))
    assert [value for name, value in headers if name.lower() == "set-cookie"] == ["b=2"]


def stack(function: str, subnets: list[str], *, permitted: bool) -> str:
    """A load balancer, and a target group of the function, with the permission before it or not."""
    kind = "AWS::ElasticLoadBalancingV2"
    source = "arn:aws:elasticloadbalancing:${AWS::Region}:${AWS::AccountId}:targetgroup/${Name}/*"
    permission = {
        "FunctionName": function,
        "Action": "lambda:InvokeFunction",
        "Principal": "elasticloadbalancing.amazonaws.com",
        "SourceArn": {"Fn::Sub": source if permitted else source.replace("${Name}", "another")},
    }
    group = {"Name": {"Ref": "Name"}, "TargetType": "lambda", "Targets": [{"Id": function}]}
    resources = {
        "Balancer": {"Type": f"{kind}::LoadBalancer", "Properties": {"Subnets": subnets}},
        "Permission": {"Type": "AWS::Lambda::Permission", "Properties": permission},
        "Group": {"Type": f"{kind}::TargetGroup", "Properties": group, "DependsOn": ["Permission"]},
    }
    return cloudformation.write(
        {"Parameters": {name: {"Type": "String"} for name in ("Name", "Environment")}, "Resources": resources}
    )


def test_stack_is_refused_as_its_operations_are(running: emulator.Running, many: Balanced) -> None:
    """Subnets in one zone, and a target that the function's policy does not let call: what was made goes again."""
    zone = client(running, "ec2").describe_subnets(SubnetIds=SUBNETS[:1])["Subnets"][0]
    other = client(running, "ec2").create_subnet(
        VpcId=zone["VpcId"], CidrBlock="172.31.96.0/20", AvailabilityZone=zone["AvailabilityZone"]
    )["Subnet"]["SubnetId"]
    few = [{"SubnetId": one} for one in (SUBNETS[0], other)]
    create = {"Name": "balanced-mapped", "Scheme": "internal"}
    assert code_of(lambda: many.aws.create_load_balancer(SubnetMappings=few, **create)) == "ValidationError"
    many.aws.create_load_balancer(SubnetMappings=[{"SubnetId": one} for one in SUBNETS], **create)
    for name, subnets, permitted in (
        ("balanced-zone", [SUBNETS[0], other], True),
        ("balanced-denied", SUBNETS, False),
    ):
        made = Stack(running, name)
        status = made.execute(made.change("CREATE", stack(many.arn, subnets, permitted=permitted)))
        assert status == "ROLLBACK_COMPLETE", name
        assert name not in {one["TargetGroupName"] for one in many.aws.describe_target_groups()["TargetGroups"]}
