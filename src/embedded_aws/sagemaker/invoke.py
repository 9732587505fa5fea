"""InvokeEndpoint: a request goes to a variant by weight or by name, and what the container answers comes back.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
An answer that isn't 2xx is a ModelError, HTTP 424, with the original status. Metrics by variant, in microseconds:
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
AWS doesn't document whether TargetVariant reaches a variant of weight 0; here it does.
"""

from __future__ import annotations

import asyncio
import contextvars
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from random import SystemRandom
from typing import Any
from urllib.parse import unquote

from ministack.core.responses import get_account_id, get_region

from embedded_aws.sagemaker import endpoints, store
from embedded_aws.sagemaker.instances import INVOKE_SECONDS, Answer, Instance
from embedded_aws.sagemaker.refusal import Refusal

MOST_BYTES = 6 * 1024 * 1024  # of a request and of an answer
MOST_ATTRIBUTES = 1024  # characters of CustomAttributes
PREFIX = "x-amzn-sagemaker-"
PASSED = ("content-type", "accept", f"{PREFIX}custom-attributes", f"{PREFIX}inference-id")
REFUSED = ("target-model", "target-container-hostname", "enable-explanations", "inference-component", "session-id")
_threads = ThreadPoolExecutor(128, "invoke")
_chance = SystemRandom()


async def handle(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Answer a request to ``/endpoints/NAME/invocations``."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_threads, context.run, _answer, path, headers, body)


def _answer(path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    name = unquote(path).split("/")[2]
    try:
        return _invoke(name, {key.lower(): value for key, value in headers.items()}, body)
    except Refusal as refusal:
        kind = {"x-amzn-ErrorType": refusal.code, "Content-Type": "application/json"}
        return refusal.status, kind, json.dumps({"Message": str(refusal)}).encode()


def _invoke(name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    began = time.perf_counter()
    for member in REFUSED:
        if headers.get(PREFIX + member):
            raise Refusal(f"the embedded AWS does not emulate {PREFIX}{member} (InvokeEndpoint)", "ValidationError")
    if len(body) > MOST_BYTES:
        raise Refusal(f"Request body is larger than {MOST_BYTES} bytes.", "ValidationError", 413)
    attributes = headers.get(f"{PREFIX}custom-attributes", "")
    if len(attributes) > MOST_ATTRIBUTES or not attributes.isascii():
        raise Refusal("CustomAttributes must be at most 1024 visible ASCII characters.", "ValidationError")
    record = store.table("endpoints").get(name)
    if record is None or endpoints.fleet(record) is None:
        raise Refusal(f"Endpoint {name} of account {get_account_id()} not found.", "ValidationError")
    chosen, instance = _pick(record, headers.get(f"{PREFIX}target-variant", ""))
    passed = {key: headers[key] for key in PASSED if headers.get(key)}
    failure = ""
    try:
        answer = instance.invoke(body, passed)
    except TimeoutError:
        answer = Answer(0, {}, b"", INVOKE_SECONDS * 1000)
        failure = "Your invocation timed out while waiting for a response from container primary."
    except (OSError, http.client.HTTPException) as error:
        answer = Answer(0, {}, b"", 0.0)
        failure = f"An error occurred while reading the response from container primary: {error}"
    finally:
        instance.release()
    if len(answer.body) > MOST_BYTES:
        failure = f"The response body is larger than {MOST_BYTES} bytes."
    good = 200 <= answer.status < 300 and not failure
    _measure(name, chosen, answer, good, (time.perf_counter() - began) * 1000)
    invoked = {"x-Amzn-Invoked-Production-Variant": chosen}
    if good:
        kept = {f"{PREFIX}custom-attributes": "X-Amzn-SageMaker-Custom-Attributes"}
        invoked |= {shown: answer.headers[key] for key, shown in kept.items() if key in answer.headers}
        # In lower case: ministack replaces the Content-Type of JSON by that of the service's own answers.
        kind = answer.headers.get("content-type", "application/octet-stream")
        return 200, {"content-type": kind, **invoked}, answer.body
    return _model_error(name, answer, failure, invoked)


def _pick(record: dict[str, Any], wanted: str) -> tuple[str, Instance]:
    """An instance of the variant that is asked for, else by weight, and that variant's name; to be released."""
    end = time.monotonic() + INVOKE_SECONDS
    while serving := endpoints.fleet(record):
        serving.ready.wait(INVOKE_SECONDS)  # after a restart of the emulator
        chosen = wanted or choose(serving.records)
        if chosen not in serving.variants:
            what = f"Variant {chosen}" if chosen else "A variant with a weight"
            raise Refusal(f"{what} of endpoint {record['EndpointName']} not found.", "ValidationError")
        if instance := serving.variants[chosen].acquire():
            return chosen, instance
        if time.monotonic() > end:
            break
        time.sleep(0.005)  # this fleet is being replaced by the next one
    raise Refusal(f"Endpoint {record['EndpointName']} of account {get_account_id()} not found.", "ValidationError")


def choose(variants: list[dict[str, Any]]) -> str:
    """A variant's name, by chance, with the probability of its share of all weights; empty if none has any."""
    draw = _chance.random() * sum(v["InitialVariantWeight"] for v in variants)
    for variant in variants:
        draw -= variant["InitialVariantWeight"]
        if draw < 0:
            return str(variant["VariantName"])
    return ""


def _model_error(name: str, answer: Answer, failure: str, invoked: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    original = failure or answer.body.decode("utf-8", "replace")
    kind = "client" if 400 <= answer.status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{name}"
    where = f"https://{get_region()}.console.aws.amazon.com/cloudwatch/home?region={get_region()}#logEventViewer:group={group}"
    document = {
        "Message": f'Received {kind} error ({answer.status}) from primary with message "{original}". See {where} in account '
        f"{get_account_id()} for more information.",
        "OriginalMessage": original,
        "OriginalStatusCode": answer.status,
        "LogStreamArn": f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}",
    }
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "ModelError", **invoked}
    return 424, headers, json.dumps(document).encode()


def _measure(name: str, variant: str, answer: Answer, good: bool, milliseconds: float) -> None:
    from ministack.services import cloudwatch

    dimensions = {"EndpointName": name, "VariantName": variant}
    counts = {
        "Invocations": 1.0,
        "InvocationsPerInstance": 1.0,
        "Invocation4XXErrors": float(400 <= answer.status < 500),
        "Invocation5XXErrors": float(answer.status >= 500 or answer.status == 0),
        "InvocationModelErrors": float(not good),
    }
    for metric, value in counts.items():
        cloudwatch.record_metric("AWS/SageMaker", metric, value, "Count", dimensions)
    for metric, took in (
        ("ModelLatency", answer.milliseconds),
        ("OverheadLatency", max(0.0, milliseconds - answer.milliseconds)),
    ):
        cloudwatch.record_metric("AWS/SageMaker", metric, took * 1000, "Microseconds", dimensions)
