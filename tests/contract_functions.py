"""Contracts of Lambda's configuration and packages: what it refuses before a function runs."""

from __future__ import annotations

import json
from typing import Any

from contract import PYTHON, Account, Function, contract, refused, zipped

INVALID = "InvalidParameterValueException"
VALIDATION = "ValidationException"
HANDLER = b"def handler(event, context): return event"
MEGABYTE = 1024 * 1024


def configure(at: Account, **settings: Any) -> None:
    at.plain.update(**settings)


def variables(at: Account, **named: str) -> None:
    configure(at, Environment={"Variables": named})


@contract("lambda.variables-size")
def variables_size(at: Account) -> None:
    """4 KB of variables are accepted, in JSON; one byte more is refused."""
    variables(at, AB="x" * (4096 - len('{"AB":""}')))
    refused(lambda: variables(at, AB="x" * (4097 - len('{"AB":""}'))), INVALID)
    refused(lambda: variables(at, AB="é" * 2100), INVALID)
    variables(at)


@contract("lambda.variables-reserved")
def variables_reserved(at: Account) -> None:
    """A reserved name is refused, in an update and for a new function; others that begin alike are not."""
    for name in ("AWS_REGION", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT", "AWS_SECRET_ACCESS_KEY"):
        assert name in refused(lambda name=name: variables(at, **{name: "x"}), INVALID)  # type: ignore[misc]
    refused(lambda: Function(at, HANDLER.decode(), Environment={"Variables": {"LAMBDA_RUNTIME_DIR": "x"}}), INVALID)
    variables(at, AWS_LAMBDA_EXEC_WRAPPER="", LAMBDA_OWN="x")
    variables(at)


@contract("lambda.variables-names")
def variables_names(at: Account) -> None:
    """Names have two characters at least and begin with a letter."""
    for name in ("A", "1A", "_HANDLER", "A-B", "A B", "É_"):
        refused(lambda name=name: variables(at, **{name: "x"}), VALIDATION, INVALID)  # type: ignore[misc]
    variables(at, AB="x")
    variables(at)


@contract("lambda.memory-size")
def memory_size(at: Account) -> None:
    """128 to 10,240 MB."""
    configure(at, MemorySize=10240)
    refused(lambda: configure(at, MemorySize=127), VALIDATION)
    refused(lambda: configure(at, MemorySize=10241), VALIDATION, INVALID)
    configure(at, MemorySize=128)


@contract("lambda.timeout")
def timeout(at: Account) -> None:
    """1 to 900 seconds."""
    configure(at, Timeout=900)
    refused(lambda: configure(at, Timeout=0), VALIDATION)
    refused(lambda: configure(at, Timeout=901), VALIDATION, INVALID)
    configure(at, Timeout=3)


@contract("lambda.storage-size")
def storage_size(at: Account) -> None:
    """512 to 10,240 MB of /tmp."""
    configure(at, EphemeralStorage={"Size": 10240})
    refused(lambda: configure(at, EphemeralStorage={"Size": 511}), VALIDATION)
    refused(lambda: configure(at, EphemeralStorage={"Size": 10241}), VALIDATION)
    configure(at, EphemeralStorage={"Size": 512})


@contract("lambda.description")
def description(at: Account) -> None:
    """256 characters, of a function and of a version."""
    configure(at, Description="x" * 256)
    refused(lambda: configure(at, Description="x" * 257), VALIDATION)
    publish = at.client("lambda").publish_version
    refused(lambda: publish(FunctionName=at.plain.name, Description="x" * 257), VALIDATION)


@contract("lambda.handler")
def handler(at: Account) -> None:
    """128 characters without white space."""
    refused(lambda: configure(at, Handler="x" * 129), VALIDATION)
    refused(lambda: configure(at, Handler="main. handler"), VALIDATION)


@contract("lambda.runtime")
def runtime(at: Account) -> None:
    """One of Lambda's runtimes."""
    refused(lambda: configure(at, Runtime="python4.0"), VALIDATION, INVALID)


@contract("lambda.architectures")
def architectures(at: Account) -> None:
    """x86_64 or arm64, and one of them."""
    code = {"ZipFile": zipped({"main.py": HANDLER}), "FunctionName": at.plain.name, "DryRun": True}
    update = at.client("lambda").update_function_code
    refused(lambda: update(**code, Architectures=["riscv"]), VALIDATION)
    refused(lambda: update(**code, Architectures=["x86_64", "arm64"]), VALIDATION)


@contract("lambda.name")
def name(at: Account) -> None:
    """64 letters, digits, dashes and underscores."""
    create = at.client("lambda").create_function
    words = {
        "Runtime": PYTHON,
        "Handler": "main.handler",
        "Role": at.role,
        "Code": {"ZipFile": zipped({"main.py": HANDLER})},
    }
    for wrong in ("x" * 65, "contract.name", "contract name"):
        refused(lambda wrong=wrong: create(FunctionName=wrong, **words), VALIDATION, INVALID)  # type: ignore[misc]


@contract("lambda.alias-name")
def alias_name(at: Account) -> None:
    """1 to 128 letters, digits, dashes and underscores, which are no number."""
    create = at.client("lambda").create_alias
    for wrong in ("1", "a.b", "a" * 129):
        words = {"FunctionName": at.plain.name, "Name": wrong, "FunctionVersion": "$LATEST"}
        refused(lambda words=words: create(**words), VALIDATION, INVALID)  # type: ignore[misc]


@contract("lambda.alias-weights")
def alias_weights(at: Account) -> None:
    """An alias refers to two published versions at most, with weights from 0 to 1."""
    made = Function(at, HANDLER.decode())
    publish, create = made.aws.publish_version, made.aws.create_alias
    for memory in (128, 192, 256):
        made.update(MemorySize=memory)
        publish(FunctionName=made.name)
    for weights in ({"2": 1.5}, {"2": -0.1}, {"2": 0.1, "3": 0.1}):
        words = {"FunctionName": made.name, "Name": "live", "FunctionVersion": "1"}
        split = {"AdditionalVersionWeights": weights}
        refused(lambda words=words, split=split: create(**words, RoutingConfig=split), VALIDATION, INVALID)  # type: ignore[misc]
    words = {"FunctionName": made.name, "Name": "live", "FunctionVersion": "$LATEST"}
    refused(lambda: create(**words, RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}}), INVALID)
    create(
        FunctionName=made.name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}}
    )


@contract("lambda.tags")
def tags(at: Account) -> None:
    """50 tags, with keys of 128 and values of 256 characters."""
    found = at.client("lambda").get_function_configuration(FunctionName=at.plain.name)["FunctionArn"]
    tag = at.client("lambda").tag_resource
    tag(Resource=found, Tags={f"k{i}": "v" * 256 for i in range(50)})
    refused(lambda: tag(Resource=found, Tags={"one-more": ""}), INVALID)
    refused(lambda: tag(Resource=found, Tags={"k" * 129: ""}), VALIDATION, INVALID)
    refused(lambda: tag(Resource=found, Tags={"k1": "v" * 257}), VALIDATION, INVALID)


@contract("lambda.zip-direct")
def zip_direct(at: Account) -> None:
    """A request with a ZIP file of more than 50 MB is refused."""
    update = at.client("lambda").update_function_code
    content = zipped({"main.py": HANDLER, "data": bytes(51 * MEGABYTE)}, compression=0)
    refused(
        lambda: update(FunctionName=at.plain.name, ZipFile=content, DryRun=True),
        "RequestEntityTooLargeException",
        "RequestTooLargeException",
    )


@contract("lambda.zip-unzipped")
def zip_unzipped(at: Account) -> None:
    """A package of more than 250 MB unzipped is refused, from a request and from S3."""
    update, s3, bucket = at.client("lambda").update_function_code, at.client("s3"), at.bucket()
    content = zipped({"main.py": HANDLER, "data": bytes(250 * MEGABYTE)})
    s3.put_object(Bucket=bucket, Key="code.zip", Body=content)
    refused(lambda: update(FunctionName=at.plain.name, ZipFile=content), INVALID)
    refused(lambda: update(FunctionName=at.plain.name, S3Bucket=bucket, S3Key="code.zip"), INVALID)


@contract("lambda.zip-readable")
def zip_readable(at: Account) -> None:
    """What is no ZIP file is refused."""
    update = at.client("lambda").update_function_code
    refused(lambda: update(FunctionName=at.plain.name, ZipFile=b"no zip"), INVALID)


@contract("lambda.role")
def role(at: Account) -> None:
    """A role's ARN, of a role that trusts Lambda."""
    refused(lambda: configure(at, Role="contract"), VALIDATION, INVALID)
    iam, other = at.client("iam"), at.name()
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName=other, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    at.undo.append(lambda: iam.delete_role(RoleName=other))
    refused(lambda: configure(at, Role=arn), INVALID)


@contract("lambda.concurrency-reserved")
def concurrency_reserved(at: Account) -> None:
    """100 executions at once stay for the functions that reserve none."""
    put = at.client("lambda").put_function_concurrency
    refused(lambda: put(FunctionName=at.plain.name, ReservedConcurrentExecutions=901), INVALID)


@contract("lambda.version-changed")
def version_changed(at: Account) -> None:
    """A published version is not configured any more."""
    made = Function(at, HANDLER.decode())
    made.aws.publish_version(FunctionName=made.name)
    refused(
        lambda: made.aws.update_function_configuration(FunctionName=f"{made.name}:1", MemorySize=256),
        VALIDATION,
        INVALID,
    )
