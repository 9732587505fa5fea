"""Models: what a release's containers are made of, never changed once created.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModel.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.cloud import code_of
from ml_delivery.errors import Refused
from ml_delivery.targets.sagemaker.names import OWNER, PING_VARIABLE, RELEASE, Names, number_of

if TYPE_CHECKING:
    from ml_delivery.records import Release, Settings

__all__ = ["Model", "Models", "missing", "tags_of"]

# The settings of a release that SageMaker keeps with a variant only, and so are the model's tags too.
KEPT = ("instance_type", "instances", "start")


def missing(error: BaseException) -> bool:
    """Whether SageMaker refused a request since what it names does not exist: it has no error code of its own for that."""
    return code_of(error) in ("ValidationException", "ValidationError") and "ould not find" in str(error)


def tags_of(client: Any, arn: str) -> dict[str, str]:
    """A resource's tags."""
    pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


@dataclass(frozen=True)
class Model:
    """A model that exists.

    Attributes:
        image: its URI, with the digest.
        variables: without those that this target adds.
        role: the ARN of its execution role.
        release: its release's number; 0 if it was not deployed by this pipeline.
        settings: ``KEPT`` of its release.
        ping: the path of its health check.
    """

    image: str
    variables: dict[str, str]
    role: str
    release: int
    settings: Settings
    ping: str


class Models:
    """The models of one endpoint.

    Args:
        where: the options by which a command reaches the environment, such as ``--branch main``.
    """

    def __init__(self, client: Any, names: Names, service: str, where: str) -> None:
        self._client, self._names, self._service, self._where = client, names, service, where

    def read(self, name: str) -> Model | None:
        """The model ``name``; None if there is none."""
        try:
            found = self._client.describe_model(ModelName=name)
        except Exception as error:
            if missing(error):
                return None
            raise
        marks = tags_of(self._client, found["ModelArn"])
        container = found["PrimaryContainer"]
        variables = dict(container.get("Environment", {}))
        ping = variables.pop(PING_VARIABLE, "")
        number = marks.get(RELEASE, "") if marks.get(OWNER) == self._service else ""
        kept = {key: marks.get(f"ml-delivery:{key}", "") for key in KEPT}
        return Model(
            image=container.get("Image", ""),
            variables=variables,
            role=found["ExecutionRoleArn"],
            release=int(number) if number.isdigit() else 0,
            settings={key: int(value) if value.isdigit() else value for key, value in kept.items()},
            ping=ping,
        )

    def create(self, release: Release, variant: str, variables: dict[str, str], ping: str) -> None:
        """Create the model of ``release``, unless it exists.

        Raises:
            Refused: there is another one of this name; or SageMaker refused it: the role can't be passed or assumed, or the
                image is missing or may not be pulled.
        """
        name, own = self._names.model(variant), release.settings
        wanted = Model(
            image=f"{own['repository']}@{release.artifact.digest}",
            variables=variables,
            role=str(own["role"]),
            release=release.number,
            settings={key: own[key] for key in KEPT},
            ping=ping,
        )
        there = self.read(name)
        if there is None:
            self._create(name, wanted)
        elif there != wanted:
            raise Refused(
                f"there is a model {name} already, which is not that of release {release.number}",
                next=f"aws sagemaker delete-model --model-name {name}, if it is not needed; then run this again",
            )

    def _create(self, name: str, wanted: Model) -> None:
        marks = {OWNER: self._service, RELEASE: str(wanted.release)}
        marks |= {f"ml-delivery:{key}": str(value) for key, value in wanted.settings.items()}
        try:
            self._client.create_model(
                ModelName=name,
                ExecutionRoleArn=wanted.role,
                PrimaryContainer={
                    "Image": wanted.image,
                    "Environment": {**wanted.variables, PING_VARIABLE: wanted.ping},
                },
                Tags=[{"Key": key, "Value": value} for key, value in sorted(marks.items())],
            )
        except Exception as error:
            if code_of(error) != "ValidationException":
                raise
            raise Refused(
                f"SageMaker refused the model {name}: {error}",
                next=f"fix what it names; invoke bootstrap {self._where} updates the role and the repository",
            ) from error

    def all(self) -> list[str]:
        """The variants that have a model by the name of a release's."""
        pages = self._client.get_paginator("list_models").paginate(NameContains=f"{self._names.endpoint}-r")
        found = (self._names.variant(model["ModelName"]) for page in pages for model in page["Models"])
        return sorted((variant for variant in found if variant), key=number_of)

    def clear(self) -> bool:
        """Delete all of them; whether there were any."""
        found = self.all()
        for variant in found:
            self.delete(variant)
        return bool(found)

    def delete(self, variant: str) -> None:
        """Delete a variant's model, unless it was not created by this pipeline or no longer exists."""
        name = self._names.model(variant)
        there = self.read(name)
        if there is None or not there.release:
            return
        try:
            self._client.delete_model(ModelName=name)
        except Exception as error:
            if not missing(error):
                raise
