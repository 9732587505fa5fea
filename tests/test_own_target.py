"""A target from outside the package, named by a dotted path: released, shifted, refused, rolled back and pruned like any other."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tiny import ROOT, Tiny

from ml_delivery import config, source
from ml_delivery.errors import BuildError, ConfigError, Refused
from ml_delivery.release import rebuild, verify

OWN = 'target = "folder_target:FolderTarget"'
UNFINISHED = """\
from ml_delivery import target


class Target(target.Target):
    pass


class Other:
    pass
"""


@pytest.fixture
def own(tiny: Tiny) -> Tiny:
    """A tiny service with a target of its own in its tree."""
    shutil.copy(ROOT / "tests/folder_target.py", tiny.root)
    tiny.replace("pipeline.toml", 'target = "lambda-zip"', OWN)
    tiny.replace("pipeline.toml", "memory = 256\ntimeout = 3\n", 'greeting = "hello"\n')
    tiny.write(".gitignore", ".pipeline\nbuild/\ndeployed/\n__pycache__/\n")
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + "\n[deploy]\nkeep = 1\nkeep_days = 0\n")
    tiny.commit("A target of its own")
    return tiny


def test_rebuild_uses_the_commits_own_target(own: Tiny) -> None:
    """What the working tree has since changed in the target's code is not what the commit is built with."""
    for words in ("build", "push", "deploy"):
        own.invoke(words)
    packing = "        digest = hashlib"
    own.replace("folder_target.py", packing, '        path.write_bytes(path.read_bytes() + b"more")\n' + packing)
    assert "✓ a rebuild of " in own.invoke("verify", "--rebuild")
    own.commit("Pack more")
    for words in ("build", "push", "deploy"):
        own.invoke(words)
    own.replace("folder_target.py", '+ b"more"', '+ b"less"')
    assert "✓ a rebuild of " in own.invoke("verify", "--rebuild")
    before = list(sys.path)
    verify.verify(own.open(), rebuild=True, report=lambda link: None)
    assert [entry for entry in sys.path if entry not in before] in ([], [str(own.root)])


def test_rebuild_that_fails_is_explained(own: Tiny, tmp_path: Path) -> None:
    """A commit whose own target can't be loaded any more: the reason, and no traceback."""
    clone = source.clone(own.root, own.git("rev-parse", "HEAD"), tmp_path / "clone")
    (clone / "folder_target.py").write_text("raise ValueError('of the clone')\n")
    with pytest.raises(BuildError, match=r"(?s)the commit can't be built again: .*ValueError: of the clone"):
        rebuild.rebuild(own.root, clone, "main")
    # Of another size than before: within one second Python would otherwise take the bytecode that it has cached.
    (clone / "folder_target.py").write_text("raise SystemExit('at the import of the clone')\n")
    with pytest.raises(BuildError, match=r"(?s)the rebuild exited with code 1: .*at the import of the clone"):
        rebuild.rebuild(own.root, clone, "main")


def test_own_target_has_the_whole_life(own: Tiny) -> None:
    """Deployed, refused when broken, canaried, pruned and rolled back: the same machine, the same ledger, other hands."""
    outcome = own.deploy()
    assert outcome.release is not None
    assert (outcome.release.deployed, outcome.release.settings) == ("v1", {"greeting": "hello"})
    assert own.deploy().release is None
    says = own.fault("raises")
    with pytest.raises(Refused, match=rf"{says}.*; release 1 serves as before"):
        own.deploy()
    assert own.open().deployer.deployed() == {"v1": 1}  # what was refused is removed
    own.repair()
    own.replace("pipeline.toml", "keep = 1", 'keep = 1\nstrategy = "canary"\npause = 1\nperiod = 1')
    own.commit()
    outcome = own.deploy()
    steps = [(step.name, step.weight) for step in outcome.steps if step.weight is not None]
    assert steps == [("shift", 10), ("watch", 10), ("shift", 100)]
    own.repair("third")
    own.deploy()
    assert set(own.open().deployer.deployed().values()) == {3, 4}
    assert own.rollback().release.number == 3  # type: ignore[union-attr]
    assert own.live() == 3


def test_own_target_works_from_the_command_line(own: Tiny) -> None:
    """The tasks find it in the service's tree; its own keys are checked like any others."""
    own.invoke("build")
    own.invoke("push")
    assert "release 1 is verified: deployed version v1 serves production" in own.invoke("deploy")
    assert "✓ its bytes in artifacts/" in own.invoke("verify", "--rebuild")
    own.replace("pipeline.toml", 'greeting = "hello"', "greeting = 7\nmemory = 1")
    printed = own.invoke("plan", code=1)
    assert 'function.greeting: 7 is not a quoted string; write a word: "hello"' in printed
    assert "function.memory: unknown key" in printed


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("lambda-zap", "'lambda-zap' is not one of eks, lambda-image, lambda-zip, sagemaker, nor a dotted path"),
        ("no_such_module:Target", "'no_such_module:Target' can't be loaded: No module named 'no_such_module'"),
        ("json:Target", "'json:Target' can't be loaded: module 'json' has no attribute 'Target'"),
        (
            "unfinished:Target",
            "'unfinished:Target' can't be loaded: TypeError: Can't instantiate abstract class Target",
        ),
        ("unfinished:Other", "unfinished:Other is no ml_delivery.target.Target"),
        ("broken:Target", "'broken:Target' can't be loaded: ZeroDivisionError: division by zero"),
    ],
)
def test_missing_target_is_named(
    tmp_path: Path, target: str, says: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that does not exist, lacks a method or fails on import is a problem of the configuration, never a traceback."""
    from tiny import SETTINGS

    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, text in (("unfinished", UNFINISHED), ("broken", "1 / 0\n")):
        (tmp_path / f"{name}.py").write_text(text)
        request.addfinalizer(lambda name=name: sys.modules.pop(name, None))  # type: ignore[misc]

    text = SETTINGS.format(name="demand-pricing", python="3.12").replace('"lambda-zip"', f'"{target}"')
    (tmp_path / "pipeline.toml").write_text(text)
    with pytest.raises(ConfigError, match="service.target: " + says.replace("(", r"\(")):
        config.load(tmp_path, {})
