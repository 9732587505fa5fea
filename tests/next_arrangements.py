"""How the situations of ``next_situations.py`` come about: what is done to a service before a task is typed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace

import pytest
from faults.harness import HANDLER as BY_VARIABLES
from tiny import PYTHON, Tiny

from ml_delivery.artifact import build
from ml_delivery.artifact import push as pushing

CANARY = '\n[deploy]\nstrategy = "canary"\npause = 1\nperiod = 1\n'


def nothing(tiny: Tiny, stack: ExitStack) -> None:
    pass


def pushed(tiny: Tiny, stack: ExitStack) -> None:
    tiny.push()


def released(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()


def twice(tiny: Tiny, stack: ExitStack) -> None:
    tiny.deploy()
    tiny.repair("second")
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
    tiny.repair("second")
    tiny.push()
    tiny.invoke("deploy", "--detach")


def moved(tiny: Tiny, stack: ExitStack) -> None:
    twice(tiny, stack)
    text = (tiny.root / "pipeline.toml").read_text()
    tiny.write("pipeline.toml", text + CANARY.replace("pause = 1", "pause = 3"))
    tiny.repair("third")
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
        tiny.repair(note)
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
    tiny.write(".git/info/exclude", "__pycache__\n")
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
    tiny.repair("second")
    tiny.push()


def watched(tiny: Tiny, stack: ExitStack) -> None:
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + CANARY + 'command = ["false"]\n')
    tiny.deploy()
    tiny.repair("second")
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
