"""An HTTP API of API Gateway in front of the alias that serves, at its own name or at a domain's.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_delivery.cloudformation import Tree
    from ml_delivery.keys import Http

__all__ = ["MOST_SECONDS", "problems", "template"]

# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html: an integration's timeout
MOST_SECONDS = 30
API = {"Ref": "Api"}
ZONE = {"Fn::GetAtt": ["Domain", "RegionalHostedZoneId"]}  # of the name that the domain leads to


def problems(http: Http, seconds: int) -> list[str]:
    """What is wrong with ``[http]`` for an HTTP API; ``seconds`` is the function's timeout."""
    network = http.named("domain", "certificate", "zone")
    found = [f'http.{name}: an HTTP API has none; write front = "load-balancer"' for name in network]
    if http.callers:
        found.append(
            "http.callers: an HTTP API has no policy that could name them; give execute-api:Invoke to their roles instead"
        )
    if bool(http.domain) != bool(http.certificate):
        found.append("http.domain, http.certificate: only one is set; write both or none")
    if http.zone and not http.domain:
        found.append("http.zone: there is no http.domain to add to it")
    if seconds > MOST_SECONDS:
        found.append(
            f"function.timeout: {seconds} s, and an HTTP API answers 503 after {MOST_SECONDS} s; "
            'write at most that, or http.front = "function-url"'
        )
    return found


def template(http: Http, alias: dict[str, str], cors: Tree) -> tuple[Tree, Tree]:
    """The resources, and the outputs ``Address``, at which it is called, and ``Api``, its own name.

    Args:
        http: the settings.
        alias: the function with its alias, as CloudFormation substitutes it.
        cors: which pages may call it; empty for none.
    """
    kind = {"open": "NONE", "iam": "AWS_IAM"}[http.access]
    own = {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}/"}
    arn = f"arn:${{AWS::Partition}}:lambda:${{AWS::Region}}:${{AWS::AccountId}}:function:{alias['Fn::Sub']}"
    source = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}/*"
    resources: Tree = {
        "Api": _resource(
            "Api",
            Name={"Fn::Sub": "${Name}-${Environment}"},
            ProtocolType="HTTP",
            # Otherwise the API could be called past the domain, and past what is in front of that.
            DisableExecuteApiEndpoint=bool(http.domain),
            **({"CorsConfiguration": cors} if cors else {}),
        ),
        "Integration": _resource(
            "Integration",
            ApiId=API,
            IntegrationType="AWS_PROXY",
            IntegrationUri={"Fn::Sub": arn},
            PayloadFormatVersion="2.0",
        ),
        "Route": _route("$default", kind),
        "Stage": _resource("Stage", ApiId=API, StageName="$default", AutoDeploy=True),
        "Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": alias,
                "Action": "lambda:InvokeFunction",
                "Principal": "apigateway.amazonaws.com",
                "SourceArn": {"Fn::Sub": source},
            },
        },
    }
    if cors and kind == "AWS_IAM":
        # A browser does not sign its preflight request, which a route that covers all methods would refuse:
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
        resources["Preflight"] = _route("OPTIONS /{proxy+}", "NONE")
        resources["PreflightOfRoot"] = _route("OPTIONS /", "NONE")  # which the other one does not cover
    if not http.domain:
        return resources, {"Address": {"Value": own}, "Api": {"Value": own}}
    resources["Domain"] = _resource(
        "DomainName",
        DomainName=http.domain,
        DomainNameConfigurations=[
            {"CertificateArn": http.certificate, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"}
        ],
    )
    mapping = _resource("ApiMapping", ApiId=API, DomainName={"Ref": "Domain"}, Stage="$default")
    resources["Mapping"] = {**mapping, "DependsOn": ["Stage"]}
    target = {"Fn::GetAtt": ["Domain", "RegionalDomainName"]}
    return resources, {
        "Address": {"Value": f"https://{http.domain}/"},
        "Api": {"Value": own},
        "Alias": {"Value": target},  # what a DNS server elsewhere has to name
    }


def _resource(kind: str, **properties: Any) -> Tree:
    return {"Type": f"AWS::ApiGatewayV2::{kind}", "Properties": properties}


def _route(key: str, kind: str) -> Tree:
    target = {"Fn::Sub": "integrations/${Integration}"}
    return _resource("Route", ApiId=API, RouteKey=key, Target=target, AuthorizationType=kind)
