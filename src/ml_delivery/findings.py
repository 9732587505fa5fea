"""What the checks of ``invoke doctor`` find: records with fields, of which ``tasks/findings.py`` makes sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import TYPE_CHECKING

from ml_delivery.dependencies.locks import Stale
from ml_delivery.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml_delivery.cloud import Cloud

__all__ = ["Facts", "Finding", "Kind", "Problem", "Value", "failed", "look_at"]

Value = str | int | bool | None | list[str] | dict[str, str] | list[Stale]


class Kind(StrEnum):
    """What was found; ``tasks/findings.py`` has the sentence of each, with the names of its values."""

    ERROR = auto()  # the check itself failed: its message, which names the place and the cause
    FACTS = auto()  # what a target's own check returned
    # this machine and this working tree
    TREE = auto()
    PYTHON = auto()
    UV = auto()
    PACKAGE = auto()
    LOCKS_CURRENT = auto()
    LOCKS_STALE = auto()
    TEMPLATE_UNREAD = auto()
    TEMPLATE_NEWEST = auto()
    TEMPLATE_NEWER = auto()
    # the account
    ACCOUNT = auto()
    PROVIDER = auto()
    PROVIDER_MISSING = auto()
    PROVIDER_AUDIENCES = auto()
    STACK_CURRENT = auto()
    STACK_DIFFERS = auto()
    BUCKET = auto()
    BUCKET_LACKS = auto()
    ROLE = auto()
    ROLE_MISSING = auto()
    ROLE_LACKS = auto()
    # GitHub
    REPOSITORY = auto()
    REPOSITORY_DIFFERS = auto()
    SUBJECT = auto()
    SUBJECT_CUSTOM = auto()
    SUBJECT_UNREAD = auto()
    SUBJECT_DIFFERS = auto()
    PROTECTED = auto()
    NO_REVIEWERS = auto()
    ANY_BRANCH = auto()
    PROTECTED_BRANCHES = auto()
    OTHER_BRANCHES = auto()
    BRANCH_REFUSED = auto()
    SELF_REVIEW = auto()
    VARIABLE = auto()
    VARIABLE_DIFFERS = auto()
    RULES = auto()
    RULES_LACK = auto()
    RULES_UNNAMED = auto()
    # which roles accept a token
    TRUSTED = auto()
    NAMES_ALONE = auto()
    ISSUER_DIFFERS = auto()
    CLAIM_DIFFERS = auto()
    # the contract with the service
    COMMAND = auto()
    NO_COMMAND = auto()
    PROGRAM_MISSING = auto()
    COMMAND_UNLOCKED = auto()
    MODULE_MISSING = auto()
    MODELS = auto()
    NO_METRICS = auto()
    METRICS = auto()
    HANDLER = auto()
    HANDLER_MISSING = auto()
    HANDLER_UNLOCKED = auto()
    HANDLER_SLOW = auto()
    HANDLER_EXITED = auto()
    HANDLER_FAULT = auto()
    VERSION = auto()
    VERSION_NO_OBJECT = auto()
    VERSION_DIFFERS = auto()
    ANSWERS = auto()
    STATUS = auto()


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked.
        ok: whether it passed.
        kind: what was found.
        values: what identifies it, by name; which names there are depends on ``kind``.
        stage: the stage whose role was checked; empty for any other check.
        fix: what to type or to change; empty when it passed.
    """

    check: str
    ok: bool
    kind: Kind
    values: dict[str, Value] = field(default_factory=dict)
    stage: str = ""
    fix: str = ""


class Problem(Exception):
    """A check failed: what it found, the values of that, and what to type or to change next."""

    def __init__(self, kind: Kind, *, next: str, **values: Value) -> None:
        super().__init__(kind)
        self.kind, self.next, self.values = kind, next, values


Facts = tuple[Kind, dict[str, Value]]


def look_at(check: str, look: Callable[[], Facts], cloud: Cloud | None = None, stage: str = "") -> Finding:
    """The finding of one check: the facts that ``look`` returns, or the problem or error that it raises."""
    try:
        if cloud is None:
            kind, values = look()
        else:
            with cloud.faults():
                kind, values = look()
    except Problem as problem:
        return Finding(check, False, problem.kind, problem.values, stage, problem.next)
    except PipelineError as error:
        return failed(check, error, stage)
    return Finding(check, True, kind, values, stage)


def failed(check: str, error: PipelineError, stage: str = "") -> Finding:
    """The finding of a check that ended with this error."""
    return Finding(check, False, Kind.ERROR, {"message": error.message}, stage, error.next)
