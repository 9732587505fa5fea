"""Only a request signed with a known key has an identity.

AWS refuses requests that are not signed with a key that it issued:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
ministack takes the key ``test``, any key of 12 digits and unsigned requests as the account's root. Operations that AWS serves
unsigned, such as AssumeRoleWithWebIdentity, still are.
"""

from __future__ import annotations

import os
from typing import Any


def patch() -> None:
    """Accept only the key that this process generated as root."""
    from ministack.core import iam_evaluator
    from ministack.services import sts

    root = os.environ["AWS_ACCESS_KEY_ID"]

    def is_root_access_key(access_key_id: str) -> bool:
        return access_key_id == root

    enforce = iam_evaluator.enforce

    def enforced(key: str, action: str, service: str, *where: str, **options: Any) -> Any:
        if not key and iam_evaluator._served_unsigned(service, action):
            return None
        return enforce(key, action, service, *where, **options)

    iam_evaluator.enforce = enforced
    iam_evaluator.is_root_access_key = is_root_access_key
    sts.is_root_access_key = is_root_access_key
