"""Only a signature of a known key is somebody.

AWS refuses a request that is not signed by a key it issued:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
ministack takes the key ``test``, any key of 12 digits and a request without any key for the account's root. What AWS serves
to strangers, such as a web identity that asks for credentials, is served still.
"""

from __future__ import annotations

import os
from typing import Any


def mend() -> None:
    """Leave the root to the one key that this process made for itself."""
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
