"""A stack can hold an OpenID Connect provider, a Slack channel, an HTTP API that pages may call, and a record of any zone.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-oidcprovider.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-chatbot-slackchannelconfiguration.html
ministack's IAM has such providers, its CloudFormation does not know the type. A Slack channel is a resource of the stack and
receives nothing: there is no Slack here. A record of a hosted zone that exists on AWS alone is a resource of the stack, and answers
nothing; ministack refuses it. ministack keeps an API's CORS settings as the template spells them, and reads them as
its own API does: ``allowOrigins``.
"""

from __future__ import annotations

from typing import Any

TYPE = "AWS::IAM::OIDCProvider"
SLACK = "AWS::Chatbot::SlackChannelConfiguration"
API = "AWS::ApiGatewayV2::Api"
RECORD = "AWS::Route53::RecordSet"


def patch() -> None:
    """Add the types."""
    from ministack.services.cloudformation import provisioners

    provisioners._RESOURCE_HANDLERS[TYPE] = {"create": create, "update": update, "delete": delete}
    provisioners._RESOURCE_HANDLERS[SLACK] = {
        "create": lambda logical_id, properties, stack: channel(properties),
        "update": lambda physical_id, old, new, stack: channel(new),
        "delete": lambda physical_id, properties: None,
    }
    api = provisioners._RESOURCE_HANDLERS[API]
    create_api, update_api = api["create"], api["update"]
    provisioners._RESOURCE_HANDLERS[API] = {
        **api,
        "create": lambda logical_id, properties, stack: create_api(logical_id, _cors(properties), stack),
        "update": lambda physical_id, old, new, *rest: update_api(physical_id, old, _cors(new), *rest),
    }
    make_record = provisioners._r53_record_set_create

    def record(logical_id: str, properties: dict[str, Any], stack: str) -> Any:
        if provisioners._r53_resolve_hosted_zone_id(properties) in provisioners._r53._zones:
            return make_record(logical_id, properties, stack)
        return properties["Name"], {"Name": properties["Name"]}

    provisioners._r53_record_set_create = record  # which its update calls, too
    provisioners._RESOURCE_HANDLERS[RECORD] = {**provisioners._RESOURCE_HANDLERS[RECORD], "create": record}


def _cors(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties with the names of ``CorsConfiguration`` as the API's own operations spell them."""
    if not (given := properties.get("CorsConfiguration")):
        return properties
    return {**properties, "CorsConfiguration": {name[0].lower() + name[1:]: value for name, value in given.items()}}


def channel(properties: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Returns a channel's ARN and attributes."""
    from ministack.core.responses import get_account_id

    name = properties["ConfigurationName"]
    arn = f"arn:aws:chatbot::{get_account_id()}:chat-configuration/slack-channel/{name}"
    return arn, {"Arn": arn}


def create(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    """Create it with IAM's own operation, whose error fails the resource; returns its ARN and attributes."""
    from ministack.services import iam

    fields = {"Url": [properties["Url"]]}
    for kind in ("ClientIdList", "ThumbprintList"):
        name = kind.replace("Id", "ID")
        fields |= {f"{name}.member.{n}": [value] for n, value in enumerate(properties.get(kind, []), 1)}
    status, _, body = iam._create_oidc_provider(fields)
    if status >= 400:
        raise ValueError(body.decode() if isinstance(body, bytes) else body)
    arn = next(arn for arn, known in iam._oidc_providers.items() if known["Url"] == properties["Url"])
    return arn, {"Arn": arn}


def update(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
    """A new audience changes the provider; a new URL creates another one."""
    from ministack.services import iam

    if old["Url"] != new["Url"]:
        return create("", new, stack)
    iam._oidc_providers[physical_id] |= {
        "ClientIDList": new.get("ClientIdList", []),
        "ThumbprintList": new.get("ThumbprintList", []),
    }
    return physical_id, {"Arn": physical_id}


def delete(physical_id: str, properties: dict[str, Any]) -> None:
    """Delete it, if it exists."""
    from ministack.services import iam

    iam._oidc_providers.pop(physical_id, None)
