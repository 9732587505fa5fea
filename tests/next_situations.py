"""The situations of ``test_next.py``: how each comes about, what is refused in it, and what the error says to type."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import next_arrangements as do
from tiny import Tiny

AWS = " --cloud aws"


@dataclass(frozen=True)
class Situation:
    """One error and its remedy.

    Attributes:
        arrange: brings it about.
        typed: the task that is refused, with its options.
        says: a part of the error.
        next: a part of the remedy, whose commands are typed; ``…`` at its end: all of them before the first alternative.
        code: what the last command exits with.
        solved: whether the task is then no longer refused for that.
        cloud: the option for the task.
    """

    arrange: Callable[[Tiny, ExitStack], object]
    typed: str
    says: str
    next: str
    code: int = 0
    solved: bool = True
    cloud: str = AWS


HERE = "--branch main --cloud aws"
BUILD = f"invoke build --branch main && invoke push {HERE}"
SITUATIONS: dict[str, Situation] = {
    "no environment": Situation(do.nothing, "deploy", "does not exist yet on aws", f"invoke bootstrap {HERE}"),
    "outdated stack": Situation(do.older_stack, "deploy", "is not up to date", f"invoke bootstrap {HERE}"),
    "not pushed": Situation(do.unbuilt, "deploy", "has not been pushed", f"{BUILD}"),
    "other branch": Situation(
        do.other_branch,
        "deploy --branch develop",
        "has not been pushed",
        "git switch develop, then invoke build --branch develop && invoke push --branch develop --cloud aws",
    ),
    "paused": Situation(do.paused, "deploy", "is paused", f"invoke rollback {HERE}", solved=False),
    "moved": Situation(do.moved, "rollback", "which is not what served before", f"invoke rollback --to 2 {HERE}"),
    "moved while paused": Situation(
        do.moved,
        "deploy --resume",
        "deployed version 1 has traffic, which this deploy did not",
        f"invoke plan {HERE}",
        code=2,
    ),
    "nothing live": Situation(
        do.pushed, "rollback", "nothing is live, so there", f"invoke deploy {HERE}", solved=False
    ),
    "no verified release": Situation(
        do.released, "rollback", "has no verified", f"invoke releases {HERE}", solved=False
    ),
    "live already": Situation(
        do.released, "rollback --to 1", "is live already", f"invoke releases {HERE}", solved=False
    ),
    "no such release": Situation(
        do.released, "rollback --to 9", "no release 9", f"invoke releases {HERE}", solved=False
    ),
    "pruned": Situation(do.pruned, "rollback --to 1", "was pruned", "git revert --no-edit …", solved=False),
    "locked": Situation(do.locked, "deploy", "is locked by another user", f"invoke unlock --reason WHY {HERE}"),
    "other plan": Situation(
        do.pushed, f"deploy --plan sha256:{'0' * 64}", "not the plan", f"invoke plan {HERE}", code=2, solved=False
    ),
    "does not work": Situation(do.broken, "deploy", "answers /version with 500", f"invoke logs {HERE}", solved=False),
    "verify nothing": Situation(do.pushed, "verify", "nothing is live", f"invoke deploy {HERE}"),
    "verify by hand": Situation(
        do.by_hand, "verify", "was not deployed by this", f"invoke status {HERE}", solved=False
    ),
    "verify another": Situation(do.swapped, "verify", "is not sha256:0", f"invoke rollback {HERE}"),
    "detached": Situation(do.detached, "status", "no branch is checked out", "add --branch main", solved=False),
    "no such branch": Situation(
        do.single, "deploy --branch develop", "there is no branch 'develop' here", "git fetch origin develop:develop"
    ),
    "not built": Situation(do.unbuilt, "push", "nothing has been built yet", "invoke build"),
    "stale build": Situation(do.stale, "push", "the last build is of", "invoke build"),
    "uncommitted": Situation(
        do.dirty, "push", "there are uncommitted changes", f"git add --all && git commit, then {BUILD}"
    ),
    "model missing": Situation(do.without_model, "build", "is missing", "git restore models/…", cloud=""),
    "model altered": Situation(do.other_model, "build", "model.lock names", "git restore models/…", cloud=""),
    "lock unreadable": Situation(do.half_lock, "build", "model.lock:", "git restore model.lock", cloud=""),
    "hook": Situation(do.hooked, "deploy", "hooks.pre_deploy", f"then invoke deploy {HERE}"),
    "no project": Situation(
        do.unbuilt, "build --on codebuild", "there is no CodeBuild project", f"invoke bootstrap {HERE}", solved=False
    ),
    "retire nothing that costs": Situation(
        do.released, "retire", "costs nothing while it is not called", f"invoke status {HERE}", solved=False
    ),
    "doctor": Situation(do.nothing, "doctor", "production is missing", f"invoke bootstrap {HERE}"),
    "build unreadable": Situation(do.unreadable, "push", "manifest.json can't be read", "invoke build"),
    "archive lost": Situation(do.lost, "push", "artifact.zip does not exist", "invoke build"),
    "other target": Situation(
        do.staging, "push --branch develop", "the build is for the target", "invoke build --branch develop"
    ),
    "unknown branch": Situation(
        do.elsewhere, "status", "names the branch 'feature'", "add --branch main", solved=False
    ),
    "wrong target": Situation(
        do.nothing, "upgrade --target moon", "'moon' is not one of", "invoke upgrade --help", cloud="", solved=False
    ),
    "no model": Situation(do.no_lock, "build", "there is no model yet", "invoke train promote", cloud=""),
    "other Python": Situation(do.two_pythons, "deploy --branch develop", "was built for", "git switch develop"),
    "never verified": Situation(
        do.failed, "rollback --to 2", "was never verified", f"invoke releases {HERE}", solved=False
    ),
    "fails when watched": Situation(
        do.watched, "deploy", "false exited with code 1; release 1 serves", f"invoke logs {HERE}", solved=False
    ),
    "wrong answer": Situation(do.wrong, "deploy", 'with note = "second"', f"invoke logs {HERE}", solved=False),
    "raises": Situation(do.raising, "deploy", "does not answer /version", f"invoke logs {HERE}", solved=False),
    "verify raises": Situation(do.raising_later, "verify", "live does not", f"invoke logs {HERE}", solved=False),
    "verify uncommitted": Situation(
        do.from_changes,
        "verify --rebuild",
        "from uncommitted changes",
        f"git commit, then {BUILD} && invoke deploy {HERE}…",
    ),
    "no repository": Situation(do.without_repository, "build", "not in a git repository", "git init …", cloud=""),
    "no commit": Situation(do.without_commit, "build", "has no commit yet", "git add …", cloud=""),
    "not committed": Situation(do.beside, "build", "is not in its repository's last", "git add …", cloud=""),
    "shallow": Situation(do.shallow, "verify --rebuild", "there is no commit", "git fetch --unshallow origin"),
}
