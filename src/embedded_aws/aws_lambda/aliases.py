"""An alias with weights splits its traffic, is visible to the function, and refers to existing versions.

On AWS, a call of an alias with ``RoutingConfig`` runs the additional version with the probability of its weight; the
function sees the alias in its invoked ARN, and the answer says which version ran:
https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
ministack stores the weights but always calls the first version; a function that is called by its URL sees no alias; an
alias may refer to a version that does not exist, which AWS refuses:
https://docs.aws.amazon.com/lambda/latest/api/API_UpdateAlias.html
"""

from __future__ import annotations

from contextvars import ContextVar
from random import SystemRandom
from typing import Any

_invoked: ContextVar[str] = ContextVar("invoked", default="")


def invoked(arn: str) -> None:
    """Let the function that this request calls see the alias in ``arn``; metrics count the call under it."""
    _invoked.set(arn)


def patch() -> None:
    """Choose the version where ministack resolves an alias: for calls by name, and by Function URL or API."""
    from ministack.services import lambda_svc as lambda_

    invoke, execute = lambda_._invoke, lambda_._execute_function_with_config_scope
    find, by_url = lambda_._get_func_record_for_ref, lambda_.handle_function_url_request
    create, update = lambda_._create_alias, lambda_._update_alias

    async def invoke_chosen(
        name: str, event: Any, headers: Any, path_qualifier: str | None = None, query_params: Any = None
    ) -> Any:
        alias = path_qualifier or lambda_._qp_first(query_params or {}, "Qualifier")
        if version := chosen(name, alias):
            _invoked.set(f"{lambda_._func_arn(name)}:{alias}")
            path_qualifier = version
        return await invoke(name, event, headers, path_qualifier, query_params)

    def execute_with_alias(function: dict[str, Any], event: Any) -> Any:
        if arn := _invoked.get():
            function = {**function, "config": {**function["config"], "FunctionArn": arn}}
        return execute(function, event)

    def find_chosen(reference: str) -> Any:
        name, alias = lambda_._resolve_name_and_qualifier(reference)
        version = chosen(name, alias)
        return find(f"{name}:{version}" if version else reference)

    async def by_url_with_alias(url: str, *arguments: Any, resolved: Any = None, **options: Any) -> Any:
        found = resolved or lambda_.resolve_function_url(url)
        if found and found[3]:
            account, region, name, alias = found[:4]
            _invoked.set(f"arn:aws:lambda:{region}:{account}:function:{name}:{alias}")
        return await by_url(url, *arguments, resolved=resolved, **options)

    def missing(name: str, data: dict[str, Any]) -> Any | None:
        """The error for an alias whose version does not exist; None when all do."""
        known = (lambda_._functions.get(name) or {}).get("versions", {})
        wanted = [data.get("FunctionVersion"), *(data.get("RoutingConfig") or {}).get("AdditionalVersionWeights", {})]
        for version in wanted:
            if version not in (None, "$LATEST", *known):
                message = f"Function not found: {lambda_._func_arn(name)}:{version}"
                return lambda_.error_response_json("ResourceNotFoundException", message, 404)
        return None

    def create_checked(name: str, data: dict[str, Any]) -> Any:
        return missing(name, data) or create(name, data)

    def update_checked(name: str, alias: str, data: dict[str, Any]) -> Any:
        return missing(name, data) or update(name, alias, data)

    def chosen(name: str, alias: str | None) -> str:
        """An additional version of this alias, with the probability of its weight; else empty."""
        known = (lambda_._functions.get(name) or {}).get("aliases", {}).get(alias, {})
        draw = SystemRandom().random()
        for version, weight in known.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}).items():
            draw -= float(weight)
            if draw < 0:
                return str(version)
        return ""

    lambda_._invoke = invoke_chosen
    lambda_._execute_function_with_config_scope = execute_with_alias
    lambda_._get_func_record_for_ref = find_chosen
    lambda_.handle_function_url_request = by_url_with_alias
    lambda_._create_alias, lambda_._update_alias = create_checked, update_checked
