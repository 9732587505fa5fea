"""Models: an image, its data in S3, and the role that a container of it has.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html
"""

from __future__ import annotations

from embedded_aws.sagemaker import images, packages, roles, store, tags
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.store import Record

MOST_VARIABLES = 32 * 1024  # bytes of all variables of a container


def create(request: Record) -> Record:
    """Create one; image and role are checked now, its data when it is deployed."""
    name, arn = request["ModelName"], store.arn("model", request["ModelName"])
    if name in store.table("models"):
        raise Refusal(f'Cannot create already existing model "{arn}".')
    given = request.get("Containers") or []
    if len(given) > 1:
        raise Refusal("the embedded AWS does not emulate inference pipelines of several containers (CreateModel)")
    if bool(given) == ("PrimaryContainer" in request):
        raise Refusal("Specify either PrimaryContainer or Containers.")
    if not request.get("ExecutionRoleArn"):
        raise Refusal("ExecutionRoleArn is required.")
    roles.trusted(request["ExecutionRoleArn"])
    container = packages.resolved(given[0] if given else request["PrimaryContainer"])
    check_container(container)
    images.pull(container["Image"], roles.assume(request["ExecutionRoleArn"], name))
    store.table("models")[name] = {
        **{k: v for k, v in request.items() if k != "Tags"},
        "ModelArn": arn,
        "CreationTime": store.now(),
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "_container": container,
    }
    tags.put(arn, request.get("Tags", []))
    return {"ModelArn": arn}


def check_container(container: Record) -> None:
    """Check what the shapes don't say.

    Raises:
        Refusal: there is no image, or the variables are too large.
    """
    if not container.get("Image"):
        raise Refusal("Either Image or ModelPackageName must be given for a container.")
    if sum(len(k) + len(v) for k, v in container.get("Environment", {}).items()) > MOST_VARIABLES:
        raise Refusal("The environment variables of a container may not exceed 32 KB.")


def get(name: str) -> Record:
    """The record of a model.

    Raises:
        Refusal: there is none.
    """
    found: Record | None = store.table("models").get(name)
    if found is None:
        raise Refusal(f'Could not find model "{store.arn("model", name)}".')
    return found


def describe(request: Record) -> Record:
    """Answer with the record."""
    return get(request["ModelName"])


def delete(request: Record) -> Record:
    """Delete one; endpoints that run it go on."""
    tags.drop(get(request["ModelName"])["ModelArn"])
    del store.table("models")[request["ModelName"]]
    return {}


def find(request: Record) -> Record:
    """List them."""
    return store.listed("ListModels", "Models", store.table("models").values(), request, name="ModelName")


OPERATIONS = {"CreateModel": create, "DescribeModel": describe, "DeleteModel": delete, "ListModels": find}
