"""The situations of ``test_next.py``: how each comes about, what is refused in it, and what the error says to type."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
from faults.harness import HANDLER as BY_VARIABLES
from tiny import PYTHON, Tiny

from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing

AWS = " --cloud aws"
CANARY = '\n[deploy]\nstrategy = "canary"\npause = 1\nperiod = 1\n'


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


def nothing(tiny: Tiny, stack: ExitStack) -> None:
    pass


def pushed(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()


def released(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()


def twice(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.mend("second")
    tiny.deploy()


def broken(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.fault("answers 500")
    tiny.push()


def other_branch(tiny: Tiny, stack: ExitStack) -> None:
    tiny.git("branch", "develop")
    tiny.commit("Later")
    tiny.invoke("bootstrap", "--branch", "develop")


def older_stack(tiny: Tiny, stack: ExitStack) -> None:
    """What was deployed is of an older configuration, and on AWS nothing updates it by itself."""
    tiny.push()
    tiny.replace("pipeline.toml", "[promote]", '[function.secrets]\nKEY = "ssm:/a/key"\n\n[promote]')
    tiny.commit()
    pushing.push(tiny.open(prepare=False), build.build(tiny.config))


def paused(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + CANARY)
    tiny.mend("second")
    tiny.push()
    tiny.invoke("deploy", "--detach")


def moved(tiny: Tiny, stack: ExitStack) -> None:
    twice(tiny, stack)
    text = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", text + CANARY.replace("pause = 1", "pause = 3"))
    tiny.mend("third")
    tiny.push()
    tiny.invoke("deploy", "--detach")
    name = f"{tiny.name}-production"
    tiny.open().cloud.client("lambda").update_alias(
        FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig={}
    )


def locked(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()
    stack.enter_context(tiny.open().ledger.locked("another user", "deploy"))


def pruned(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + "\n[deploy]\nkeep = 1\nkeep_days = 0\n")
    tiny.commit()
    for note in ("first", "second", "third"):
        tiny.mend(note)
        tiny.deploy()


def publish(tiny: Tiny, **variables: str) -> None:
    """Publish a version by hand, and let it serve."""
    aws, name = tiny.open().cloud.client("lambda"), f"{tiny.name}-production"
    aws.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    aws.get_waiter("function_updated_v2").wait(FunctionName=name)
    version = aws.publish_version(FunctionName=name, Description="by hand")["Version"]
    aws.get_waiter("function_active_v2").wait(FunctionName=name, Qualifier=version)
    aws.update_alias(FunctionName=name, Name="live", FunctionVersion=version)


def by_hand(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    publish(tiny)


def swapped(tiny: Tiny, stack: ExitStack) -> None:
    twice(tiny, stack)
    opened = tiny.open()
    release = opened.ledger.read(2)
    with opened.ledger.locked("tests", "change") as lease:
        lease.write(replace(release, artifact=replace(release.artifact, digest="sha256:0")))


def detached(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.git("checkout", "--quiet", "--detach")


def single(tiny: Tiny, stack: ExitStack) -> None:
    """A clone of one branch, which does not fetch another one to where it is looked for."""
    tiny.git("branch", "develop")
    tiny.git("clone", "--quiet", "--bare", ".", "../origin.git")
    tiny.git("remote", "add", "-t", "main", "origin", "../origin.git")
    tiny.git("branch", "--quiet", "-D", "develop")
    tiny.invoke("bootstrap", "--branch", "develop")


def stale(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()
    tiny.commit("Later")


def unbuilt(tiny: Tiny, stack: ExitStack) -> None:
    tiny.open()


def dirty(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()
    tiny.replace("src/service/handler.py", '"first"', '"dirty"')
    tiny.invoke("build")


def without_model(tiny: Tiny, stack: ExitStack) -> None:
    (model,) = (tiny.root / "models").iterdir()
    model.unlink()


def other_model(tiny: Tiny, stack: ExitStack) -> None:
    (model,) = (tiny.root / "models").iterdir()
    model.write_bytes(b"another")


def half_lock(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write("model.lock", "[primary")


def hooked(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write(
        "pipeline.toml", (tiny.root / "pipeline.toml").read_text() + '\n[hooks]\npre_deploy = ["test", "-e", "ok"]\n'
    )
    tiny.commit()
    tiny.push()
    tiny.write(".git/info/exclude", "ok\n")
    stack.callback((tiny.root / "ok").unlink, missing_ok=True)


def unreadable(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()
    tiny.write("build/manifest.json", "{")


def lost(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()
    (tiny.root / "build/artifact.zip").unlink()


def without_repository(tiny: Tiny, stack: ExitStack) -> None:
    (tiny.root / ".git").rename(tiny.root.parent / "git")
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("GIT_CEILING_DIRECTORIES", str(tiny.root.parent.parent))


def without_commit(tiny: Tiny, stack: ExitStack) -> None:
    without_repository(tiny, stack)
    tiny.git("init", "--quiet", "--initial-branch", "main")


def beside(tiny: Tiny, stack: ExitStack) -> None:
    """The service's folder is not committed yet, in a repository that has a commit."""
    without_commit(tiny, stack)
    (tiny.root / ".git").rename(tiny.root.parent / ".git")
    who = ("-c", "user.email=tests@localhost", "-c", "user.name=tests")
    tiny.git(*who, "commit", "--quiet", "--allow-empty", "--message", "Empty")


def shallow(tiny: Tiny, stack: ExitStack) -> None:
    """The repository as a workflow checks it out, without the commit that is live."""
    tiny.deploy()
    tiny.commit("Later")
    tiny.git("clone", "--quiet", "--bare", ".", "../origin.git")
    (tiny.root / ".git").rename(tiny.root.parent / "git")
    origin = (tiny.root.parent / "origin.git").as_uri()
    tiny.git("clone", "--quiet", "--depth", "1", "--bare", origin, ".git")
    for words in (("core.bare", "false"), ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")):
        tiny.git("config", *words)
    tiny.git("reset", "--quiet")


def staging(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + 'target = "mine:Other"\n')
    tiny.write("mine.py", "from ml_delivery.targets.lambda_zip import LambdaZip\n\nclass Other(LambdaZip):\n    pass\n")
    tiny.commit()
    tiny.git("branch", "develop")
    tiny.invoke("bootstrap", "--branch", "develop")
    tiny.invoke("build")


def failed(tiny: Tiny, stack: ExitStack) -> None:
    broken(tiny, stack)
    tiny.invoke("deploy", code=1)


def raising(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.fault("raises")
    tiny.push()


def raising_later(tiny: Tiny, stack: ExitStack) -> None:
    """The release that is live begins to raise, by a variable that was set by hand."""
    tiny.write("src/service/handler.py", BY_VARIABLES)
    tiny.commit()
    tiny.deploy()
    publish(tiny, RELEASE_NUMBER="1", BAD="raises")


def wrong(tiny: Tiny, stack: ExitStack) -> None:
    request = '[[probe.requests]]\npath = "/"\nexpect = {note = "first"}\n'
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + request)
    tiny.deploy()
    tiny.mend("second")
    tiny.push()


def watched(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + CANARY + 'command = ["false"]\n')
    tiny.deploy()
    tiny.mend("second")
    tiny.push()


def from_changes(tiny: Tiny, stack: ExitStack) -> None:
    tiny.replace("src/service/handler.py", '"first"', '"dirty"')
    tiny.deploy()


def no_lock(tiny: Tiny, stack: ExitStack) -> None:
    """There is a command to train and one to promote, but no model yet."""
    train = "import pathlib; pathlib.Path('trained').write_text('a model')"
    promote = (
        "import hashlib, pathlib; m = pathlib.Path('trained').read_bytes(); d = hashlib.sha256(m).hexdigest(); "
        "pathlib.Path('models/m.onnx').write_bytes(m); pathlib.Path('model.lock').write_text("
        'f\'[primary]\\nfile = "models/m.onnx"\\ndigest = "sha256:{d}"\\n\')'
    )
    tiny.replace(
        "pipeline.toml",
        'command = ["python", "-m", "service.promotion"]',
        f"command = {json.dumps(['python3', '-c', promote])}",
    )
    tiny.write(
        "pipeline.toml",
        (tiny.root / "pipeline.toml").read_text() + f"\n[train]\ncommand = {json.dumps(['python3', '-c', train])}\n",
    )
    (tiny.root / "model.lock").unlink()
    tiny.commit()


def elsewhere(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.git("switch", "--quiet", "--create", "feature")


def two_pythons(tiny: Tiny, stack: ExitStack) -> None:
    """What the other branch was built for is not what is configured on this one."""
    tiny.git("switch", "--quiet", "--create", "develop")
    tiny.push()
    tiny.git("switch", "--quiet", "main")
    other = next(python for python in ("3.13", "3.12") if python != PYTHON)
    tiny.replace("pipeline.toml", f'python = "{PYTHON}"', f'python = "{other}"')
    tiny.commit()


HERE = "--branch main --cloud aws"
BUILD = f"invoke build --branch main && invoke push {HERE}"
SITUATIONS: dict[str, Situation] = {
    "no environment": Situation(nothing, "deploy", "does not exist yet on aws", f"invoke bootstrap {HERE}"),
    "outdated stack": Situation(older_stack, "deploy", "is not up to date", f"invoke bootstrap {HERE}"),
    "not pushed": Situation(unbuilt, "deploy", "has not been pushed", f"{BUILD}"),
    "other branch": Situation(
        other_branch,
        "deploy --branch develop",
        "has not been pushed",
        "git switch develop, then invoke build --branch develop && invoke push --branch develop --cloud aws",
    ),
    "paused": Situation(paused, "deploy", "is paused", f"invoke rollback {HERE}", solved=False),
    "moved": Situation(moved, "rollback", "which is not what served before", f"invoke rollback --to 2 {HERE}"),
    "moved while paused": Situation(
        moved, "deploy --resume", "version 1 has traffic, which this deploy did not", f"invoke plan {HERE}", code=2
    ),
    "nothing live": Situation(pushed, "rollback", "nothing is live, so there", f"invoke deploy {HERE}", solved=False),
    "no verified release": Situation(released, "rollback", "has no verified", f"invoke releases {HERE}", solved=False),
    "live already": Situation(released, "rollback --to 1", "is live already", f"invoke releases {HERE}", solved=False),
    "no such release": Situation(released, "rollback --to 9", "no release 9", f"invoke releases {HERE}", solved=False),
    "pruned": Situation(pruned, "rollback --to 1", "was pruned", "git revert --no-edit …", solved=False),
    "locked": Situation(locked, "deploy", "is locked by another user", f"invoke unlock --reason WHY {HERE}"),
    "other plan": Situation(
        pushed, f"deploy --plan sha256:{'0' * 64}", "not the plan", f"invoke plan {HERE}", code=2, solved=False
    ),
    "does not work": Situation(broken, "deploy", "answers /version with 500", f"invoke logs {HERE}", solved=False),
    "verify nothing": Situation(pushed, "verify", "nothing is live", f"invoke deploy {HERE}"),
    "verify by hand": Situation(by_hand, "verify", "was not deployed by this", f"invoke status {HERE}", solved=False),
    "verify another": Situation(swapped, "verify", "is not sha256:0", f"invoke rollback {HERE}"),
    "detached": Situation(detached, "status", "no branch is checked out", "add --branch main", solved=False),
    "no such branch": Situation(
        single, "deploy --branch develop", "there is no branch 'develop' here", "git fetch origin develop:develop"
    ),
    "not built": Situation(unbuilt, "push", "nothing has been built yet", "invoke build"),
    "stale build": Situation(stale, "push", "the last build is of", "invoke build"),
    "uncommitted": Situation(
        dirty, "push", "there are uncommitted changes", f"git add --all && git commit, then {BUILD}"
    ),
    "model missing": Situation(without_model, "build", "is missing", "git restore models/…", cloud=""),
    "model altered": Situation(other_model, "build", "model.lock names", "git restore models/…", cloud=""),
    "lock unreadable": Situation(half_lock, "build", "model.lock:", "git restore model.lock", cloud=""),
    "hook": Situation(hooked, "deploy", "hooks.pre_deploy", f"then invoke deploy {HERE}"),
    "no project": Situation(
        unbuilt, "build --on codebuild", "there is no CodeBuild project", f"invoke bootstrap {HERE}", solved=False
    ),
    "doctor": Situation(nothing, "doctor", "production is missing", f"invoke bootstrap {HERE}"),
    "build unreadable": Situation(unreadable, "push", "manifest.json can't be read", "invoke build"),
    "archive lost": Situation(lost, "push", "artifact.zip does not exist", "invoke build"),
    "other target": Situation(
        staging, "push --branch develop", "the build is for the target", "invoke build --branch develop"
    ),
    "unknown branch": Situation(elsewhere, "status", "names the branch 'feature'", "add --branch main", solved=False),
    "no model": Situation(no_lock, "build", "there is no model yet", "invoke train promote", cloud=""),
    "other Python": Situation(two_pythons, "deploy --branch develop", "was built for", "git switch develop"),
    "never verified": Situation(
        failed, "rollback --to 2", "was never verified", f"invoke releases {HERE}", solved=False
    ),
    "fails when watched": Situation(
        watched, "deploy", "false exited with code 1; release 1 serves", f"invoke logs {HERE}", solved=False
    ),
    "wrong answer": Situation(wrong, "deploy", 'with note = "second"', f"invoke logs {HERE}", solved=False),
    "raises": Situation(raising, "deploy", "does not answer /version", f"invoke logs {HERE}", solved=False),
    "verify raises": Situation(raising_later, "verify", "live does not", f"invoke logs {HERE}", solved=False),
    "verify uncommitted": Situation(
        from_changes,
        "verify --rebuild",
        "from uncommitted changes",
        f"git commit, then {BUILD} && invoke deploy {HERE}…",
    ),
    "no repository": Situation(without_repository, "build", "not in a git repository", "git init …", cloud=""),
    "no commit": Situation(without_commit, "build", "has no commit yet", "git add …", cloud=""),
    "not committed": Situation(beside, "build", "is not in its repository's last", "git add …", cloud=""),
    "shallow": Situation(shallow, "verify --rebuild", "there is no commit", "git fetch origin …"),
}
