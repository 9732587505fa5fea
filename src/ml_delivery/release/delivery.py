"""One environment, opened: its cloud, foundation, artifacts, ledger and target."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from ml_delivery import files, source, target
from ml_delivery.account import change_sets, stacks
from ml_delivery.artifact import provenance, store
from ml_delivery.cloud import Cloud
from ml_delivery.config import FILE
from ml_delivery.errors import CloudError, ConfigError, SourceError
from ml_delivery.records import Context
from ml_delivery.release.ledger import Ledger

if TYPE_CHECKING:
    from ml_delivery.config import Config
    from ml_delivery.records import Artifact
    from ml_delivery.target import Deployer, Target

__all__ = ["Delivery", "checked_out", "open_delivery"]


class Delivery(Context):
    """What every verb of delivery works on: an environment with its ledger and its target."""

    @cached_property
    def ledger(self) -> Ledger:
        """The record of its releases."""
        where = f"--branch {self.environment.branch}{self.where}"
        return Ledger(self.cloud, self.foundation.bucket, self.environment.name, where)

    @cached_property
    def target(self) -> Target:
        """Where it runs."""
        return target.load(self.environment.target, self.config)

    @cached_property
    def deployer(self) -> Deployer:
        """What deploys to the target."""
        return self.target.open(self)

    def artifact(self) -> Artifact:
        """The pushed artifact of the environment's branch; of the working tree if that branch is checked out.

        Raises:
            SourceError: there is no such branch, the tree has uncommitted changes and the cloud is AWS, or ``pipeline.toml``
                differs unnoticed by git.
            CloudError: it has not been pushed.
            ConfigError: it was built for a Python or architecture other than the one in ``pipeline.toml``.
            Refused: it has no provenance that the environment accepts.
        """
        root, branch = self.config.root, self.environment.branch
        tree = source.read(root)
        if tree.branch == branch:
            source.require_clean(tree, self.cloud.name)
            with files.opened(root, tree) as held:
                held.require_same(FILE)
        version = tree.version if tree.branch == branch else source.commit_of(root, branch)
        # A build is of the tree: of another branch it would not be what is deployed.
        first = "" if tree.branch == branch else f"git switch {branch}, then "
        found = store.find(self, version, first)
        service = self.config.service
        if (found.python, found.architecture) != (service.python, service.architecture):
            raise ConfigError(
                "pipeline.toml",
                [
                    f"service: the artifact was built for Python {found.python} on {found.architecture}, "
                    f"not for {service.python} on {service.architecture}"
                ],
                next=f"git switch {branch}"
                if first
                else "unset PIPELINE_PYTHON, or write what you want to pipeline.toml, and commit",
            )
        provenance.check(self, found)
        # A tag may have been set after the push, so the clone that deploys decides.
        return found if found.dirty else replace(found, tag=source.tag(root, found.commit))


def open_delivery(config: Config, branch: str, cloud: str, *, prepare: bool = False) -> Delivery:
    """Open the environment of ``branch`` on ``cloud``.

    Args:
        config: the service's configuration.
        branch: selects the environment; empty means the branch that is checked out.
        cloud: ``embedded`` or ``aws``.
        prepare: on the embedded cloud, create or update the environment's foundation if necessary.

    Raises:
        ConfigError, SourceError: there is no such environment, or no branch is checked out.
        CloudError: the cloud does not answer, or the environment's foundation is missing.
    """
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    found = change_sets.foundation(config, environment, opened)
    if opened.name == "embedded" and prepare and not (found and found.current):
        change_sets.ensure(stacks.service(config, environment), opened)
        found = change_sets.foundation(config, environment, opened)
        if found:
            target.load(environment.target, config).establish(Context(config, environment, opened, found))
    if found is None:
        where = "" if opened.name == "embedded" else f" --cloud {opened.name}"
        raise CloudError(
            f"{environment.name} does not exist yet on {opened.name} (no stack {stacks.service(config, environment).name})",
            next=f"invoke bootstrap --branch {environment.branch}{where}",
        )
    return Delivery(config, environment, opened, found)


def checked_out(config: Config) -> str:
    """The branch that is checked out.

    Raises:
        SourceError: HEAD is detached, or there is no repository or commit.
    """
    branch = source.branch(config.root)
    if not branch:
        first = next(iter(config.environments.values())).branch
        raise SourceError(
            "no branch is checked out (detached HEAD), so no environment is selected", next=f"add --branch {first}"
        )
    return branch
