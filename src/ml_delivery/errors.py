"""Every error that a user can see, as one tree.

PipelineError            what failed, on what, and the next command to type (exit code 1)
├── ConfigError          pipeline.toml or an option is wrong; lists every problem at once
├── SourceError          git: no repository, no commit, detached HEAD, unknown branch
├── Conflict             an update of the template conflicts with the owner's changes
├── SetupError           this machine lacks something: an interpreter, a package, disk space, a free port
├── ModelError           a command for the model failed, or the model is missing or differs from model.lock
├── BuildError           the artifact cannot be built from what was locked
├── CloudError           AWS (embedded or real) refused, failed or did not answer
│   └── Unsettled        a wait timed out
├── LockHeld             another deploy holds the environment
├── Moved                the traffic split was changed since it was read
├── Refused              a gate stopped the release; the previous version serves
└── Interrupted          Ctrl-C; the previous state was restored (exit code 130)
"""

from __future__ import annotations

__all__ = [
    "BuildError",
    "CloudError",
    "ConfigError",
    "Conflict",
    "Interrupted",
    "LockHeld",
    "ModelError",
    "Moved",
    "PipelineError",
    "Refused",
    "SetupError",
    "SourceError",
    "Unsettled",
]


class PipelineError(Exception):
    """An error with its place and its remedy.

    Args:
        message: what failed, and on what; one sentence without a full stop.
        next: the command to type, or the change to make, to continue.
    """

    exit_code = 1

    def __init__(self, message: str, next: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next}" if self.next else self.message


class ConfigError(PipelineError):
    """The configuration is wrong; ``problems`` holds a line for each: ``section.key: what is wrong; what to write``."""

    def __init__(self, place: str, problems: list[str], next: str = "") -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{place}: {count}", *problems]), next)


class SourceError(PipelineError):
    """Git cannot determine what is being delivered."""


class Conflict(PipelineError):
    """An update of the template is in the tree and conflicts with the owner's changes."""


class SetupError(PipelineError):
    """This machine lacks something that the stage needs."""


class ModelError(PipelineError):
    """A command for the model failed, or the promoted model is missing or differs from ``model.lock``."""


class BuildError(PipelineError):
    """The artifact cannot be built."""


class CloudError(PipelineError):
    """AWS refused, failed or did not answer."""


class Unsettled(CloudError):
    """A wait timed out before the expected state was reached."""


class LockHeld(PipelineError):
    """Another deploy holds this environment."""


class Moved(PipelineError):
    """The traffic split was changed since it was read."""


class Refused(PipelineError):
    """A gate stopped the release."""


class Interrupted(PipelineError):
    """The user stopped the stage."""

    exit_code = 130
