"""What GitHub is asked: the repository's numbers, the form of its tokens, and who may use an environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from github_api import REPOSITORY, SUBJECT, GitHub, environment, policies
from roles import ACCOUNT
from tiny import TEMPLATE, Tiny

from ml_delivery import emulator
from ml_delivery.account import change_sets, doctor, github, stacks, trust
from ml_delivery.cloud import Cloud
from ml_delivery.errors import PipelineError
from ml_delivery.findings import Finding
from ml_delivery.tasks.findings import label, sentence

TOKEN = "canary-of-the-github-token"
DELIVERY = "actions/variables/DELIVERY"
IDS = 'owner_id = "583231"\nrepository_id = "1296269"\n'
SELECTED = {"protected_branches": False, "custom_branch_policies": True}
PROTECTED = {"protected_branches": True, "custom_branch_policies": False}


def asked(tiny: Tiny) -> dict[str, Finding]:
    found = doctor.github(tiny.config, tiny.config.environment("main"), "123456789012", TOKEN)
    return {finding.check: finding for finding in found}


def test_what_is_missing_on_github_is_reported(tiny: Tiny, api: GitHub) -> None:
    """No repository, environment, variable, another variable; then nothing is missing, and the token was used."""
    api.answers = {}
    found = asked(tiny)
    assert "GitHub has no repository an-owner/a-repository" in sentence(found["GitHub ids"])
    assert sentence(found["GitHub environment"]) == "there is no environment production"
    assert found["GitHub environment"].fix.endswith("https://github.com/an-owner/a-repository/settings/environments")
    assert sentence(found["GitHub variable"]) == "there is no variable DELIVERY"
    assert '"deploy": "arn:aws:iam::123456789012:role/' in found["GitHub variable"].fix
    api.answers = {DELIVERY: (200, {"value": "{}"})}
    assert sentence(asked(tiny)["GitHub variable"]) == "DELIVERY differs from what invoke bootstrap prints"
    tiny.replace("pipeline.toml", "[github]\n", f"[github]\n{IDS}")
    api.answers = {
        "": (200, REPOSITORY),
        "actions/oidc/customization/sub": (200, SUBJECT),
        "environments/production": (200, environment(SELECTED)),
        "environments/production/deployment-branch-policies": (200, policies("main")),
        DELIVERY: (200, {"name": "DELIVERY", "value": json.dumps(stacks.workflows(tiny.config, "123456789012"))}),
    }
    assert [finding for finding in asked(tiny).values() if not finding.ok] == []
    assert set(api.tokens) == {f"Bearer {TOKEN}"}


BRANCHES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no reviewers": (environment(SELECTED, reviewers=0), policies("main"), "production has no required reviewers"),
    "any branch": (environment(None), {}, "any branch may use production"),
    "protected branches": (environment(PROTECTED), {}, "every protected branch may use production"),
    "a pattern": (environment(SELECTED), policies("main", "release/*"), "more than main may use production: release/*"),
    "a tag": (environment(SELECTED), policies("main", tags=("v*",)), "more than main may use production: the tag v*"),
    "any by pattern": (environment(SELECTED), policies("*"), "more than main may use production: *"),
    "no branch": (environment(SELECTED), policies(), "main may not use production; no branch may"),
    "self-review": (environment(SELECTED, self_review=True), policies("main"), "who starts a deploy to production may"),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_environment_that_is_open_is_reported_as_that(tiny: Tiny, api: GitHub, name: str) -> None:
    """Who else may use it, or approve it, is a failed check with the fix; only its own branch after a review is none."""
    found, listed, says = BRANCHES[name]
    api.answers["environments/production"] = (200, found)
    api.answers["environments/production/deployment-branch-policies"] = (200, listed)
    finding = asked(tiny)["GitHub environment"]
    assert (finding.ok, sentence(finding).startswith(says)) == (False, True), finding
    assert "settings/environments" in finding.fix or not finding.fix


@pytest.mark.parametrize(("bypass", "says"), [(True, "administrators may bypass that"), (False, "may not bypass that")])
def test_good_environment_is_described(tiny: Tiny, api: GitHub, bypass: bool, says: str) -> None:
    """Its branch, its reviewers, and whether administrators may skip them."""
    api.answers["environments/production"] = (200, environment(SELECTED, bypass=bypass))
    api.answers["environments/production/deployment-branch-policies"] = (200, policies("main"))
    finding = asked(tiny)["GitHub environment"]
    assert finding.ok
    assert "is for main alone, after a review by another person of 2 reviewers" in sentence(finding)
    assert sentence(finding).endswith(says)


@pytest.mark.parametrize("code", [401, 403, 500])
def test_github_that_refuses_is_reported(tiny: Tiny, api: GitHub, code: int) -> None:
    """A token that may not, or a service that is down; the token is not printed."""
    api.answers = {
        path: (code, {}) for path in ("", "environments/production", DELIVERY, "actions/oidc/customization/sub")
    }
    for finding in asked(tiny).values():
        assert sentence(finding) == f"GitHub answers {code}"
        assert TOKEN not in str(finding)


def test_github_that_is_away_is_reported(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub can't be reached."""
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert all("GitHub does not answer" in sentence(finding) for finding in asked(tiny).values())


def test_another_repository_of_the_name_is_reported(tiny: Tiny, api: GitHub) -> None:
    """The numbers of pipeline.toml are those of a repository that was deleted, and its name taken."""
    tiny.replace("pipeline.toml", "[github]\n", '[github]\nowner_id = "583231"\nrepository_id = "7"\n')
    finding = asked(tiny)["GitHub ids"]
    assert not finding.ok
    assert "it is another repository of this name" in sentence(finding)
    assert 'repository_id = "1296269"' in finding.fix


@pytest.mark.parametrize(
    ("lines", "answer", "says"),
    [
        (IDS, SUBJECT, ""),
        (f'{IDS}subject = "names"\n', SUBJECT, "the tokens' sub begins with repo:an-owner@583231/a-repository@1296269"),
        (
            IDS,
            {"use_default": True, "sub_claim_prefix": "repo:an-owner/a-repository"},
            "the tokens' sub begins with repo:an-ow",
        ),
        (f'{IDS}subject = "names"\n', {"use_default": True, "sub_claim_prefix": "repo:an-owner/a-repository"}, ""),
        (
            IDS,
            {"use_default": False, "include_claim_keys": ["actor"]},
            "the tokens' sub has claims of its own, which no role accepts: actor",
        ),
        (IDS, {"use_default": True}, ""),
    ],
)
def test_form_of_the_tokens_is_compared(tiny: Tiny, api: GitHub, lines: str, answer: Any, says: str) -> None:
    """What GitHub reports is what the roles require, in one of the two forms; a subject of its own fits no role."""
    tiny.replace("pipeline.toml", "[github]\n", f"[github]\n{lines}")
    api.answers["actions/oidc/customization/sub"] = (200, answer)
    finding = asked(tiny)["GitHub subject"]
    assert finding.ok is (not says)
    assert sentence(finding).startswith(says)
    assert finding.ok or finding.fix


def test_token_is_found(api: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GH_TOKEN, else GITHUB_TOKEN, else GitHub's CLI, which may be signed out."""
    assert github.token() == ""
    cli = tmp_path / "gh"
    cli.write_text('#!/bin/sh\n[ "$*" = "auth token" ] && echo of-the-cli\n')
    cli.chmod(0o755)
    monkeypatch.undo()
    for name in ("GH_TOKEN", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert github.token() == "of-the-cli"
    cli.write_text("#!/bin/sh\necho none >&2; exit 1\n")
    assert github.token() == ""
    monkeypatch.setenv("GITHUB_TOKEN", "second")
    assert github.token() == "second"
    monkeypatch.setenv("GH_TOKEN", "first")
    assert github.token() == "first"


def test_bootstrap_asks_github_and_the_roles_take_its_tokens(
    tiny_alone: Tiny, api: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On AWS, `bootstrap` stops while GitHub can't be asked; then the roles trust both numbers, and doctor agrees by itself."""
    tiny = tiny_alone
    tiny.replace("pipeline.toml", 'branch = "main"\n', f'branch = "main"\naccount = "{ACCOUNT}"\n')
    running = emulator.up(tiny.root)
    variables = {
        "AWS_ENDPOINT_URL": running.endpoint,
        "AWS_ACCESS_KEY_ID": running.access_key,
        "AWS_SECRET_ACCESS_KEY": running.secret_key,
        "PIPELINE_CLOUD": "aws",
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "PATH": "/usr/bin:/bin",
    }
    monkeypatch.setattr(Tiny, "environment", {**tiny.environment, **variables})
    printed = tiny.invoke("bootstrap", "--yes", code=1)
    assert "GitHub does not answer" in printed
    cloud = Cloud.open(tiny.config, tiny.config.environment("main"), "embedded")
    assert change_sets.state(stacks.service(tiny.config, tiny.config.environment("main")), cloud) == "missing"
    tiny.environment["GITHUB_API_URL"] = api.url
    printed = tiny.invoke("bootstrap", "--yes")
    assert 'owner_id = "583231", repository_id = "1296269"; written to pipeline.toml, commit it' in printed
    role = cloud.client("iam").get_role(RoleName=f"{tiny.name}-production-deploy")["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"]["StringEquals"] == {
        "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
        "token.actions.githubusercontent.com:sub": "repo:an-owner@583231/a-repository@1296269:environment:production",
        "token.actions.githubusercontent.com:job_workflow_ref": (
            "an-owner/a-repository/.github/workflows/deploy.yml@refs/heads/main"
        ),
        "token.actions.githubusercontent.com:repository_id": "1296269",
    }
    cloud.name = "aws"
    findings = trust.expected(tiny.config, tiny.config.environment("main"), cloud)
    assert [(label(f), f.ok) for f in findings] == [
        (f"token for {stage}", True) for stage in ("build", "plan", "deploy")
    ]
    for old, new, check in (
        (IDS, "", "GitHub's numbers"),
        ('"1296269"', '"1296270"', "token for build"),
        ("an-owner/a-repository", "an-owner/b", "token for plan"),
    ):
        text = (tiny.root / "pipeline.toml").read_text()
        tiny.replace("pipeline.toml", old, new)
        found = {label(f): f for f in trust.expected(tiny.config, tiny.config.environment("main"), cloud)}
        assert not found[check].ok
        assert found[check].fix.startswith("invoke bootstrap --branch main --cloud aws")
        tiny.write("pipeline.toml", text)


def test_missing_role_is_a_finding(tiny: Tiny) -> None:
    """Before bootstrap: each role is named, with the command that makes it."""
    cloud = Cloud.open(tiny.config, tiny.config.environment("main"), "embedded")
    findings = trust.expected(tiny.config, tiny.config.environment("main"), cloud)
    assert {f.values["role"] for f in findings} == {f"{tiny.name}-production-{s}" for s in stacks.stages(tiny.config)}
    assert {f.fix for f in findings} == {"invoke bootstrap --branch main --cloud embedded"}


def test_error_names_the_place(api: GitHub) -> None:
    """What is asked for is in the message, not in a traceback."""
    with pytest.raises(PipelineError, match="GitHub has no repository x/y"):
        github.repository("x/y", "")


RULES = json.loads((TEMPLATE / ".github/rulesets/main.json").read_text(encoding="utf-8"))["rules"]
GOOD = {
    "rules/branches/main": (
        200,
        [{**rule, "ruleset_id": 42, "ruleset_source": "an-owner/a-repository"} for rule in RULES],
    )
}


def ruled(tiny: Tiny) -> Finding:
    (tiny.root / ".github/rulesets").mkdir(parents=True, exist_ok=True)
    (tiny.root / ".github/rulesets/main.json").write_text(
        (TEMPLATE / ".github/rulesets/main.json").read_text(encoding="utf-8")
    )
    return asked(tiny)["GitHub rules"]


def test_service_without_a_ruleset_file_is_not_asked_for_rules(tiny: Tiny, api: GitHub) -> None:
    """The files are the service's to have."""
    assert "GitHub rules" not in asked(tiny)


def test_branch_with_the_shipped_rules_is_good(tiny: Tiny, api: GitHub) -> None:
    """Also with stricter ones, from another ruleset, and with rules of other types."""
    api.answers |= GOOD
    assert sentence(ruled(tiny)).startswith(
        "main has the rules deletion, non_fast_forward, pull_request, required_status_checks"
    )
    stricter = json.loads(
        json.dumps(GOOD["rules/branches/main"][1]).replace('count": 1', 'count": 2').replace("false", "true")
    )
    api.answers["rules/branches/main"] = (200, [*stricter, {"type": "required_signatures"}])
    assert ruled(tiny).ok


WEAKER: dict[str, tuple[str, str, str]] = {
    "no rules": (
        "",
        "",
        "or has weaker ones: deletion, non_fast_forward, pull_request, required_status_checks",
    ),
    "fewer reviews": ('count": 1', 'count": 0', "weaker ones: pull_request"),
    "stale reviews": ('push": true', 'push": false', "weaker ones: pull_request"),
    "another check": ("Pass", "Lint", "weaker ones: required_status_checks"),
    "a missing rule": ("non_fast_forward", "creation", "weaker ones: non_fast_forward"),
}


@pytest.mark.parametrize("name", WEAKER)
def test_weaker_rules_are_reported(tiny: Tiny, api: GitHub, name: str) -> None:
    """What a branch lacks of the file is a failed check, with the command that imports it."""
    old, new, says = WEAKER[name]
    text = json.dumps(GOOD["rules/branches/main"][1])
    assert old in text
    api.answers["rules/branches/main"] = (200, json.loads(text.replace(old, new)) if old else [])
    finding = ruled(tiny)
    assert (finding.ok, says in sentence(finding)) == (False, True), sentence(finding)
    posts = "gh api --method POST repos/an-owner/a-repository/rulesets --input .github/rulesets/main.json"
    assert finding.fix.startswith(posts)


def test_branch_that_no_file_names_is_reported(tiny: Tiny, api: GitHub) -> None:
    """A branch that is delivered, and that the files forget."""
    api.answers |= GOOD
    ruled(tiny)
    tiny.replace(".github/rulesets/main.json", "refs/heads/main", "refs/heads/release")
    finding = asked(tiny)["GitHub rules"]
    assert sentence(finding) == "no file in .github/rulesets names the branch main"
    assert finding.fix.startswith("add refs/heads/main to")


def test_file_that_is_no_ruleset_is_reported(tiny: Tiny, api: GitHub) -> None:
    """By its name, whatever is wrong with it."""
    api.answers |= GOOD
    ruled(tiny)
    for text in ("", "[]", "{}", '{"conditions": {"ref_name": {"include": ["refs/heads/main"]}}, "rules": [1]}'):
        tiny.write(".github/rulesets/main.json", text)
        finding = asked(tiny)["GitHub rules"]
        assert (finding.ok, finding.fix) == (False, "git restore .github/rulesets/main.json")
        assert sentence(finding).startswith(".github/rulesets/main.json is not a ruleset: ")
