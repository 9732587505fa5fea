"""Each call of a function is counted as Lambda counts it.

On AWS a call by alias or version is counted under the function alone, under the function and the resource that was asked
for, and, by alias, under the version that ran too, whichever way it came:
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
ministack counts calls by name under the function alone, and calls by Function URL or API not at all; and the function's
reserved concurrency, which throttles, doesn't hold for its versions.
"""

from __future__ import annotations

import time
from typing import Any


def mend() -> None:
    """Count where every call passes, instead of where calls by name end."""
    from ministack.services import cloudwatch
    from ministack.services import lambda_svc as lambda_

    execute = lambda_._execute_function

    def counted(function: dict[str, Any], event: Any) -> Any:
        config = function.get("config") or function
        if lambda_._function_config_scope_mismatch(config):  # it is called again, in its own account and region
            return execute(function, event)
        began = time.perf_counter()
        base = lambda_._functions.get(config["FunctionName"]) or {}
        with lambda_._inflight_lock:
            at_once = lambda_._inflight.get(lambda_._inflight_key(config), 0) + 1
        result = execute({**function, "concurrency": base.get("concurrency")}, event)
        count(config, result, (time.perf_counter() - began) * 1000, at_once)
        return result

    def count(config: dict[str, Any], result: Any, milliseconds: float, at_once: int) -> None:
        throttled = bool(result.get("throttle"))
        values = {"Throttles": (float(throttled), "Count")}
        if not throttled:
            failed = float(bool(result.get("error")))
            values |= {"Invocations": (1.0, "Count"), "Errors": (failed, "Count")}
            values |= {"Duration": (milliseconds, "Milliseconds"), "ConcurrentExecutions": (float(at_once), "Count")}
        for dimensions in dimensions_of(config):
            for name, (value, unit) in values.items():
                cloudwatch.record_metric("AWS/Lambda", name, value, unit, dimensions)

    lambda_._execute_function = counted
    lambda_._emit_lambda_metrics = lambda *_, **__: None


def dimensions_of(config: dict[str, Any]) -> list[dict[str, str]]:
    """The sets of dimensions that a call is counted under; the ARN ends with the alias or version that was asked for."""
    name, asked = config["FunctionName"], config["FunctionArn"].split(":")[7:]
    sets = [{"FunctionName": name}]
    if asked:
        sets.append({"FunctionName": name, "Resource": f"{name}:{asked[0]}"})
        if not asked[0].isdigit():
            sets.append({**sets[-1], "ExecutedVersion": config.get("Version", "$LATEST")})
    return sets
