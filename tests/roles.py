"""The roles of a bootstrapped service on the embedded AWS: taken as GitHub's workflows take them, and made smaller."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore import UNSIGNED
from botocore.config import Config as Options
from botocore.session import Session
from issuer import Issuer
from role_stages import Stages
from tiny import BUILDSPEC, HANDLER, Tiny

from ml_delivery.account import change_sets, stacks
from ml_delivery.artifact import build, codebuild
from ml_delivery.artifact import push as pushing
from ml_delivery.cloud import Cloud
from ml_delivery.errors import PipelineError
from ml_delivery.records import Pushed
from ml_delivery.release import delivery

ACCOUNT = "123456789012"
REPOSITORY = "repo:an-owner/a-repository"
SUBJECTS = dict.fromkeys(("build", "plan"), f"{REPOSITORY}:ref:refs/heads/main")
SUBJECTS["deploy"] = f"{REPOSITORY}:environment:production"
# The workflow file that each stage's job is in, as GitHub's tokens name it.
JOBS = {
    stage: f"an-owner/a-repository/.github/workflows/{file}@refs/heads/main" for stage, file in stacks.WORKFLOWS.items()
}
# Answers as a version, not through the alias: a first deploy of it has an alias to take back.
SHY = HANDLER.replace(
    '    print("asked for"', '    assert not context.invoked_function_arn.endswith(":live")\n    print("asked for"'
)
# Quick, for the stage that starts builds and follows them.
QUICK = """\
version: 0.2
phases:
  build:
    commands: [echo built]
"""


@dataclass(frozen=True)
class Right:
    """One action, or one resource, of one statement of a role."""

    role: str
    statement: int
    sid: str
    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.role}/{self.sid}/{self.value.replace(f':{ACCOUNT}', '')}"


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def rights_of(role: str, document: dict[str, Any]) -> list[Right]:
    """Each action of each statement, and each resource of those that have several."""
    return [
        Right(role, number, statement["Sid"], kind, value)
        for number, statement in enumerate(document["Statement"])
        for kind in ("Action", "Resource")
        for value in _listed(statement[kind])
        if kind == "Action" or len(_listed(statement[kind])) > 1
    ]


def lacking(document: dict[str, Any], right: Right) -> dict[str, Any]:
    """The policy without ``right``."""
    found = copy.deepcopy(document)
    statement = found["Statement"][right.statement]
    statement[right.kind] = [value for value in _listed(statement[right.kind]) if value != right.value]
    if not statement[right.kind]:
        del found["Statement"][right.statement]
    return found


class Roles(Stages):
    """A tiny service with all its stacks, three commits that are pushed, and an issuer that is believed."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny, self.name, self.pushed = tiny, f"{tiny.name}-production", set[str]()
        # AWS's name of the registry leads nowhere here: what builds images asks the embedded AWS by its endpoint.
        self.cloud = "embedded" if tiny.config.service.target == "lambda-image" else "aws"
        self.tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
        self.tiny.write("src/service/handler.py", SHY)
        self.tiny.write("buildspec.yml", QUICK)
        self.environment = self.tiny.config.environment("main")
        self.admin = Cloud.open(self.tiny.config, self.environment, "embedded")
        self.commits = {"shy": self.commit(), "first": self.commit("first")}
        self.tiny.write("buildspec.yml", BUILDSPEC)
        self.commits["second"] = self.commit("second")
        for stack in (stacks.github, stacks.service, stacks.delivering):
            wanted = stack(self.tiny.config) if stack is stacks.github else stack(self.tiny.config, self.environment)
            change_sets.ensure(wanted, self.admin)
        self.issuer = Issuer()
        self.issuer.publish(self.tiny.root / ".pipeline/cloud")
        self._trust_developer()
        for commit in (self.commits["shy"], self.commits["first"]):
            self.head(commit)
            self.push("embedded")
        self.head(self.commits["second"])  # by CodeBuild, whose record of the build a plan and a deploy read
        codebuild.run(self.tiny.config, self.environment, self.admin, lambda phase: None, lambda line: None)
        self.policies = {role: self._policy(role) for role in ("codebuild", "build", "plan", "deploy")}

    def commit(self, note: str = "") -> str:
        if note:
            self.tiny.repair(note)
        self.pushed.add(made := self.tiny.commit())
        return made

    def head(self, commit: str) -> None:
        """Let main be ``commit``."""
        self.tiny.git("checkout", "--quiet", "-B", "main", commit)

    def push(self, cloud: str = "") -> Pushed:
        manifest = build.build(self.tiny.config)
        return pushing.push(delivery.open_delivery(self.tiny.config, "main", cloud or self.cloud), manifest)

    # -- who acts

    def token(self, role: str, subject: str = "", **claims: Any) -> str:
        """A token as GitHub gives it to the job that takes ``role``, unless it is for another subject or has other claims."""
        found: str = self.issuer.token(subject or SUBJECTS[role], **{"job_workflow_ref": JOBS[role], **claims})
        return found

    def assume(self, role: str, token: str, seconds: int = 900) -> dict[str, str]:
        """The credentials of ``role`` for ``token``, asked for as ``configure-aws-credentials`` asks."""
        sts = Session().create_client(
            "sts",
            region_name="eu-west-1",
            endpoint_url=self.admin._endpoint,
            config=Options(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
        )
        arn = f"arn:aws:iam::{ACCOUNT}:role/{self.name}-{role}"
        answer = sts.assume_role_with_web_identity(
            RoleArn=arn, RoleSessionName="tests", WebIdentityToken=token, DurationSeconds=seconds
        )
        keys: dict[str, str] = answer["Credentials"]
        return keys

    def _trust_developer(self) -> None:
        """Let the tests be CodeBuild: its role trusts that service only, which runs elsewhere."""
        sts = self.admin.client("sts")
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": sts.get_caller_identity()["Arn"]},
            "Action": "sts:AssumeRole",
        }
        self.admin.client("iam").update_assume_role_policy(
            RoleName=f"{self.name}-codebuild",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )

    @contextmanager
    def acting(self, role: str) -> Iterator[None]:
        """Be ``role``, as a workflow's step or CodeBuild is: by variables alone."""
        if role == "codebuild":
            arn = f"arn:aws:iam::{ACCOUNT}:role/{self.name}-codebuild"
            keys = self.admin.client("sts").assume_role(RoleArn=arn, RoleSessionName="tests")["Credentials"]
        else:
            keys = self.assume(role, self.token(role))
        variables = {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
            "AWS_ENDPOINT_URL": self.admin._endpoint,
            "PIPELINE_CLOUD": self.cloud,
            "PIPELINE_ENDPOINT": self.admin._endpoint,
        }
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]

    # -- what they may

    def _policy(self, role: str) -> dict[str, Any]:
        found = self.admin.client("iam").get_role_policy(RoleName=f"{self.name}-{role}", PolicyName="stage")
        document: dict[str, Any] = found["PolicyDocument"]
        return document

    def rights(self) -> list[Right]:
        """Those of all roles."""
        return [right for role, document in self.policies.items() for right in rights_of(role, document)]

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """The role lacks ``right`` meanwhile."""
        self._put(right.role, lacking(self.policies[right.role], right))
        try:
            yield
        finally:
            self._put(right.role, self.policies[right.role])

    def _put(self, role: str, document: dict[str, Any]) -> None:
        self.admin.client("iam").put_role_policy(
            RoleName=f"{self.name}-{role}", PolicyName="stage", PolicyDocument=json.dumps(document)
        )

    def prove(self, role: str, rights: list[Right]) -> None:
        """Fail unless the stage passes under ``role``, and stops, naming it, without any one of its ``rights``."""
        self.prepare(role)
        self.stages(role)
        unused = []
        for right in (r for r in rights if r.role == role):
            self.prepare(role)
            with self.without(right):
                try:
                    # The build's log is written by CodeBuild as its role, and missed by who follows the build.
                    self.stages("build" if right.sid == "Log" else role)
                except PipelineError as refusal:
                    message = str(refusal)
                else:
                    unused.append(str(right))
                    continue
            if right.sid != "Log":
                assert "not authorized to perform: " in message, (right, message)
                assert right.kind == "Resource" or right.value in message, (right, message)
        assert not unused

    # -- the stages

    def prepare(self, role: str) -> None:
        """Before CodeBuild, the commit is new and built; before a deploy, there is neither function nor ledger."""
        s3, bucket = self.admin.client("s3"), f"{self.name}-{ACCOUNT}"
        if role == "codebuild":
            self.commit(f"new {time.time()}")
        elif role == "build":
            self.head(self.commits["first"])
        elif role == "plan" and not self._there():
            self.head(self.commits["first"])
            self.tiny.deploy()
            self.head(self.commits["second"])
        elif role == "deploy":
            if self._there():
                self.admin.client("lambda").delete_function(FunctionName=self.name)
            self._delete(s3, bucket, "releases/")
            s3.delete_object(Bucket=bucket, Key="artifacts/old/x.zip")
            s3.put_object(Bucket=bucket, Key="artifacts/old/x.zip", IfNoneMatch="*")
            if self.tiny.config.service.target == "lambda-image":
                self._push_old()

    def _push_old(self) -> None:
        """Have an image in the repository that no release needs: one of the others, under another tag."""
        ecr, named = self.admin.client("ecr"), [{"imageTag": self.commits["first"]}]
        (found,) = ecr.batch_get_image(repositoryName=self.name, imageIds=named)["images"]
        ecr.batch_delete_image(repositoryName=self.name, imageIds=[{"imageTag": "old"}])
        ecr.put_image(repositoryName=self.name, imageManifest=found["imageManifest"], imageTag="old")

    def _there(self) -> bool:
        listed = self.admin.client("lambda").list_functions()["Functions"]
        return any(function["FunctionName"] == self.name for function in listed)

    def _delete(self, s3: Any, bucket: str, prefix: str) -> None:
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
