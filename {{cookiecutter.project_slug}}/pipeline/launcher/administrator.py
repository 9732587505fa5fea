"""The user that the project's own commands act as: made at the first start, through the API, with a key of its own."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any


def prepare(app: Any, file: Path) -> None:
    """Make the user in the background as soon as the server answers, unless ``file`` holds a key that still exists."""
    threading.Thread(target=_ensure, args=(app, file), daemon=True, name="administrator").start()


def _ensure(app: Any, file: Path) -> None:
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    session = botocore.session.Session()
    iam = session.create_client("iam", region_name="us-east-1", endpoint_url=endpoint)
    for _ in range(500):
        try:
            users = {user["UserName"] for user in iam.list_users()["Users"]}
            break
        except BotoCoreError:
            time.sleep(0.02)
    else:
        return
    if file.exists() and "developer" in users:
        known = json.loads(file.read_text())["access_key"]
        keys = iam.list_access_keys(UserName="developer")["AccessKeyMetadata"]
        if known in {key["AccessKeyId"] for key in keys}:
            return
    if "developer" not in users:
        iam.create_user(UserName="developer")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    try:
        iam.put_user_policy(UserName="developer", PolicyName="all", PolicyDocument=json.dumps(document))
        key = iam.create_access_key(UserName="developer")["AccessKey"]
    except ClientError as error:
        print(f"no administrator: {error}", flush=True)
        return
    temporary = file.with_suffix(".tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump({"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}, out)
    temporary.replace(file)
