"""The tasks for an environment's infrastructure and its delivery roles: bootstrap, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Exit

from ml_delivery.errors import PipelineError
from ml_delivery.tasks import console
from ml_delivery.tasks.base import BRANCH, CLOUD, JSON, action, read_config

if TYPE_CHECKING:
    from ml_delivery.account.change_sets import InfraPlan
    from ml_delivery.account.events import Event
    from ml_delivery.cloud import Cloud
    from ml_delivery.config import Config
    from ml_delivery.findings import Finding
    from ml_delivery.keys import Environment


DESTROY = "remove the environment permanently with everything in it, after asking for the service's name"


@action(
    help={
        "branch": BRANCH,
        "cloud": CLOUD,
        "yes": "don't ask for confirmation",
        "destroy": DESTROY,
        "json": "print one JSON document instead of text; on AWS nothing is changed without --yes",
    }
)
def bootstrap(
    _: Any, branch: str = "", cloud: str = "", yes: bool = False, destroy: bool = False, json: bool = False
) -> None:
    """Create or update the environment's infrastructure and delivery roles, after showing the changes and the policies."""
    from ml_delivery.account import change_sets, stacks
    from ml_delivery.cloud import Cloud
    from ml_delivery.monitoring import stack as monitoring
    from ml_delivery.release import front
    from ml_delivery.release.delivery import checked_out

    config = read_config()
    environment = config.environment(branch or checked_out(config))
    opened = Cloud.open(config, environment, cloud)
    if destroy:
        return _destroy(config, environment, opened)
    if opened.name == "aws":
        config = _identified(config)
        environment = config.environment(environment.branch)
    wanted = [
        stacks.service(config, environment),
        stacks.delivering(config, environment),
        monitoring.wanted(config, environment),
    ]
    if not change_sets.provider_stands(config, opened):
        wanted.insert(0, stacks.github(config))
    if address := front.wanted(config, environment, opened):
        wanted.append(address)
    plans = []
    for stack in wanted:
        planned = change_sets.plan(stack, opened)
        if not json:
            _planned(planned)
        agreed = False
        try:
            sure = yes or opened.name == "embedded" or not planned.change_set
            agreed = sure or (not json and console.agrees(f"change {planned.stack} on {opened.name}?"))
        finally:  # Ctrl-C means no
            if not agreed:
                change_sets.discard(opened, planned)
        if not agreed and not json:
            raise Exit(f"{planned.stack} was not changed", 1)
        if agreed:
            change_sets.apply(opened, planned, console.quiet if json else _print)
        plans.append({**vars(planned), "applied": agreed})
        if planned.change_set and not json:
            console.say(f"{planned.stack}: done")
    if unwanted := front.unwanted(config, environment, opened):
        plans.append(_without_front(unwanted, opened, yes=yes, json=json))
    if stacks.front(config, environment) and not address and not json:
        console.say(f"{environment.name} gets its address after its first deploy; then run this again")
    if all(plan["applied"] for plan in plans):
        _guard(config, environment, opened, sure=yes or opened.name == "embedded", ask=not json)
    established = _established(config, environment, opened) if all(plan["applied"] for plan in plans) else []
    known = stacks.workflows(config, opened.account)
    if not json:
        for line in established:
            console.say(line)
        return _variables(known)
    console.document({"stacks": plans, "established": established, "DELIVERY": known})
    if not all(plan["applied"] for plan in plans):
        raise Exit(f"nothing was changed on {opened.name}; next: add --yes", 1)


def _without_front(planned: InfraPlan, cloud: Cloud, *, yes: bool, json: bool) -> dict[str, Any]:
    """Remove the stack of an address that [http] no longer has, after asking; returns what was planned and whether it is done."""
    from ml_delivery.account import change_sets

    if not json:
        console.say(f"{planned.stack}: [http] has no address any more")
    question = f"remove {planned.stack}, and with it the address, on {cloud.name}?"
    agreed = yes or cloud.name == "embedded" or (not json and console.agrees(question))
    if not agreed and not json:
        raise Exit(f"{planned.stack} was not removed", 1)
    if agreed:
        change_sets.delete(planned.stack, cloud)
        if not json:
            console.say(f"{planned.stack}: removed")
    return {**vars(planned), "applied": agreed}


def _planned(planned: InfraPlan) -> None:
    """Print what would change: each resource, then each statement of a policy."""
    if not planned.change_set:
        return console.say(f"{planned.stack}: nothing to do")
    console.say(f"{planned.stack} ({planned.place}):")
    for change in planned.changes:
        replaced = " (replaced!)" if change.replacement else ""
        console.say(f"  {change.action} {change.type} {change.resource}{replaced}")
    for one in planned.policies:
        console.say(f"  policy {one.change}: {one.resource}, {one.policy}, {one.sid}: {one.effect}")
        for sign, parts in (("+", one.added), ("-", one.removed)):
            elements: dict[str, list[str]] = {}
            for part in parts:
                elements.setdefault(part.element, []).append(part.value)
            for element, values in elements.items():
                console.say(f"    {sign} {element:<9} {', '.join(values)}")


def _guard(config: Config, environment: Environment, cloud: Cloud, *, sure: bool, ask: bool) -> None:
    """Add what the bucket's policy must deny and doesn't, since it was changed; or name it, where the service owns the template."""
    from ml_delivery.account import change_sets, guards
    from ml_delivery.records import Context

    found = change_sets.foundation(config, environment, cloud)
    context = Context(config, environment, cloud, found) if found else None
    if not context or not (lacks := guards.lacking(context)):
        return
    console.warn(f"{context.foundation.bucket}: {guards.says(lacks)}")
    if guards.owned(context):
        console.warn(f"next: {guards.remedy(context)}")
    elif sure or (ask and console.agrees(f"add them to its policy on {cloud.name}?")):
        guards.add(context, lacks)
        console.warn("they were added")


def _established(config: Config, environment: Environment, cloud: Cloud) -> list[str]:
    """Create what the target needs outside the stacks; returns what was changed."""
    from ml_delivery import target
    from ml_delivery.account import change_sets
    from ml_delivery.records import Context

    found = change_sets.foundation(config, environment, cloud)
    assert found is not None
    return target.load(environment.target, config).establish(Context(config, environment, cloud, found))


def _identified(config: Config) -> Config:
    """The configuration with GitHub's numbers of the repository; those that pipeline.toml lacks are written there."""
    from ml_delivery.account import github

    known = github.identified(config)
    if known is not config:
        ids = f'owner_id = "{known.github.owner_id}", repository_id = "{known.github.repository_id}"'
        console.warn(f"GitHub's numbers of {known.github.repository}: {ids}; written to pipeline.toml, commit it")
    return known


def _destroy(config: Config, environment: Environment, cloud: Cloud) -> None:
    """Remove the environment, but only after the service's name was typed, on every cloud: it can't be undone."""
    from ml_delivery.account import removal

    console.say(f"this removes {environment.name} on {cloud.name} permanently, with its releases, artifacts and logs")
    if console.answer("type the service's name to continue: ") != config.service.name:
        raise Exit("that is not the service's name; nothing was removed", 1)
    removal.remove(config, environment, cloud, lambda what: console.say(f"  removed: {what}"))


CLAIMS = "a GitHub token's claims, as JSON or a JSON file: print which roles accept it, and which claim differs for the others"


CONTRACT = "check only whether the service meets the contract with delivery"


@action(help={"branch": BRANCH, "cloud": CLOUD, "claims": CLAIMS, "contract": CONTRACT, "json": JSON})
def doctor(
    _: Any, branch: str = "", cloud: str = "", claims: str = "", contract: bool = False, json: bool = False
) -> None:
    """Check this machine, the account and GitHub for common problems, and print each fix; exit 1 if a check fails."""
    from ml_delivery.account import doctor as looking
    from ml_delivery.account import github, trust
    from ml_delivery.cloud import chosen
    from ml_delivery.findings import failed
    from ml_delivery.release.delivery import checked_out

    config = read_config()
    if contract:
        from ml_delivery import contract as service

        return _show(service.check(config, config.environment(branch or checked_out(config))), json)
    findings = looking.local(config)
    opened, environment = None, None
    try:
        environment = config.environment(branch or checked_out(config))
    except PipelineError as error:
        findings.append(failed("environment", error))
    if environment:
        found, opened = looking.account(config, environment, chosen(cloud))
        findings += found
    if environment and opened and claims:
        findings += trust.given(config, environment, opened, trust.claims_of(claims))
    elif environment and opened:
        findings += trust.expected(config, environment, opened)
    if environment and opened and (token := github.token()):
        findings += looking.github(config, environment, opened.account, token)
    _show(findings, json)


def _show(findings: list[Finding], json: bool) -> None:
    """Print the findings; exit code 1 unless all are ok. Of the roles that may trust a token, one is enough."""
    from ml_delivery.tasks import findings as words

    if json:
        console.document(findings)
    else:
        for finding in findings:
            console.say(f"{'✓' if finding.ok else '✗'} {words.label(finding):<20} {words.sentence(finding)}")
            if finding.fix:
                console.say(f"    fix: {finding.fix}")
    accepted = [finding.ok for finding in findings if finding.check == "trust"]
    others = [finding.ok for finding in findings if finding.check != "trust"]
    if not all(others) or (accepted and not any(accepted)):
        raise Exit(code=1)


def _print(event: Event) -> None:
    if not event.status.endswith("_IN_PROGRESS"):
        console.say(f"  {event.status:<18} {event.resource}{f': {event.reason}' if event.reason else ''}")


def _variables(delivery: dict[str, dict[str, str]]) -> None:
    """Print the variables that the workflows read, to be set on GitHub once."""
    from json import dumps

    console.say("\nOn GitHub, in Settings → Secrets and variables → Actions → Variables, set")
    console.say(f"  DELIVERY = {dumps(delivery)}")
    names = ", ".join(each["environment"] for each in delivery.values())
    console.say(f"and in Settings → Environments create {names}, each with its branch and its required reviewers.")
    console.say("To clone a private repository, CodeBuild needs a personal access token that can read it:")
    console.say(
        "  aws codebuild import-source-credentials --server-type GITHUB --auth-type PERSONAL_ACCESS_TOKEN --token …"
    )
