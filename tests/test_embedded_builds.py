"""The embedded CodeBuild runs a buildspec as AWS's does: in a clean clone, as the project's role, and to its true end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bake import git, start
from emulated import client, project

from ml_delivery import emulator
from ml_delivery.waiting import wait

URL = "https://github.com/your-organisation/built.git"
LOGS = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "*"}


class Builds:
    """A project whose source is a repository on this machine; each test has a buildspec of its own."""

    def __init__(self, root: Path, running: emulator.Running) -> None:
        self.root, self.running = root, running
        self.aws = client(running, "codebuild")
        self.role("builder", LOGS)
        client(running, "logs").create_log_group(logGroupName="/aws/codebuild/built")
        self.aws.create_project(
            name="built",
            source={"type": "GITHUB", "location": URL, "buildspec": "buildspec.yml"},
            artifacts={"type": "NO_ARTIFACTS"},
            environment={
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/standard:7.0",
                "computeType": "BUILD_GENERAL1_SMALL",
                "environmentVariables": [{"name": "GREETING", "value": "from the project"}],
            },
            serviceRole=f"arn:aws:iam::{running.account}:role/builder",
        )
        emulator.offer(root, "built", URL, {"PIP_NO_INPUT": "1"})

    def role(self, name: str, *statements: dict[str, Any]) -> None:
        iam = client(self.running, "iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = {"Version": "2012-10-17", "Statement": [trust]}
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName=name, PolicyName="stage", PolicyDocument=json.dumps(document))

    def start(self, spec: str, **options: Any) -> str:
        """Start a build of a commit that holds ``spec``; its id."""
        (self.root / "buildspec.yml").write_text(spec)
        git(self.root, "add", "--all")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message", "Build")
        options.setdefault("sourceVersion", git(self.root, "rev-parse", "HEAD"))
        return str(self.aws.start_build(projectName="built", **options)["build"]["id"])

    def get(self, build: str) -> dict[str, Any]:
        return dict(self.aws.batch_get_builds(ids=[build])["builds"][0])

    def end(self, build: str) -> dict[str, Any]:
        end = time.monotonic() + 60
        while not (found := self.get(build))["buildComplete"]:
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found

    def run(self, spec: str, **options: Any) -> tuple[str, str, dict[str, Any]]:
        """Status, log and record of a build of ``spec``."""
        record = self.end(self.start(spec, **options))
        return record["buildStatus"], self.log(record), record

    def log(self, record: dict[str, Any]) -> str:
        place = {"logGroupName": record["logs"]["groupName"], "logStreamName": record["logs"]["streamName"]}
        events = client(self.running, "logs").get_log_events(**place, startFromHead=True)["events"]
        return "".join(event["message"] for event in events)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    root = project(tmp_path_factory.mktemp("built") / "root", tmp_path_factory.mktemp("pipeline"))
    (root / ".gitignore").write_text(".pipeline\nrequirements\n")
    (root / "kept.txt").write_text("in the commit")
    start(root)
    yield Builds(root, emulator.up(root))
    emulator.down(root)


def spec(*commands: str, more: str = "", phase: str = "build", rest: str = "") -> str:
    lines = "".join(f"      - {json.dumps(command)}\n" for command in commands)
    return f"version: 0.2\n{more}phases:\n  {phase}:\n    commands:\n{lines}{rest}"


def test_commands_run_in_a_clean_clone_at_exactly_the_commit(builds: Builds) -> None:
    """What is not in the commit is not in the build, and a later commit changes nothing."""
    (builds.root / "stray.txt").write_text("not committed")
    (builds.root / ".gitignore").write_text(".pipeline\nrequirements\nstray.txt\n")
    build = builds.start(spec("ls", "cat kept.txt", "git status --porcelain | wc -l", "git rev-parse HEAD"))
    wanted = git(builds.root, "rev-parse", "HEAD")
    git(builds.root, "commit", "--quiet", "--allow-empty", "--message", "later")
    record = builds.end(build)
    log = builds.log(record)
    assert record["buildStatus"] == "SUCCEEDED", log
    assert record["resolvedSourceVersion"] == wanted
    assert "in the commit" in log
    assert "stray.txt" not in log
    assert wanted in log
    assert "[Container] Running command cat kept.txt" in log


def test_phases_are_codebuilds_with_their_times(builds: Builds) -> None:
    """Each phase is recorded in CodeBuild's order with its status and seconds."""
    _, _, record = builds.run(spec("sleep 1.1"))
    names = [phase["phaseType"] for phase in record["phases"]]
    assert names[:4] == ["SUBMITTED", "QUEUED", "PROVISIONING", "DOWNLOAD_SOURCE"]
    assert names[4:8] == ["INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD"]
    assert names[8:] == ["UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"]
    took = {phase["phaseType"]: phase.get("durationInSeconds", 0) for phase in record["phases"]}
    assert took["BUILD"] >= 1


def test_one_shell_for_all_commands_and_its_variables(builds: Builds) -> None:
    """A cd and an export hold for later phases; CodeBuild's variables are set; requested ones win; some are exported."""
    more = (
        "env:\n  shell: bash\n  variables: {GREETING: from the spec, MINE: spec}\n  exported-variables: [MADE, NONE]\n"
    )
    text = spec(
        "mkdir deep && cd deep",
        "export MADE='a b'",
        more=more,
        phase="install",
        rest="""\
  build:
    commands:
      - pwd
      - |
        for name in CODEBUILD_BUILD_ID CODEBUILD_RESOLVED_SOURCE_VERSION CODEBUILD_BUILD_SUCCEEDING CODEBUILD_CI; do
          echo "$name=${!name}"
        done
      - echo "$GREETING, $MINE, $ASKED, $PIP_NO_INPUT"
""",
    )
    asked = [{"name": "ASKED", "value": "by the request", "type": "PLAINTEXT"}]
    status, log, record = builds.run(text, environmentVariablesOverride=asked)
    assert status == "SUCCEEDED", log
    assert "/src/deep\n" in log
    assert f"CODEBUILD_BUILD_ID={record['id']}\n" in log
    assert f"CODEBUILD_RESOLVED_SOURCE_VERSION={git(builds.root, 'rev-parse', 'HEAD')}\n" in log
    assert "CODEBUILD_BUILD_SUCCEEDING=1\nCODEBUILD_CI=true\n" in log
    assert "from the project, spec, by the request, 1\n" in log
    assert record["exportedEnvironmentVariables"] == [{"name": "MADE", "value": "a b"}]


def test_buildspec_of_the_request_wins_and_is_in_the_record(builds: Builds) -> None:
    """Who starts a build may say what it runs; the build's record then says so."""
    asked = spec("echo by the request")
    status, log, record = builds.run(spec("echo by the commit"), buildspecOverride=asked)
    assert status == "SUCCEEDED", log
    assert "\nby the request\n" in log
    assert "by the commit" not in log
    assert record["source"]["buildspec"] == asked
    assert builds.run(spec("true"))[2]["source"]["buildspec"] == "buildspec.yml"


@pytest.mark.parametrize("command", ["false", "exit 3", "no-such-command", "echo x | grep y", "kill -9 $$"])
def test_a_build_fails_when_a_command_fails(builds: Builds, command: str) -> None:
    """Whatever way a command fails, the phase and the build fail and say which command it was."""
    status, log, record = builds.run(spec("echo before", command, "echo after"))
    bad = [phase for phase in record["phases"] if phase.get("phaseStatus") == "FAILED"]
    assert status == "FAILED", log
    assert bad[0]["phaseType"] == "BUILD"
    assert bad[0]["contexts"][0]["statusCode"] == "COMMAND_EXECUTION_ERROR"
    assert f"Error while executing command: {command}" in bad[0]["contexts"][0]["message"]
    assert "before\n" in log
    assert "\nafter\n" not in log


@pytest.mark.parametrize(
    ("rule", "phase", "goes_on"),
    [("", "build", True), ("ABORT", "build", False), ("", "install", False), ("CONTINUE", "install", True)],
)
def test_what_follows_a_failed_phase(builds: Builds, rule: str, phase: str, goes_on: bool) -> None:
    """post_build follows a failed build unless that aborts; finally always runs; the build has failed either way."""
    rest = (f"    on-failure: {rule}\n" if rule else "") + "    finally: [echo at last]\n"
    rest += "  post_build: {commands: ['echo \"then $CODEBUILD_BUILD_SUCCEEDING\"']}\n"
    status, log, _ = builds.run(spec("false", phase=phase, rest=rest))
    assert status == "FAILED"
    assert "\nat last\n" in log
    assert ("\nthen 0\n" in log) == goes_on


def test_a_stopped_build_ends_with_all_that_it_has_started(builds: Builds) -> None:
    """StopBuild ends the commands and their children, and the build is STOPPED."""
    build = builds.start(spec("sleep 300 & echo $! > /tmp/x; echo child $!; wait"))

    def child() -> int | None:
        line = next((x for x in builds.log(builds.get(build)).splitlines() if x.startswith("child ")), "")
        return int(line.split()[1]) if line else None

    wait(lambda: True if builds.get(build)["currentPhase"] == "BUILD" else None, what="the build's start")
    number = wait(child, what="the child")
    builds.aws.stop_build(id=build)
    assert builds.end(build)["buildStatus"] == "STOPPED"
    wait(lambda: None if Path(f"/proc/{number}/cmdline").exists() else True, what="the child's end", seconds=10)


def test_the_role_is_all_that_a_build_may_do(builds: Builds) -> None:
    """Commands act as the project's role, and are refused what it may not; without its log right there is no build."""
    ask = (
        "python3 -c \"import os; print(os.environ['AWS_ACCESS_KEY_ID'][:4])\"",
        "env | grep -c AWS_SESSION_TOKEN",
    )
    status, log, _ = builds.run(spec(*ask))
    assert status == "SUCCEEDED", log
    assert "ASIA\n1\n" in log.replace(f"[Container] Running command {ask[1]}\n", "")
    builds.role("mute", {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})
    builds.aws.update_project(name="built", serviceRole=f"arn:aws:iam::{builds.running.account}:role/mute")
    try:
        record = builds.end(builds.start(spec("true")))
    finally:
        builds.aws.update_project(name="built", serviceRole=f"arn:aws:iam::{builds.running.account}:role/builder")
    assert record["buildStatus"] == "FAILED"
    bad = next(phase for phase in record["phases"] if phase["phaseStatus"] == "FAILED")
    assert bad["contexts"][0]["statusCode"] == "ACCESS_DENIED"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 0.1\nphases: {}\n", "version 0.2"),
        ("phases: [", "buildspec.yml"),
        (spec("true", more="batch: {}\n"), "does not know batch"),
        (spec("true", more="env: {secrets-manager: {A: b}}\n"), "does not know env.secrets-manager"),
        (spec("true", phase="deploy"), "does not know deploy"),
    ],
)
def test_a_buildspec_that_is_not_understood_is_refused(builds: Builds, text: str, says: str) -> None:
    """Nothing that this server does not do is passed over in silence."""
    status, _, record = builds.run(text)
    bad = next(phase for phase in record["phases"] if phase["phaseStatus"] == "FAILED")
    assert status == "FAILED"
    assert says in bad["contexts"][0]["message"]


def test_source_is_only_what_was_offered(builds: Builds, tmp_path: Path) -> None:
    """A commit that is not there, and a URL that this user has not offered, are refused; no request names a folder."""
    status, _, record = builds.run(spec("true"), sourceVersion="0" * 40)
    assert status == "FAILED"
    assert record["phases"][-3]["contexts"][0]["statusCode"] == "GIT_CLONE_FAILED"
    (tmp_path / "file").write_text("of another repository")
    start(tmp_path)
    builds.aws.update_project(name="built", source={"type": "GITHUB", "location": f"file://{tmp_path}"})
    try:
        status, _, record = builds.run(spec("true"))
    finally:
        builds.aws.update_project(
            name="built", source={"type": "GITHUB", "location": URL, "buildspec": "buildspec.yml"}
        )
    assert status == "FAILED"
    assert "no checkout of file://" in json.dumps(record["phases"], default=str)


def test_cached_folders_come_back(builds: Builds) -> None:
    """What the buildspec caches is there again in the next build."""
    text = spec(
        "cat kept/it || echo nothing", "mkdir -p kept", "date > kept/it", rest="cache: {paths: ['kept/**/*']}\n"
    )
    assert "\nnothing\n" in builds.run(text)[1]
    assert "\nnothing\n" not in builds.run(text)[1]
