"""What GitHub's API reports about the repository: its numbers, the form of its tokens, and who may use an environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.config import FILE, load
from ml_delivery.errors import ConfigError, PipelineError

if TYPE_CHECKING:
    from ml_delivery.config import Config

__all__ = [
    "SUBJECT",
    "Protection",
    "Repository",
    "Subject",
    "ask",
    "identified",
    "protection",
    "repository",
    "subject",
    "token",
]

SECONDS = 10
SUBJECT = "actions/oidc/customization/sub"
IDS = 'gh api repos/{name} --jq ".owner.id, .id"'


@dataclass(frozen=True)
class Repository:
    """A repository: its name as GitHub spells it (OWNER/NAME), and GitHub's numbers of its owner and of itself."""

    name: str
    owner_id: str
    id: str


@dataclass(frozen=True)
class Protection:
    """Who may use an environment.

    Attributes:
        reviewers: how many users and teams may approve; any one of them is enough.
        self_review: whether who started a run may approve it.
        bypass: whether the repository's administrators may skip the rules.
        branches: ``all``, ``protected`` (each with a branch protection rule) or ``selected``.
        patterns: the names and patterns of the selected branches.
        tags: those of the selected tags.
    """

    reviewers: int
    self_review: bool
    bypass: bool
    branches: str
    patterns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Subject:
    """The form of ``sub`` in a repository's tokens: how it begins (empty if not reported), and its custom claims, if any."""

    start: str
    custom: tuple[str, ...]


def token() -> str:
    """A token for GitHub's API: GH_TOKEN, else GITHUB_TOKEN, else that of GitHub's CLI if it is signed in; else empty."""
    if found := os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN"):
        return found
    if not shutil.which("gh"):
        return ""
    try:
        done = subprocess.run(["gh", "auth", "token"], capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def ask(path: str, token: str, missing: str, fix: str) -> Any:
    """GitHub's answer to ``/repos/<path>``, from ``GITHUB_API_URL``.

    Args:
        path: begins with OWNER/NAME.
        token: may be empty for a public repository.
        missing: the error's message if there is no such thing, or the token may not see it.
        fix: and its remedy.

    Raises:
        PipelineError: it is missing, or GitHub refuses or does not answer.
    """
    base = os.environ.get("GITHUB_API_URL", "https://api.github.com")
    headers = {"Accept": "application/vnd.github+json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(f"{base}/repos/{path}", headers=headers)  # noqa: S310 - GitHub's, or the user's own
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 # nosec B310 - as above
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise PipelineError(missing, next=fix) from error
        raise PipelineError(f"GitHub answers {error.code}", next="use a token that may read the repository") from error
    except (OSError, ValueError) as error:
        raise PipelineError(f"GitHub does not answer: {type(error).__name__}", next="check the network") from error


def repository(name: str, token: str) -> Repository:
    """The repository OWNER/NAME: https://docs.github.com/en/rest/repos/repos#get-a-repository

    Raises:
        PipelineError: GitHub does not answer, or has another name for it.
    """
    missing = f"GitHub has no repository {name}, or it is private and may not be read without a token"
    found = ask(
        name, token, missing, "correct github.repository in pipeline.toml; or set GITHUB_TOKEN, or gh auth login"
    )
    try:
        known = Repository(str(found["full_name"]), str(int(found["owner"]["id"])), str(int(found["id"])))
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineError(f"GitHub's answer about {name} has no ids", next="check GITHUB_API_URL") from error
    if known.name != name:
        raise PipelineError(
            f"GitHub names the repository {known.name}, pipeline.toml {name}",
            next=f'write repository = "{known.name}" into [github] of pipeline.toml',
        )
    return known


def identified(config: Config) -> Config:
    """The configuration with the repository's numbers, which GitHub is asked for and which are written to pipeline.toml.

    Nothing is asked where they are there already, or where pipeline.toml says that the tokens have names alone.

    Raises:
        ConfigError: there is no repository, GitHub can't be asked, or the numbers can't be written.
    """
    known = config.github
    if not known.repository or known.owner_id or known.repository_id or known.subject == "names":
        return config
    by_hand = (
        f"write owner_id and repository_id into [github] of pipeline.toml ({IDS.format(name=known.repository)}); or, for a "
        'repository whose tokens have names alone, subject = "names"'
    )
    secret = token()
    try:
        found = repository(known.repository, secret)
    except PipelineError as error:
        problem = f"github.owner_id, repository_id: empty, and {error.message}"
        raise ConfigError(FILE, [problem], next=f"{error.next}; or {by_hand}") from error
    if secret and _has_bare_subject(known.repository, secret):
        change = (
            f"gh api --method PUT repos/{known.repository}/{SUBJECT} -F use_default=true -F use_immutable_subject=true"
        )
        problem = (
            "github.subject: the repository's tokens have names alone, which another account can take after a rename"
        )
        lines = f'subject = "names", owner_id = "{found.owner_id}" and repository_id = "{found.id}"'
        raise ConfigError(FILE, [problem], next=f"{change}; or write {lines} into [github] of pipeline.toml")
    path = config.root / FILE
    text = path.read_bytes()
    path.write_bytes(_with_ids(text.decode(), found).encode())
    try:
        made = load(config.root)
    except ConfigError:
        made = config
    if (made.github.owner_id, made.github.repository_id) != (found.owner_id, found.id):
        path.write_bytes(text)
        problem = (
            f"github: owner_id is {found.owner_id} and repository_id is {found.id}, but they can't be written here"
        )
        raise ConfigError(FILE, [problem], next=by_hand)
    return made


def _has_bare_subject(name: str, token: str) -> bool:
    try:
        start = subject(name, token).start
    except PipelineError:  # it is not needed for this; `invoke doctor` reports it
        return False
    return bool(start) and "@" not in start


def _with_ids(text: str, found: Repository) -> str:
    """``pipeline.toml`` with the numbers: in their empty keys, or below ``repository``; nothing else is changed."""
    ids = {"owner_id": found.owner_id, "repository_id": found.id}
    lines, table, after = text.splitlines(keepends=True), "", 0
    for number, line in enumerate(lines):
        if heading := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = heading[1].strip()
        named = re.match(r"(\s*(\w+)\s*=\s*)(\"\"|'')?", line)
        if table != "github" or not named:
            continue
        if named[2] == "repository":
            after = number + 1
        elif named[2] in ids and named[3]:
            lines[number] = f'{named[1]}"{ids.pop(named[2])}"{line[named.end() :]}'
    end = "\r\n" if "\r\n" in text else "\n"
    lines[after:after] = [f'{name} = "{number}"{end}' for name, number in ids.items()]
    return "".join(lines)


def subject(repository: str, token: str) -> Subject:
    """The form of the repository's subjects.

    https://docs.github.com/en/rest/actions/oidc#get-the-customization-template-for-an-oidc-subject-claim-for-a-repository

    Raises:
        PipelineError: GitHub refuses, does not answer or, as Enterprise Server, does not know.
    """
    missing = "GitHub does not report the repository's subject"
    found = ask(f"{repository}/{SUBJECT}", token, missing, "use a token that may read its actions")
    custom = () if found.get("use_default", True) else tuple(found.get("include_claim_keys") or ("its organisation's",))
    return Subject(str(found.get("sub_claim_prefix") or ""), custom)


def protection(repository: str, name: str, token: str) -> Protection:
    """Who may use the environment ``name``: https://docs.github.com/en/rest/deployments/environments#get-an-environment

    Raises:
        PipelineError: there is no such environment, or GitHub refuses or does not answer.
    """
    place = f"https://github.com/{repository}/settings/environments"
    path = f"{repository}/environments/{urllib.parse.quote(name, safe='')}"
    found = ask(path, token, f"there is no environment {name}", f"create it in {place}")
    rules = [rule for rule in found.get("protection_rules", []) if rule.get("type") == "required_reviewers"]
    policy = found.get("deployment_branch_policy")
    branches = "all" if not policy else "protected" if policy.get("protected_branches") else "selected"
    patterns: list[dict[str, Any]] = []
    if branches == "selected":
        fix = "use a token that may read the repository's environments"
        listed = ask(f"{path}/deployment-branch-policies?per_page=100", token, f"{name}'s branches can't be read", fix)
        patterns = listed.get("branch_policies", [])
    return Protection(
        reviewers=sum(len(rule.get("reviewers", [])) for rule in rules),
        self_review=not any(rule.get("prevent_self_review") for rule in rules),
        bypass=bool(found.get("can_admins_bypass", True)),
        branches=branches,
        patterns=tuple(str(one["name"]) for one in patterns if one.get("type", "branch") == "branch"),
        tags=tuple(str(one["name"]) for one in patterns if one.get("type") == "tag"),
    )
