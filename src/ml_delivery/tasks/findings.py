"""Findings of ``invoke doctor`` as text: the only place where they become sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_delivery.dependencies.locks import Stale, shown
from ml_delivery.findings import Kind

if TYPE_CHECKING:
    from ml_delivery.findings import Finding, Value

__all__ = ["SENTENCES", "label", "sentence"]

LABELS = {"role": "{} role", "trust": "trust of {}", "token": "token for {}"}

# The sentence of each kind, with its values by name; a list is joined. What needs more than that is a case of ``sentence``.
SENTENCES = {
    Kind.ERROR: "{message}",
    Kind.PYTHON: "{path}",
    Kind.UV: "runs",
    Kind.LOCKS_CURRENT: "up to date with pyproject.toml",
    Kind.TEMPLATE_UNREAD: "could not be read, so whether there is a newer one is not known",
    Kind.TEMPLATE_NEWEST: "is the newest",
    Kind.TEMPLATE_NEWER: "there is a newer one ({commit:.12}): invoke upgrade --check prints what is new",
    Kind.ACCOUNT: "account {account}, region {region}",
    Kind.PROVIDER: "the account accepts GitHub's tokens",
    Kind.PROVIDER_MISSING: "the account does not have GitHub as an identity provider",
    Kind.PROVIDER_AUDIENCES: "the provider's audiences are {found}, not {wanted}",
    Kind.STACK_CURRENT: "{stack} is up to date",
    Kind.STACK_DIFFERS: "{stack} is {state}",
    Kind.BUCKET: "what is in {bucket} can't be replaced",
    Kind.BUCKET_LACKS: "{bucket}: its policy denies less than the statements {statements}, so artifacts or records could be "
    "replaced",
    Kind.ROLE: "{role} has the permissions that its stage needs",
    Kind.ROLE_MISSING: "there is no role {role}",
    Kind.ROLE_LACKS: "{role} lacks {actions}",
    Kind.REPOSITORY: "{repository} is the repository {repository_id} of {owner_id}",
    Kind.REPOSITORY_DIFFERS: "{repository} has {found}, pipeline.toml has {configured}: it is another repository of this name",
    Kind.SUBJECT: "the tokens' sub begins with {start}",
    Kind.SUBJECT_CUSTOM: "the tokens' sub has claims of its own, which no role accepts: {claims}",
    Kind.SUBJECT_UNREAD: "GitHub does not report how the tokens' sub begins; the roles require {required}",
    Kind.SUBJECT_DIFFERS: "the tokens' sub begins with {start}, the roles require {required}",
    Kind.NO_REVIEWERS: "{environment} has no required reviewers",
    Kind.ANY_BRANCH: "any branch may use {environment}",
    Kind.PROTECTED_BRANCHES: "every protected branch may use {environment}",
    Kind.BRANCH_REFUSED: "{branch} may not use {environment}; no branch may",
    Kind.SELF_REVIEW: "who starts a deploy to {environment} may approve it alone",
    Kind.VARIABLE: "{variable} holds what the workflows need",
    Kind.VARIABLE_DIFFERS: "{variable} differs from what invoke bootstrap prints",
    Kind.RULES: "{branch} has the rules {rules}, as in .github/rulesets",
    Kind.RULES_LACK: "{branch} lacks rules of {files}, or has weaker ones: {rules}",
    Kind.RULES_UNNAMED: "no file in .github/rulesets names the branch {branch}",
    Kind.TRUSTED: "{role} accepts this token",
    Kind.NAMES_ALONE: "the roles trust names alone; the tokens of a repository that was made, renamed or transferred since "
    "15 July 2026 have GitHub's numbers too, and are refused",
    Kind.ISSUER_DIFFERS: "{role}: iss is {found!r}, the role trusts {required}",
    Kind.COMMAND_UNLOCKED: "[{stage}] command needs {lockfile}",
    Kind.NO_COMMAND: "no command, so the service does not have this stage",
    Kind.PROGRAM_MISSING: "[{stage}] command: there is no {program}",
    Kind.MODULE_MISSING: "[{stage}] command runs {module}, but there is no {file}",
    Kind.NO_METRICS: "none, so the service has only the generic panels and alarms",
    Kind.METRICS: "{panels} panels and {alarms} alarms with the generic ones",
    Kind.HANDLER: "{file} can be imported and answers",
    Kind.HANDLER_MISSING: "there is no {file}",
    Kind.HANDLER_UNLOCKED: "there is no {lockfile}",
    Kind.HANDLER_SLOW: "{file} did not answer within {seconds} s",
    Kind.HANDLER_EXITED: "the process that imported {file} exited with {code}: {printed}",
    Kind.HANDLER_FAULT: "{file}: {fault}",
    Kind.VERSION: "names the release: {fields}",
    Kind.VERSION_NO_OBJECT: "/version answers {body!r}, which is not a JSON object",
    Kind.ANSWERS: "answers {status}",
    Kind.STATUS: "{path} answers {status}, not 200: {body}",
}


def label(finding: Finding) -> str:
    """The name of the check, with the stage that it is about."""
    return LABELS.get(finding.check, finding.check).format(finding.stage)


def sentence(finding: Finding) -> str:
    """What was found."""
    values = finding.values
    match finding.kind:
        case Kind.FACTS:
            return ", ".join(f"{name}: {value}" for name, value in values.items())
        case Kind.TREE:
            return f"{values['branch'] or 'detached HEAD'} at {values['commit']:.12}{', with changes' if values['dirty'] else ''}"
        case Kind.PACKAGE:
            changed = f", and changed: {_listed(values['changed'])}" if values["changed"] else ""
            newer = f"; the installed one is {values['installed']}" if values["installed"] != values["version"] else ""
            return f"ml-delivery {values['version']}, {values['where']}{changed}{newer}"
        case Kind.PROTECTED:
            bypass = "may" if values["bypass"] else "may not"
            return (
                f"{values['environment']} is for {values['branch']} alone, after a review by another person of "
                f"{values['reviewers']} reviewers; administrators {bypass} bypass that"
            )
        case Kind.LOCKS_STALE:
            return _listed(values["lockfiles"], "; ")
        case Kind.OTHER_BRANCHES:
            others = filter(None, [_listed(values["branches"]), _listed(values["tags"], prefix="the tag ")])
            return f"more than {values['branch']} may use {values['environment']}: {', '.join(others)}"
        case Kind.CLAIM_DIFFERS:
            required = _listed(values["required"], " or ", quoted=True)
            return f"{values['role']}: {values['claim']} is {values['found']!r}, the role requires {required}"
        case Kind.COMMAND:
            return _listed(values["command"], " ")
        case Kind.MODELS:
            return _listed(values["files"]) or "none, so the service has no model"
        case Kind.VERSION_DIFFERS:
            return f"/version: {_compared(values['found'], values['wanted'])}"
        case kind:
            return SENTENCES[kind].format(**{name: _text(value) for name, value in values.items()})


def _text(value: Value) -> object:
    return _listed(value) if isinstance(value, list | dict) else value


def _listed(value: Value, between: str = ", ", *, prefix: str = "", quoted: bool = False) -> str:
    """The members of a list, or the names and values of a table."""
    if isinstance(value, dict):
        return between.join(f"{name} {one}" for name, one in value.items())
    assert isinstance(value, list)
    shows = [shown(one) if isinstance(one, Stale) else repr(one) if quoted else f"{prefix}{one}" for one in value]
    return between.join(shows)


def _compared(found: Value, wanted: Value) -> str:
    assert isinstance(found, dict)
    assert isinstance(wanted, dict)
    return "; ".join(
        f"{name} is {found[name]}, it must be {value}" if name in found else f"{name} is missing"
        for name, value in wanted.items()
    )
