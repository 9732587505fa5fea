"""What each role does in the shipped workflows and in CodeBuild, call by call."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from tiny import Tiny

from ml_delivery import emulator, notify
from ml_delivery.artifact import codebuild, store
from ml_delivery.cloud import Cloud
from ml_delivery.errors import CloudError, Interrupted, PipelineError
from ml_delivery.monitoring import drift
from ml_delivery.records import Removed
from ml_delivery.release import delivery, deploy, front, plan, results, watch
from ml_delivery.release.results import Pruned


class Stages:
    """The stages of a bootstrapped service; ``Roles`` has the service, and takes the roles."""

    tiny: Tiny
    name: str
    environment: Any
    cloud: Any
    commits: dict[str, str]
    pushed: set[str]

    def stages(self, role: str) -> None:
        """All that ``role`` does in the shipped workflows and in CodeBuild; every call of it works, or this raises."""
        with self.acting(role):
            getattr(self, f"_{role}")()

    def _opened(self) -> delivery.Delivery:
        return delivery.open_delivery(self.tiny.config, "main", self.cloud)

    def _build(self) -> None:
        emulator.offer(self.tiny.root, self.name, "https://github.com/an-owner/a-repository.git", {})
        opened = Cloud.open(self.tiny.config, self.environment, self.cloud)
        lines: list[str] = []
        codebuild.run(self.tiny.config, self.environment, opened, lambda phase: None, lines.append)
        if not any("built" in line for line in lines):
            raise CloudError("the build left no log")

        with pytest.raises(Interrupted) as stopped:
            codebuild.run(self.tiny.config, self.environment, opened, Mock(), Mock(side_effect=KeyboardInterrupt))
        said = stopped.value.message
        if "could not be stopped" in said:
            raise CloudError(said)
        assert "is stopped" in said or "had ended as SUCCEEDED" in said  # asked to stop in either case
        self._tell()

    def _codebuild(self) -> None:
        assert self.push().uploaded
        assert not self.push().uploaded

    def _plan(self) -> None:
        assert plan.make(self._opened()).changes
        assert not drift.find(self._opened())
        assert not drift.of_bucket(self._opened())

    def _deploy(self) -> None:
        self.head(self.commits["shy"])
        try:
            self.deploy()
        except PipelineError as refusal:
            if "AssertionError" not in str(refusal):
                raise
        self.head(self.commits["first"])
        self.deploy()
        self.head(self.commits["second"])
        self.deploy()
        opened = self._opened()
        outcome = deploy.rollback(opened, 0, report=lambda step: None)
        # A canary would look at the same, and retention would remove the same once it is old.
        rules = replace(opened.environment.deploy, alarms=("none",))
        watched = replace(opened, environment=replace(opened.environment, deploy=rules))
        assert watch.look(watched, outcome.release.deployed, 10, time.time()).alarms == ("none (which does not exist)",)
        assert store.prune(opened.cloud, opened.foundation.bucket, self.pushed, time.time() + 60) == [
            Removed("artifact", "old")
        ]
        images = [Removed("image", "old")] if opened.config.service.target == "lambda-image" else []
        assert opened.deployer.discard(self.pushed, time.time() + 60) == images
        self._tell()

    def _tell(self) -> None:
        message = notify.Message("deploy", "", "verified", "tests", "", 1, "")
        opened = Cloud.open(self.tiny.config, self.environment, self.cloud)
        if problems := notify.send(self.tiny.config, self.environment, opened, message):
            raise CloudError(f"is not authorized to perform: sns:Publish ({problems})")

    def deploy(self) -> None:
        front.find(self._opened(), prepare=True)
        outcome = deploy.deploy(self._opened(), report=lambda step: None)
        assert isinstance(outcome, results.Outcome)
        for step in outcome.steps:  # a release is verified even if nothing old could be removed
            if isinstance(step.result, Pruned) and step.result.postponed:
                raise PipelineError(step.result.postponed)
