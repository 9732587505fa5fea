"""What the service itself wrote, as far as it may be shown and recorded: cut, and without the service's secrets.

A handler that raises may put a secret into the exception or into the response. What is recorded in the ledger is sent to
Slack and SNS and shown on GitHub too, so where the secrets can't be read, to be masked, nothing but the error's type is kept.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ml_delivery import masking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.records import Context

__all__ = ["LIMIT", "NAME", "last", "learn", "named", "shown"]

LIMIT = 300  # characters
SECONDS = 3
NAME = re.compile(r"(?:sha256:)?[0-9a-f]{7,64}|\d+|")  # a digest, a commit, a number, nothing
TYPE = re.compile(r"(?:\w+: )?(?:[A-Z]\w*(?:Error|Exception|Exit|Interrupt)|(?:Runtime|Sandbox|Extension)\.\w+)\b")


def learn(context: Context) -> bool:
    """Read the values of ``[function.secrets]``, to be masked from now on; returns whether all could be read."""
    complete = True
    for reference in sorted(set(context.environment.function.secrets.values())):
        service, _, name = reference.partition(":")
        client = context.cloud.client(service, read_timeout=SECONDS)
        try:
            if service == "ssm":
                value = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
            else:
                value = client.get_secret_value(SecretId=name).get("SecretString", "")
        except Exception:  # the role that deploys may not read them, and should not
            complete = False
            continue
        masking.learn(value, *_leaves(value))
    return complete


def shown(context: Context, text: str, limit: int = LIMIT) -> str:
    """``text`` without secrets, in at most ``limit`` characters; only its error type if the secrets can't be read."""
    if learn(context):
        clean = masking.masked(text)
        return clean if len(clean) <= limit else f"{clean[:limit]}…"
    kind = next(filter(None, map(TYPE.match, text.split(" | "))), None)  # the lines of a log are joined so
    where = f"invoke logs --branch {context.environment.branch}{context.where}"
    return f"{f'{kind.group()}: ' if kind else ''}(not shown, since it may contain a secret; see {where})"


def last(lines: Iterable[str], most: int) -> list[str]:
    """The last ``most`` lines of a log that say something: of a traceback its last line, which has the error."""
    said = (line.rstrip() for line in lines)
    return [line for line in said if line and not line.startswith((" ", "Traceback"))][-most:]


def named(context: Context, value: object) -> str:
    """What /version has as a release's number, commit, model or content; anything else than such a name as by ``shown``."""
    if value is None or NAME.fullmatch(str(value)):
        return repr(value)
    return shown(context, repr(value), 100)


def _leaves(value: str) -> list[str]:
    """The strings in a secret that is a JSON document, as those of Secrets Manager often are."""
    try:
        pending = [json.loads(value)]
    except ValueError:
        return []
    found: list[str] = []
    while pending:
        match pending.pop():
            case dict() as table:
                pending += table.values()
            case list() as items:
                pending += items
            case str() as text:
                found.append(text)
    return found
