"""The resources of the Gateway API that routes need, as custom resource definitions of the cluster.

The fields and limits are those of https://gateway-api.sigs.k8s.io/reference/spec/ (v1), as far as the gateway here carries
them out; the API server drops other fields, as it does where the API's own definitions are installed.
"""

from __future__ import annotations

from typing import Any

GROUP = "gateway.networking.k8s.io"
PLURALS = {"GatewayClass": "gatewayclasses", "Gateway": "gateways", "HTTPRoute": "httproutes"}

STRING: dict[str, Any] = {"type": "string"}
NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 253}
PORT: dict[str, Any] = {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535}


def _record(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return {**found, "required": list(required)} if required else found


def _list(items: dict[str, Any], most: int, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "maxItems": most, "minItems": least}


def _defaulted(kind: dict[str, Any], value: Any) -> dict[str, Any]:
    return {**kind, "default": value}


CONDITIONS = {
    **_list(
        _record(
            ("type", "status", "lastTransitionTime", "reason", "message"),
            type=STRING,
            status={"type": "string", "enum": ["True", "False", "Unknown"]},
            observedGeneration={"type": "integer", "format": "int64", "minimum": 0},
            lastTransitionTime={"type": "string", "format": "date-time"},
            reason=STRING,
            message=STRING,
        ),
        8,
    ),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
PARENT = _record(
    ("name",),
    group=_defaulted(STRING, GROUP),
    kind=_defaulted(STRING, "Gateway"),
    namespace=NAME,
    name=NAME,
    sectionName=NAME,
    port=PORT,
)
BACKEND = _record(
    ("name",),
    group=STRING,  # the default "" is refused by this API server, so it is where the field is read
    kind=_defaulted(STRING, "Service"),
    namespace=NAME,
    name=NAME,
    port=PORT,
    weight=_defaulted({"type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000}, 1),
)
PATH = _record(
    type=_defaulted({"type": "string", "enum": ["Exact", "PathPrefix"]}, "PathPrefix"), value=_defaulted(STRING, "/")
)
RULE = _record(matches=_list(_record(path=PATH), 64), backendRefs=_list(BACKEND, 16))
ROUTE = _record(
    ("spec",),
    spec=_record(
        parentRefs=_list(PARENT, 32),
        hostnames=_list(STRING, 16),
        rules=_defaulted(_list(RULE, 16, 1), [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}]),
    ),
    status=_record(
        ("parents",),
        parents=_list(
            _record(("parentRef", "controllerName"), parentRef=PARENT, controllerName=STRING, conditions=CONDITIONS), 32
        ),
    ),
)
LISTENER = _record(("name", "port", "protocol"), name=NAME, hostname=STRING, port=PORT, protocol=STRING)
ADDRESS = _record(("value",), type=_defaulted(STRING, "IPAddress"), value=NAME)
# What points to the controller's own settings, such as AWS's LoadBalancerConfiguration; nothing here reads it.
PARAMETERS = _record(("group", "kind", "name"), group=STRING, kind=STRING, name=NAME, namespace=NAME)
GATEWAY = _record(
    ("spec",),
    spec=_record(
        ("gatewayClassName", "listeners"),
        gatewayClassName=NAME,
        listeners=_list(LISTENER, 64, 1),
        infrastructure=_record(parametersRef=PARAMETERS),
    ),
    status=_record(addresses=_list(ADDRESS, 16), conditions=CONDITIONS),
)
CLASS = _record(
    ("spec",),
    spec=_record(("controllerName",), controllerName=NAME, description=STRING, parametersRef=PARAMETERS),
    status=_record(conditions=CONDITIONS),
)


def all_definitions() -> list[dict[str, Any]]:
    """The definitions of ``PLURALS``' kinds."""
    return [
        _definition("GatewayClass", CLASS, "Cluster"),
        _definition("Gateway", GATEWAY, "Namespaced"),
        _definition("HTTPRoute", ROUTE, "Namespaced"),
    ]


def _definition(kind: str, schema: dict[str, Any], scope: str) -> dict[str, Any]:
    plural = PLURALS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{GROUP}",
            # The API server refuses a group of Kubernetes' own without it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a part of it for the emulator"},
        },
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }
