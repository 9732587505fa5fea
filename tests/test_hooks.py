"""``pre_deploy`` runs when a deploy has something to do, while it holds the lock; where it fails, nothing was begun."""

from __future__ import annotations

import json

import pytest
from tiny import Tiny

from ml_delivery.errors import Refused
from ml_delivery.release import deploy, plan

HOOK = """
[hooks]
pre_deploy = ["sh", "-c", "echo ran >> ran; exit $(cat code 2>/dev/null || echo 0)"]
"""


@pytest.fixture
def hooked(tiny: Tiny) -> Tiny:
    """A tiny service that is pushed, with a hook that counts its runs and fails when it should."""
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + HOOK)
    tiny.write(".gitignore", ".pipeline\nbuild/\nran\ncode\n")
    tiny.commit()
    tiny.push()
    return tiny


def runs(tiny: Tiny) -> int:
    return (tiny.root / "ran").read_text().count("ran") if (tiny.root / "ran").exists() else 0


def test_hook_runs_when_there_is_something_to_do(hooked: Tiny) -> None:
    """Once for a release; not for a deploy that changes nothing, nor for a plan that is not the approved one."""
    assert "is not the plan that was approved" in hooked.invoke("deploy", "--plan", f"sha256:{'0' * 64}", code=1)
    assert runs(hooked) == 0
    hooked.invoke("deploy")
    assert runs(hooked) == 1
    assert "nothing to do" in hooked.invoke("deploy")
    assert runs(hooked) == 1


def test_hook_that_fails_leaves_no_trace(hooked: Tiny) -> None:
    """No release is recorded, the lock is free, and the command to type is complete: plan, environment and all."""
    (hooked.root / "code").write_text("3")
    digest = json.loads(hooked.invoke("plan", "--json", code=2))["digest"]
    refused = hooked.invoke("deploy", "--plan", digest, code=1)
    assert "ended with exit code 3; nothing was changed" in refused
    assert f"next: fix what it reports, then invoke deploy --plan {digest} --branch main\n" in refused
    head = hooked.open().ledger.head()
    assert (head.newest, head.holder, head.work) == (0, None, None)
    (hooked.root / "code").write_text("0")
    hooked.invoke("deploy", "--plan", digest)
    assert (hooked.live(), runs(hooked)) == (1, 2)


def test_hook_runs_under_the_lock(tiny: Tiny) -> None:
    """What it prepares can't be undone by another deploy: the lock is held from before the plan until the end."""
    tiny.push()
    seen: list[str] = []

    def before() -> None:
        holder = tiny.open().ledger.head().holder
        seen.append(holder.reason if holder else "free")
        assert plan.make(tiny.open()).live is None
        raise Refused("not today")

    with pytest.raises(Refused, match="not today"):
        deploy.deploy(tiny.open(), lambda _: None, before=before)
    assert seen == ["deploy"]
    assert tiny.open().ledger.head().holder is None


def test_build_hook_names_the_whole_command(tiny: Tiny) -> None:
    """So does the one before a build."""
    tiny.write("pipeline.toml", (tiny.root / "pipeline.toml").read_text() + '\n[hooks]\npre_build = ["false"]\n')
    assert "then invoke build --branch develop\n" in tiny.invoke("build", "--branch", "develop", code=1)
    assert "then invoke build\n" in tiny.invoke("build", code=1)
