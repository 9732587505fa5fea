"""Removes secrets, control characters and commands to GitHub's runner from text before it is printed, sent or recorded.

A secret is known by its value (this process's environment variables that are named like one, the credentials in use, the
service's own secrets where they can be read) or by its form. Digests, commits and references to secrets stay as they are.
"""

from __future__ import annotations

import base64
import json
import os
import re
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

__all__ = ["MASK", "inert", "learn", "masked"]

MASK = "***"
SHORTEST = 6  # characters; a shorter value is part of ordinary words
_learned: set[str] = set()

# Environment variables whose value is a secret, by their name.
NAMED = re.compile(
    r"(?i)TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|WEBHOOK|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|_KEY$|_PAT$|_PWD$|_DSN$|CONNECTION_STRING"
)
NOT_NAMED = re.compile(r"(?i)(_NAME|_FILE|_PATH|_DIR|_HOME|_ID|_ARN|_REGION|_EXPIRATION|_TYPE|_REQUEST_URL|CACHE_KEY)$")
# The user and password of a URL; "git" alone is not secret, and an image's digest comes after a slash.
USERINFO = r"(?<=://)(?!git@)[^/\s\"'@]+(?=@)"
ASSIGNED = r"(?:['\"]?[ \t]*[=:][ \t]*['\"]?)(?!ssm:|secretsmanager:|\*\*\*)"
FORMS = re.compile(
    "|".join(
        [
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            USERINFO,
            r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
            r"\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}",
            r"\bxox[a-z]-[\w-]{8,}|\bxapp-[\w-]{8,}|(?<=hooks\.slack\.com/)[\w/-]{8,}",
            r"\bsk-[\w-]{20,}|\b[sr]k_live_\w{16,}|\bAIza[\w-]{35}|\bnpm_\w{30,}|\bpypi-\w[\w-]{16,}",
            r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
            r"(?i:\b(?P<scheme>Bearer|Basic)\s+)[\w.~+/-]{8,}=*",
            rf"(?i:(?P<word>pass(?:word|wd|phrase)|pwd){ASSIGNED})[^\s\"',;&}}]{{4,}}",
            # Prose has "secret: AccessDenied" too, so after a colon only what looks random is masked.
            rf"(?i:(?P<name>secret|token|api[_-]?key|access[_-]?key|private[_-]?key){ASSIGNED})(?=[^\s\"',;&}}]*\d)[^\s\"',;&}}]{{8,}}",
        ]
    ),
    re.DOTALL,
)
# Values of such variables that are ordinary words.
PUBLIC = re.compile(r"(?i)\d{1,12}|true|false|default|inherit|disabled|enabled|unknown|redacted")
# Terminals' escape sequences, control characters but tab and newline, and characters that reorder text.
CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def learn(*values: str) -> None:
    """Mask these values from now on, in this process."""
    _learned.update(part for value in values for part in _parts(value))


def masked(text: str) -> str:
    """``text`` with ``***`` in the place of each known secret and of everything that has a secret's form."""
    environment = frozenset((name, value) for name, value in os.environ.items() if NAMED.search(name) or "://" in value)
    if known := _known(environment, frozenset(_learned)):
        text = known.sub(MASK, text)
    return FORMS.sub(_keep_name, text)


def inert(text: str) -> str:
    """``text`` without control characters; on GitHub Actions also without commands to the runner.

    The runner takes a line that begins with ``::`` and any ``##[`` as a command:
    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if os.environ.get("GITHUB_ACTIONS"):
        text = re.sub(r"(?m)^(\s*)::", r"\1: :", text).replace("##[", "# #[")
    return text


def _keep_name(found: re.Match[str]) -> str:
    """The mask, after the part that only names what is secret: ``password=***``."""
    whole = found.group()
    if found["scheme"]:
        return f"{found['scheme']} {MASK}"
    if found["word"] or found["name"]:
        head = re.match(rf"(?i)\w[\w-]*?{ASSIGNED}", whole)
        return f"{head.group() if head else ''}{MASK}"
    return MASK


@lru_cache(maxsize=4)
def _known(environment: frozenset[tuple[str, str]], learned: frozenset[str]) -> re.Pattern[str] | None:
    values = set(learned)
    for name, value in environment:
        if NAMED.search(name) and not NOT_NAMED.search(name):
            values.update(_parts(value))
        if "WEBHOOK" in name.upper():  # its path is the secret
            path = urlsplit(value).path
            values.update(part for piece in (path, path.rpartition("/")[2]) for part in _parts(piece))
        for found in re.findall(USERINFO, value):
            values.update(part for piece in (found, *found.split(":")[1:]) for part in _parts(unquote(piece)))
    longest_first = sorted(values, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _parts(value: str) -> set[str]:
    """A secret as it may appear: whole, line by line, escaped in JSON or in a URL, in base64; nothing that is too short."""
    lines = {line.strip() for line in (value, *value.splitlines())}
    written = {form for line in lines for form in (line, json.dumps(line)[1:-1], quote(line, safe=""))}
    written.add(base64.b64encode(value.encode()).decode().rstrip("="))
    return {form for form in written if len(form) >= SHORTEST and not PUBLIC.fullmatch(form)}
