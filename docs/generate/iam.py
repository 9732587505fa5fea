"""The permissions: every statement of the templates' policies, with the reason that its name and comments give."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Statement", "page", "statements"]

PACKAGE = Path("src/ml_delivery")
ROLES = {
    "build": "Taken by `build_test.yml` on a push to the environment's branch.",
    "codebuild": "Of the CodeBuild project, which builds and pushes, and runs no tests.",
    "plan": "Taken by `deploy.yml` on the branch, before the review; it only reads.",
    "deploy": "Taken by `deploy.yml` in the environment, after the review.",
    "train": "Taken by `train.yml` in the environment, after a review of the cost; it starts jobs, and can deploy nothing.",
    "function": "Of the function that serves.",
    "service": "Of what serves in containers: the pods of `eks`, the instances of `sagemaker`.",
    "jobs": "Of the jobs that prepare data, train, tune and judge.",
    "pipeline": "Of the pipeline of these jobs, which starts them and registers models, and reads nothing.",
    "bucket": "What the bucket's policy denies, whoever asks.",
    "repository": "What the policy of the images' repository allows.",
}
HEAD = """\
# IAM actions

Every statement that `invoke bootstrap` creates, with its reason. For each target a test takes each action of the role that deploys
away and sees the stage stop for want of it, and calls others and sees them refused; a training and a tuning run
under the role `train`. `invoke bootstrap` shows these, resolved for an
environment, before it changes anything; `invoke doctor --cloud aws` compares the account with them.
"""


@dataclass
class Statement:
    """One statement of a policy: the role, its name, its effect, its actions, the reason, and the template."""

    role: str
    sid: str
    effect: str
    template: str
    actions: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """Why: the comments, or else what its name says."""
        named = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.sid)
        return " ".join(self.reasons) or f"{named[:1].upper()}{named[1:].lower()}"


def page() -> str:
    """The page, in Markdown."""
    text = HEAD
    found = statements()
    for role in dict.fromkeys(one.role for one in found):
        text += f"\n## {role}\n\n{ROLES[role]}\n\n"
        for one in (one for one in found if one.role == role):
            denied = " (denied)" if one.effect == "Deny" else ""
            actions = ", ".join(f"`{action}`" for action in one.actions)
            text += f"- **{one.sid}**{denied}: {actions}. {one.reason}. From `{one.template}`\n"
    return text


def statements() -> list[Statement]:
    """All of them, the package's own first."""
    paths = [PACKAGE / "infra/foundation.yaml", PACKAGE / "infra/delivery.yaml"]
    paths += sorted((PACKAGE / "account").glob("*.yaml")) + sorted((PACKAGE / "targets").rglob("*.yaml"))
    return [one for path in paths for one in _of(path)]


def _of(path: Path) -> list[Statement]:
    role, policy, listing = "bucket" if path.parent.name == "infra" else "repository", "", False
    notes: list[str] = []
    found: list[Statement] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if comment := re.match(r"\s*# (.*)$", line):
            notes.append(comment[1])
            continue
        if named := re.search(r'RoleName: !Sub "\$\{Name\}-\$\{Environment\}-(\w+)"|^  (\w+):$', line):
            role, policy = named[1] or (named[2] if named[2] in ROLES else role), ""
        elif named := re.search(r"PolicyName: (\w+)", line):
            policy = named[1]
        elif named := re.search(r"- Sid: (\w+)(?:\s+# (.*))?$", line):
            found.append(
                Statement(role, named[1], "Allow", path.relative_to(PACKAGE).as_posix(), reasons=_why(notes, named[2]))
            )
        elif re.search(r"- Effect: Allow", line):
            found.append(
                Statement(role, policy, "Allow", path.relative_to(PACKAGE).as_posix(), reasons=_why(notes, None))
            )
        elif "Effect: Deny" in line and found:
            found[-1].effect = "Deny"
        if named := re.search(r"^\s+Action:(?: \"?([\w*]+:[\w*]+)\"?)?\s*(?:# (.*))?$", line):
            found[-1].actions += [named[1]] if named[1] else []
            listing = not named[1]
        elif listing and (named := re.search(r"^\s+- ([a-z0-9-]+:\w+)\s*(?:# (.*))?$", line)):
            found[-1].actions.append(named[1])
            found[-1].reasons += _why([], named[2])
        elif (named := re.search(r"^\s+Resource: .*# (.*)$", line)) and found:
            found[-1].reasons += _why([], named[1])
            listing = False
        else:
            listing = False
        notes = []
    return [one for one in found if one.sid and one.actions and one.actions != ["sts:AssumeRole"]]


def _why(notes: list[str], trailing: str | None) -> list[str]:
    """The reason in comments, without the addresses in them and without its last full stop."""
    text = " ".join([*notes, trailing or ""]).strip()
    text = re.sub(r"\s*https://\S+", "", text).rstrip(".: ")
    return [f"{text[:1].upper()}{text[1:]}"] if text else []
