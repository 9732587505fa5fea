"""The shipped workflows, run on this machine: their own ``run:`` steps, in order, with what GitHub would set.

Steps that need GitHub itself are named in ``ON_GITHUB`` with the reason, or with what stands in for them; an action or an
expression that is not named here fails.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from botocore import UNSIGNED
from botocore.config import Config as Options
from botocore.session import Session
from issuer import Issuer
from tiny import TEMPLATE

# What stands in for an action, or why nothing needs to.
ON_GITHUB = {
    "actions/checkout": "the bake is checked out",
    "actions/setup-python": "the Pythons are this machine's",
    "astral-sh/setup-uv": "a cache, and a uv that make setup installs by itself",
    "actions/upload-artifact": "keeps the reports on GitHub",
    "github/codeql-action/upload-sarif": "shows the reports on GitHub",
    "aws-actions/configure-aws-credentials": "takes the role with a token that a local issuer signs",
}


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    document["on"] = document.pop(True)  # YAML 1.1 takes the word for a truth value
    return document


WORKFLOWS = {path.name: read(path) for path in sorted((TEMPLATE / ".github/workflows").glob("*.yml"))}
OF_BRANCH = re.compile(r"fromJSON\(vars\.DELIVERY\)\[github\.ref_name\]\.(\w+)")


def asked() -> set[str]:
    """The keys that the workflows read of the variable ``DELIVERY``, in the part of a branch."""
    return {
        key for path in (TEMPLATE / ".github/workflows").glob("*.yml") for key in OF_BRANCH.findall(path.read_text())
    }


@dataclass
class Event:
    """What started a workflow, as GitHub tells of it."""

    name: str
    branch: str
    delivery: str
    inputs: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    planned: dict[str, str] = field(default_factory=dict)
    plan: str = "skipped"  # how the job ended, as GitHub names it: success, failure, cancelled or skipped

    def value(self, expression: str, outputs: dict[str, str]) -> str:
        """The value of an expression that the workflows use; any other is a fault of the test."""
        expression = expression.strip()
        if found := OF_BRANCH.fullmatch(expression):
            return str(json.loads(self.delivery)[self.branch][found[1]])
        if found := re.fullmatch(r"secrets\.(\w+)", expression):
            return self.secrets.get(found[1], "")
        if found := re.fullmatch(r"inputs\.(\w+)", expression):
            return self.inputs[found[1]]
        if found := re.fullmatch(r"steps\.build\.outputs\.(\w+)", expression):
            return outputs[found[1]]
        if found := re.fullmatch(r"needs\.plan\.outputs\.(\w+)", expression):
            return self.planned[found[1]]
        known = {
            "github.repository": "your-organisation/demand-pricing",
            "github.run_id": "1",
            "github.ref": f"refs/heads/{self.branch}",
            "github.ref_name": self.branch,
        }
        return known[expression]

    def holds(self, condition: str) -> bool:
        """Whether a job or step runs; each condition that the workflows have is written here by hand."""
        pull, delivered = self.name == "pull_request", self.branch in json.loads(self.delivery or "{}")
        known = {
            "github.event_name == 'push' && fromJSON(vars.DELIVERY || '{}')[github.ref_name]": not pull and delivered,
            "github.event_name == 'pull_request' || !fromJSON(vars.DELIVERY || '{}')[github.ref_name]": pull
            or not delivered,
            "always()": True,
            "always() && github.event_name == 'push' && !github.event.repository.private": self.name == "push",
            "${{ !github.event.repository.private }}": True,
            "${{ !cancelled() && needs.plan.result == (inputs.action == 'deploy' && 'success' || 'skipped') }}": (
                self.plan == ("success" if self.inputs.get("action") == "deploy" else "skipped")
            ),
            "inputs.action == 'train'": self.inputs.get("action") == "train",
            "inputs.action == 'tune'": self.inputs.get("action") == "tune",
            "env.GH_TOKEN == ''": "UPGRADE_TOKEN" not in self.secrets,
            "env.GH_TOKEN != ''": "UPGRADE_TOKEN" in self.secrets,
            "inputs.action == 'deploy'": self.inputs.get("action") == "deploy",
            "inputs.action == 'rollback'": self.inputs.get("action") == "rollback",
            "inputs.action == 'retire'": self.inputs.get("action") == "retire",
            "inputs.action == 'unlock'": self.inputs.get("action") == "unlock",
        }
        return known[condition]


STEPS = [
    (workflow, job, step)
    for workflow, document in WORKFLOWS.items()
    for job, content in document["jobs"].items()
    for step in content["steps"]
]
# What is no call of ours, and why.
ALLOWED = {"exit 1": "fails the gate; calls nothing"}


def bootstrapped(checkout: Path) -> str:
    """The variable that ``invoke bootstrap`` prints."""
    words = [".venv/bin/invoke", "bootstrap"]
    printed = subprocess.run(words, cwd=checkout, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^  DELIVERY = (.*)$", printed, re.M)
    assert found
    return found[1]


class Runner:
    """Runs jobs in a checkout, whose AWS is the embedded one."""

    def __init__(self, checkout: Path, endpoint: str, issuer: Issuer, more: dict[str, str]) -> None:
        self.checkout, self.endpoint, self.issuer, self.more = checkout, endpoint, issuer, more
        self.summary = checkout.parent / "summary.md"
        self.ran: list[str] = []
        self.printed: list[str] = []

    def job(self, workflow: str, name: str, event: Event, matrix: dict[str, str] | None = None) -> dict[str, str]:
        """Run the job if the event makes it run; every step must end with 0. What its steps hand on."""
        job = WORKFLOWS[workflow]["jobs"][name]
        if not event.holds(job.get("if", "always()")):
            return {}
        outputs: dict[str, str] = {}
        keys: dict[str, str] = {}
        own = {name: self._text(value, event, {}, matrix) for name, value in job.get("env", {}).items()}
        variables = {**self._github(event), **own}
        for step in job["steps"]:
            if not event.holds(step.get("if", "always()")):
                continue
            if "uses" in step:
                action = step["uses"].partition("@")[0]
                assert action in ON_GITHUB, f"nothing stands in for {action}"
                if action == "aws-actions/configure-aws-credentials":
                    assert job["permissions"]["id-token"] == "write"
                    words = {k: self._text(v, event, outputs, matrix) for k, v in step["with"].items()}
                    keys = self._assume(words, workflow, job, event)
            else:
                more = {k: self._text(v, event, outputs, matrix) for k, v in step.get("env", {}).items()}
                self._run(step["run"], {**variables, **keys, **more}, outputs)
        return outputs

    def _text(self, text: Any, event: Event, outputs: dict[str, str], matrix: dict[str, str] | None) -> str:
        def value(found: re.Match[str]) -> str:
            expression = found[1].strip()
            if expression.startswith("matrix.") and matrix is not None:
                return matrix[expression.removeprefix("matrix.")]
            return event.value(expression, outputs)

        return re.sub(r"\$\{\{(.*?)\}\}", value, str(text))

    def _github(self, event: Event) -> dict[str, str]:
        """https://docs.github.com/en/actions/reference/workflows-and-actions/variables"""
        clean = {
            k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PIPELINE_PYTHON", "PYTHONPATH", "NOX"))
        }
        (self.checkout.parent / "output").write_text("")
        return {
            **clean,
            **self.more,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_EVENT_NAME": event.name,
            "GITHUB_REF": f"refs/heads/{event.branch}",
            "GITHUB_REF_NAME": event.branch,
            "GITHUB_OUTPUT": str(self.checkout.parent / "output"),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def _run(self, command: str, variables: dict[str, str], outputs: dict[str, str]) -> None:
        """One step, by the shell that GitHub uses."""
        self.ran.append(command)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
            cwd=self.checkout,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.printed.append(done.stdout)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        for line in Path(variables["GITHUB_OUTPUT"]).read_text().splitlines():
            name, _, value = line.partition("=")
            outputs[name] = value

    def _assume(self, words: dict[str, str], workflow: str, job: dict[str, Any], event: Event) -> dict[str, str]:
        """The role, with a token for the subject and the workflow file that GitHub gives this job."""
        name = "your-organisation/demand-pricing"
        repository = f"repo:{name}"
        file = f"{name}/.github/workflows/{workflow}@refs/heads/{event.branch}"
        where = job.get("environment")
        named = self._text(where, event, {}, None) if where else ""
        subject = f"{repository}:environment:{named}" if named else f"{repository}:ref:refs/heads/{event.branch}"
        sts = Session().create_client(
            "sts",
            region_name=words["aws-region"],
            endpoint_url=self.endpoint,
            config=Options(signature_version=UNSIGNED),
        )
        found = sts.assume_role_with_web_identity(
            RoleArn=words["role-to-assume"],
            RoleSessionName=words["role-session-name"],
            WebIdentityToken=self.issuer.token(subject, job_workflow_ref=file),
            DurationSeconds=int(words["role-duration-seconds"]),
        )["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
            "AWS_SESSION_TOKEN": found["SessionToken"],
            "AWS_REGION": words["aws-region"],
        }
