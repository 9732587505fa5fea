"""Only a signature of a known key is somebody.

AWS refuses a request that is not signed by a key it issued:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
ministack takes the key ``test``, any key of 12 digits and a request without any key for the account's root.
"""

from __future__ import annotations

import os


def mend() -> None:
    """Leave the root to the one key that this process made for itself."""
    from ministack.core import iam_evaluator
    from ministack.services import sts

    root = os.environ["AWS_ACCESS_KEY_ID"]

    def is_root_access_key(access_key_id: str) -> bool:
        return access_key_id == root

    iam_evaluator.is_root_access_key = is_root_access_key
    sts.is_root_access_key = is_root_access_key
