"""``invoke build --on codebuild``: the commit, built and pushed elsewhere, as its role; followed, and stopped with its user."""

from __future__ import annotations

import functools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import json_shapes
import jsonschema
import pytest
import yaml
from bake import ROOT
from emulated import client
from faults import Call, Fault, cut, error500, expired, faults, lost
from tiny import BUILDSPEC, INVOKE, TEMPLATE, Tiny

from ml_delivery import emulator
from ml_delivery.account import doctor
from ml_delivery.artifact import codebuild
from ml_delivery.config import load
from ml_delivery.errors import CloudError, Interrupted, SourceError
from ml_delivery.tasks.findings import sentence

BUILD = f'{INVOKE} build --branch "$PIPELINE_BRANCH"'


@pytest.fixture
def service(tiny: Tiny) -> Tiny:
    """A tiny service whose buildspec runs the tasks with this Python, as it has no environment of its own."""
    tiny.write("buildspec.yml", BUILDSPEC)
    tiny.commit("Add a buildspec")
    return tiny


@pytest.fixture
def slow(service: Tiny) -> Tiny:
    """The same, with a build that takes longer than any test."""
    service.write("buildspec.yml", BUILDSPEC.replace(BUILD, "echo at work && sleep 300"))
    service.commit("Slow")
    return service


def test_folder_of_a_repository_is_refused_with_how_to_divide_it(service: Tiny, tmp_path: Path) -> None:
    """CodeBuild and GitHub look in a repository's own folder; the command that is named makes a branch that has it there."""
    whole, folder = tmp_path / "whole", tmp_path / "whole/services/one"
    shutil.copytree(service.root, folder, symlinks=True, ignore=shutil.ignore_patterns(".git", ".pipeline"))
    run = functools.partial(subprocess.run, cwd=whole, check=True, capture_output=True, text=True)
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for words in (["init", "--quiet"], ["add", "--all"], [*who, "commit", "--quiet", "--message", "All"]):
        run(["git", *words])
    config = load(folder)
    with pytest.raises(
        SourceError, match=f"{folder} is the folder services/one of its repository, and CodeBuild"
    ) as fault:
        codebuild.run(config, config.environment("main"), service.open().cloud, print, print)
    (ids, *_) = doctor.github(config, config.environment("main"), "123456789012", "")
    assert "and GitHub finds workflows in a repository's own folder only" in sentence(ids)
    assert ids.fix == fault.value.next
    command, _, _ = fault.value.next.partition(", in the repository's folder")
    run(shlex.split(command))
    assert run(["git", "show", "one:buildspec.yml"]).stdout == BUILDSPEC


def test_what_codebuild_pushed_is_deployed(service: Tiny) -> None:
    """The build is of exactly this commit, acts as the project's role, and is followed; a deploy finds what it pushed."""
    commit = service.git("rev-parse", "HEAD")
    output = service.invoke("build", "--on", "codebuild")
    assert f"built {commit} in " in output
    for phase in ("DOWNLOAD_SOURCE", "INSTALL", "BUILD", "POST_BUILD", "FINALIZING"):
        assert any(line.split()[:1] == [phase] and line.endswith(" s  SUCCEEDED") for line in output.splitlines()), (
            phase
        )
    assert f"CodeBuild built and pushed {commit} in " in output
    assert f"  ARTIFACT_VERSION {commit}" in output
    assert output.index("[Container] Running command") < output.index("  BUILD  ") < output.index("  POST_BUILD  ")
    assert "release 1 is verified" in service.invoke("deploy")
    done = json.loads(service.invoke("build", "--on", "codebuild", "--json"))
    assert done["exported"]["ARTIFACT_VERSION"] == commit
    json_shapes.check("build --on codebuild", done)


def test_codebuild_builds_and_pushes_images(boxed: Tiny) -> None:
    """An image is built and pushed there too, with the rights of the project's role and no others, and then deployed."""
    boxed.write("buildspec.yml", BUILDSPEC)
    boxed.commit("Add a buildspec")
    output = boxed.invoke("build", "--on", "codebuild")
    assert "  ARTIFACT_DIGEST sha256:" in output
    assert "release 1 is verified" in boxed.invoke("deploy")


def test_a_failed_build_fails_the_command(service: Tiny) -> None:
    """What fails there fails here, with the phase and the reason, and nothing was pushed."""
    (service.root / "model.lock").unlink()
    service.commit("Without a model")
    output = service.invoke("build", "--on", "codebuild", code=1)
    assert "there is no model yet" in output
    assert "as FAILED in BUILD: Error while executing command: " in output
    assert "has not been pushed" in service.invoke("deploy", code=1)


def test_a_build_that_takes_too_long_fails_the_command(tiny_alone: Tiny) -> None:
    """A build that CodeBuild ends after the project's minutes is said to be that, with what to change."""
    service = tiny_alone
    service.write("buildspec.yml", BUILDSPEC.replace(BUILD, "sleep 300"))
    service.commit("Slow")
    service.invoke("bootstrap")
    aws = client(emulator.up(service.root), "codebuild")
    aws.update_project(name=f"{service.name}-production", timeoutInMinutes=5)
    emulator.down(service.root)
    state = (
        service.root / ".pipeline/cloud/state/codebuild.json"
    )  # five minutes are the least that AWS, and its API here, take
    assert '"timeoutInMinutes": 5' in state.read_text()
    state.write_text(state.read_text().replace('"timeoutInMinutes": 5', '"timeoutInMinutes": 0.02'))
    output = service.invoke("build", "--on", "codebuild", code=1)
    assert "as TIMED_OUT in BUILD" in output
    assert re.search(r"(?m)^  BUILD .* TIMED_OUT", output)
    assert "or raise TimeoutInMinutes in your own infra/delivery.yaml" in output


def test_what_is_not_committed_is_not_built_elsewhere(service: Tiny) -> None:
    """CodeBuild sees commits only; a changed tree is refused before anything starts."""
    service.write("src/service/more.py", "")
    assert "there are uncommitted changes" in service.invoke("build", "--on", "codebuild", code=1)
    assert "'jenkins' is not a place to build on; write codebuild" in service.invoke("build", "--on", "jenkins", code=1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupting_the_command_stops_the_build(slow: Tiny, signum: signal.Signals) -> None:
    """Ctrl-C, CI's cancel or a closed terminal ends the remote build too, and says so."""
    service = slow
    words = service.command("build", "--on", "codebuild")
    process = subprocess.Popen(
        words, cwd=service.root, env=service.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "at work\n":
            break
    process.send_signal(signum)
    output = process.stdout.read()
    assert process.wait(timeout=60) == 130
    assert "is stopped" in output
    assert "Traceback" not in output
    assert ends(service) == "STOPPED"


def ends(service: Tiny) -> str:
    """How the only build of the service ends, within a minute and a half."""
    client = service.open().cloud.client("codebuild")
    (build,) = client.list_builds_for_project(projectName=f"{service.name}-production")["ids"]
    end = time.monotonic() + 90
    while (status := client.batch_get_builds(ids=[build])["builds"][0]["buildStatus"]) == "IN_PROGRESS":
        assert time.monotonic() < end
        time.sleep(0.1)
    return str(status)


def follow(service: Tiny, line: Callable[[str], None] = lambda _: None) -> codebuild.Done:
    """Build on CodeBuild in this process."""
    service.invoke("bootstrap")
    config, opened = service.config, service.open()
    return codebuild.run(config, opened.environment, opened.cloud, lambda _: None, line)


def full(_: str) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", [cut("BatchGet", 2, 9), error500("GetLogEvents", 1, 9), expired("BatchGet", 2), None])
def test_build_that_cannot_be_followed_is_stopped_or_named(slow: Tiny, fault: Fault | None) -> None:
    """Whatever ends the command, nothing is built and pushed unseen; what can't be stopped is named, with how to do it."""
    with faults(*[fault] if fault else []), pytest.raises(CloudError) as error:
        follow(slow, full if fault is None else lambda _: None)
    if fault and fault.name == "expired credentials":
        assert "could not be stopped, and may still push: StopBuild: ExpiredTokenException" in error.value.message
        assert error.value.next == "invoke cloud.reset, then invoke cloud.down, which ends its builds"
        client = slow.open().cloud.client("codebuild")
        (build,) = client.list_builds_for_project(projectName=f"{slow.name}-production")["ids"]
        assert build in error.value.message
        client.stop_build(id=build)
    else:
        assert error.value.message.endswith("is stopped")
        assert error.value.next == "run this again"
    assert ends(slow) == "STOPPED"


@pytest.mark.parametrize("fault", [lost("StartBuild"), lost("StartBuild", times=2)])
def test_lost_response_starts_one_build(slow: Tiny, fault: Fault) -> None:
    """A second StartBuild finds the first one's build by its token: there is one, and it ends with the command."""
    with faults(fault), pytest.raises(CloudError, match="is stopped"):
        follow(slow, full)
    assert ends(slow) == "STOPPED"


def test_cancel_before_the_build_is_known_stops_it(slow: Tiny) -> None:
    """Ctrl-C while CodeBuild starts it: it is found by its token, and stopped."""

    def cancelled(call: Call) -> None:
        call.send()
        raise KeyboardInterrupt

    with faults(Fault("cancel", cancelled, "StartBuild")), pytest.raises(Interrupted, match="is stopped"):
        follow(slow)
    assert ends(slow) == "STOPPED"


@pytest.mark.parametrize("start", [True, False])
def test_build_on_aws_that_cannot_be_stopped_is_named(slow: Tiny, start: bool) -> None:
    """The command to type has the build's id and region, and signs in first if that is what is missing."""
    slow.invoke("bootstrap")
    opened = slow.open()
    opened.cloud.name = "aws"
    struck = expired("BatchGet") if start else cut("StartBuild", times=9)
    with faults(struck), pytest.raises(CloudError) as error:
        codebuild.run(slow.config, opened.environment, opened.cloud, lambda _: None, full)
    project = f"{slow.name}-production"
    if start:
        assert error.value.next.startswith("sign in to AWS again, then aws codebuild stop-build --id " + project + ":")
    else:
        assert f"a build of {project}, if it was started, could not be stopped" in error.value.message
        assert f'--id "$(aws codebuild list-builds-for-project --project-name {project} --region' in error.value.next
    assert error.value.next.endswith("--region eu-west-1")


def test_the_shipped_buildspec_is_of_our_schema_and_never_deploys() -> None:
    """The schema accepts the shipped file and refuses what the embedded AWS could not run; every phase aborts."""
    schema, shipped = ROOT / "src/ml_delivery/artifact/buildspec.schema.json", TEMPLATE / "buildspec.yml"
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema)]
    assert subprocess.run([*check, str(shipped)], check=False).returncode == 0
    text = shipped.read_text()
    assert "invoke deploy" not in text
    assert 'invoke build --branch "$PIPELINE_BRANCH"' in text  # an environment may have a target of its own
    assert text.count("on-failure: ABORT") == 3
    assert (ROOT / "buildspec.yml").resolve() == shipped


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 0.2", "version: 0.1"),
        ("install:", "before_build:"),
        ("    on-failure: ABORT\n", ""),
        ("cache:", "reports:"),
        ("    - ARTIFACT_VERSION", "    - 2bad"),
        ("commands:\n      - make setup", "command: make setup"),
    ],
)
def test_the_schema_refuses_what_is_wrong(old: str, new: str) -> None:
    """Each kind of slip in a buildspec is found before CodeBuild finds it."""
    text = (TEMPLATE / "buildspec.yml").read_text()
    assert old in text
    schema = json.loads((ROOT / "src/ml_delivery/artifact/buildspec.schema.json").read_text())
    jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text.replace(old, new)), schema)
