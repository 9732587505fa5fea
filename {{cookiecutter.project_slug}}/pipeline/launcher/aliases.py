"""An alias with weights splits its traffic.

On AWS, a call of an alias with ``RoutingConfig`` runs the additional version with the probability of its weight; the
function is told the alias as the one that was asked for, and the answer says which version ran:
https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
ministack stores the weights and calls the first version always.
"""

from __future__ import annotations

from contextvars import ContextVar
from random import SystemRandom
from typing import Any

_asked: ContextVar[str] = ContextVar("asked", default="")


def mend() -> None:
    """Draw the version where ministack resolves an alias: calls by name, and by Function URL or API."""
    from ministack.services import lambda_svc as lambda_

    invoke, execute = lambda_._invoke, lambda_._execute_function_with_config_scope
    find = lambda_._get_func_record_for_ref

    async def invoke_drawn(
        name: str, event: Any, headers: Any, path_qualifier: str | None = None, query_params: Any = None
    ) -> Any:
        alias = path_qualifier or lambda_._qp_first(query_params or {}, "Qualifier")
        if version := drawn(name, alias):
            _asked.set(f"{lambda_._func_arn(name)}:{alias}")
            path_qualifier = version
        return await invoke(name, event, headers, path_qualifier, query_params)

    def execute_as_asked(function: dict[str, Any], event: Any) -> Any:
        if arn := _asked.get():
            function = {**function, "config": {**function["config"], "FunctionArn": arn}}
        return execute(function, event)

    def find_drawn(reference: str) -> Any:
        name, alias = lambda_._resolve_name_and_qualifier(reference)
        version = drawn(name, alias)
        return find(f"{name}:{version}" if version else reference)

    def drawn(name: str, alias: str | None) -> str:
        """An additional version of this alias, as often as its weight says; else nothing."""
        known = (lambda_._functions.get(name) or {}).get("aliases", {}).get(alias, {})
        ticket = SystemRandom().random()
        for version, weight in known.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}).items():
            ticket -= float(weight)
            if ticket < 0:
                return str(version)
        return ""

    lambda_._invoke = invoke_drawn
    lambda_._execute_function_with_config_scope = execute_as_asked
    lambda_._get_func_record_for_ref = find_drawn
