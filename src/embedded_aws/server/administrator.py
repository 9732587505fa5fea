"""The user that the emulator's owner works as: made at the first start, through the API, with a key of its own.

The server is ready when that key works; then the file ``ready`` holds the number of this process. ``embedded_aws.process``
waits for that.
"""

from __future__ import annotations

import json
import os
import threading
import time
import traceback
from pathlib import Path
from typing import Any

NAME = "developer"
START_SECONDS = 60


def prepare(home: Path) -> threading.Event:
    """Make the user in the background as soon as the server answers, unless its stored key is still valid.

    Returns the event that is set when that is done.
    """
    ready = threading.Event()
    threading.Thread(target=_prepare, args=(home, ready), daemon=True, name="administrator").start()
    return ready


def _prepare(home: Path, ready: threading.Event) -> None:
    try:
        _ensure(home / "credentials.json")
        _write(home / "ready", str(os.getpid()))
        ready.set()
    except Exception:
        traceback.print_exc()  # the last lines of the log, which the user is shown
        os._exit(1)


def _ensure(file: Path) -> None:
    import botocore.session
    from botocore.config import Config

    endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
    options = Config(retries={"total_max_attempts": 1})
    iam = botocore.session.Session().create_client(
        "iam", region_name="us-east-1", endpoint_url=endpoint, config=options
    )
    if NAME in _users(iam):
        keys = {key["AccessKeyId"] for key in iam.list_access_keys(UserName=NAME)["AccessKeyMetadata"]}
        if file.exists() and json.loads(file.read_text())["access_key"] in keys:
            return
    else:
        iam.create_user(UserName=NAME)
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName=NAME, PolicyName="all", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=NAME)["AccessKey"]
    _write(file, json.dumps({"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}))


def _users(iam: Any) -> set[str]:
    from botocore.exceptions import BotoCoreError

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            return {user["UserName"] for user in iam.list_users()["Users"]}
        except BotoCoreError:  # it does not listen yet
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def _write(file: Path, text: str) -> None:
    temporary = file.with_suffix(".new")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
    temporary.replace(file)
