"""Endpoint configurations: which models an endpoint runs, and how traffic is split between them.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateEndpointConfig.html
"""

from __future__ import annotations

from collections import Counter

from embedded_aws.sagemaker import models, store, tags
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

HEALTHY_SECONDS = 240  # within which a container must answer /ping, unless a variant says otherwise


def create(request: Record) -> Record:
    """Create one; all its models must exist."""
    name, arn = request["EndpointConfigName"], store.arn("endpoint-config", request["EndpointConfigName"])
    if name in store.table("configs"):
        raise Refusal(f'Cannot create already existing endpoint configuration "{arn}".')
    variants = [{"InitialVariantWeight": 1.0, **variant} for variant in request["ProductionVariants"]]
    doubled = [n for n, times in Counter(v["VariantName"] for v in variants).items() if times > 1]
    if doubled:
        raise Refusal(f"Production variant names must be unique: {doubled[0]}")
    for variant in variants:
        for member in ("ModelName", "InstanceType", "InitialInstanceCount"):
            if not variant.get(member):
                raise Refusal(f"{member} is required for the production variant {variant['VariantName']}.")
        if variant["InitialVariantWeight"] < 0:
            raise Refusal(f"The weight of the production variant {variant['VariantName']} is negative.")
        models.get(variant["ModelName"])
    store.table("configs")[name] = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "ProductionVariants": variants,
        "EndpointConfigArn": arn,
        "CreationTime": store.now(),
        "EnableNetworkIsolation": False,
    }
    tags.put(arn, request.get("Tags", []))
    return {"EndpointConfigArn": arn}


def get(name: str) -> Record:
    """The record of a configuration.

    Raises:
        Refusal: there is none.
    """
    found: Record | None = store.table("configs").get(name)
    if found is None:
        raise Refusal(f'Could not find endpoint configuration "{store.arn("endpoint-config", name)}".')
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return get(request["EndpointConfigName"])


def delete(request: Record) -> Record:
    """Delete one, even one that an endpoint uses, which AWS's documentation warns of."""
    tags.drop(get(request["EndpointConfigName"])["EndpointConfigArn"])
    del store.table("configs")[request["EndpointConfigName"]]
    return {}


def find(request: Record) -> Record:
    """List them."""
    records = store.table("configs").values()
    return store.listed("ListEndpointConfigs", "EndpointConfigs", records, request, name="EndpointConfigName")


OPERATIONS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": describe,
    "DeleteEndpointConfig": delete,
    "ListEndpointConfigs": find,
}
