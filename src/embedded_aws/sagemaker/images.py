"""The image of a job or model: in ECR, and pulled with the rights of the execution role.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html#sagemaker-roles-createmodel-perms
"""

from __future__ import annotations

from embedded_aws.aws_lambda.execution import Fault
from embedded_aws.aws_lambda.image_files import Image
from embedded_aws.sagemaker.refusal import Refusal
from embedded_aws.sagemaker.roles import Session

RIGHTS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


def pull(uri: str, session: Session) -> Image:
    """Find an image.

    Raises:
        Refusal: there is none, or the role may not pull it.
    """
    from ministack.services import ecr

    name = uri.partition("/")[2].rpartition("@" if "@" in uri else ":")[0]
    where = ecr._repo_arn(name)
    missing = [right for right in RIGHTS if not session.may(right, where)]
    missing += [right for right in ("ecr:GetAuthorizationToken",) if not session.may(right, "*")]
    if missing:
        raise Refusal(f"The role {session.role} does not have {', '.join(missing)} permissions for the image: {uri}.")
    try:
        return Image(uri)
    except Fault as fault:
        raise Refusal(f"Requested image {uri} not found. {fault}") from fault
