"""The execution role of a job or model: what it does is done with that role's rights, as on AWS.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import get_account_id, get_region

from embedded_aws.sagemaker.refusal import Refusal

PRINCIPAL = "sagemaker.amazonaws.com"
_making = threading.Lock()  # botocore's sessions aren't thread-safe
_session: Any = None


@dataclass(frozen=True)
class Session:
    """Keys of a role's session."""

    role: str
    key: str
    secret: str
    token: str
    region: str

    def variables(self) -> dict[str, str]:
        """What a container gets, so that AWS's SDKs in it use the emulator, as the role."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_SESSION_TOKEN": self.token,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": endpoint(),
        }

    def client(self, service: str) -> Any:
        """A client of the emulator that has the role's rights."""
        global _session
        from botocore.config import Config
        from botocore.session import Session as Botocore

        with _making:
            _session = _session or Botocore()
            return _session.create_client(
                service,
                region_name=self.region,
                endpoint_url=endpoint(),
                aws_access_key_id=self.key,
                aws_secret_access_key=self.secret,
                aws_session_token=self.token,
                config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
            )

    def may(self, action: str, resource: str) -> bool:
        """Whether the role's policies allow an action."""
        from ministack.core import iam_evaluator

        name = action.partition(":")[0]
        return not iam_evaluator.enforce(self.key, action, name, self.region, resource_arn=resource)


def endpoint() -> str:
    """The address of this server."""
    return f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"


def trusted(role: str) -> None:
    """Check that a role exists and lets SageMaker assume it.

    Raises:
        Refusal: it doesn't.
    """
    from ministack.services import iam

    known = iam._roles.get(role.rpartition("/")[2])
    document = (known or {}).get("AssumeRolePolicyDocument") or "{}"
    policy = json.loads(document) if isinstance(document, str) else document
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        services = (statement.get("Principal") or {}) if isinstance(statement.get("Principal"), dict) else {}
        named = services.get("Service", [])
        actions = statement.get("Action", [])
        lets = PRINCIPAL in named and "sts:AssumeRole" in actions  # each a string or a list of them
        if statement.get("Effect") == "Allow" and lets:
            return
    raise Refusal(
        f"Could not assume role {role}. Please ensure that the role exists and allows principal '{PRINCIPAL}' to "
        "assume the role."
    )


def assume(role: str, name: str) -> Session:
    """A new session of a role, with a name that is shown where it acts."""
    from ministack.services import sts

    session = Session(
        role, f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(32), secrets.token_hex(32), get_region()
    )
    short = role.rpartition("/")[2]
    sts.register_session(
        session.key,
        {
            "Arn": f"arn:aws:sts::{get_account_id()}:assumed-role/{short}/{name[:64]}",
            "UserId": f"{short}:{name[:64]}",
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
        },
    )
    return session
