"""GitHub's numbers of owner and repository: asked for, written into pipeline.toml, and what is done without them."""

from __future__ import annotations

import pytest
from github_api import REPOSITORY, GitHub
from tiny import TEMPLATE, Tiny

from ml_delivery.account import github
from ml_delivery.errors import ConfigError

TOKEN = "canary-of-the-github-token"
TOML = [
    '[github]\nrepository = "an-owner/a-repository"\n',
    '[github]\nowner_id = ""   # the owner\nrepository_id = ""\nrepository = "an-owner/a-repository"\n\n[monitoring]\nquiet = 3\n',
    "[github] # where\n# its own\nrepository = 'an-owner/a-repository'\nrepository_id = ''\n[build]\nbudget = 9\n",
    '[github]\r\nrepository = "an-owner/a-repository"\r\n[build]\r\nbudget = 9\r\n',
]


@pytest.mark.parametrize("section", TOML)
def test_numbers_are_written_into_the_file(tiny: Tiny, api: GitHub, section: str) -> None:
    """Both, once; every other line, comment and line end stays; a second time nothing is asked."""
    text = (tiny.root / "pipeline.toml").read_text()
    before = text.replace('[github]\nrepository = "an-owner/a-repository"\n', section)
    (tiny.root / "pipeline.toml").write_bytes(before.encode())
    known = github.identified(tiny.config)
    assert (known.github.owner_id, known.github.repository_id) == ("583231", "1296269")
    assert api.tokens == [None]
    after = (tiny.root / "pipeline.toml").read_bytes().decode()
    ids = ("owner_id", "repository_id")
    assert [line for line in after.splitlines(keepends=True) if not line.startswith(ids)] == [
        line for line in before.splitlines(keepends=True) if not line.startswith(ids)
    ]
    assert ("# the owner" in after) == ("# the owner" in before)
    assert github.identified(known) is known
    assert len(api.tokens) == 1


def test_shipped_file_takes_the_numbers() -> None:
    """The template's own pipeline.toml, comments and all."""
    text = (
        (TEMPLATE / "pipeline.toml")
        .read_text()
        .replace("{{ cookiecutter.github_repository }}", "an-owner/a-repository")
    )
    made = github._with_ids(text, github.Repository("an-owner/a-repository", "12", "345"))
    assert made == text.replace('owner_id = ""', 'owner_id = "12"').replace(
        'repository_id = ""', 'repository_id = "345"'
    )
    assert made != text


def refused(tiny: Tiny) -> ConfigError:
    before = (tiny.root / "pipeline.toml").read_bytes()
    with pytest.raises(ConfigError) as fault:
        github.identified(tiny.config)
    assert (tiny.root / "pipeline.toml").read_bytes() == before
    for way in ("owner_id and repository_id", "gh api repos/an-owner/a-repository --jq", 'subject = "names"'):
        assert way in fault.value.next
    return fault.value


def test_bare_names_need_to_be_chosen(tiny: Tiny, api: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Private, renamed, not GitHub, or away: refused with both ways out, and the file is as it was; subject decides else."""
    api.answers = {}
    assert "or it is private" in str(refused(tiny))
    api.answers = {"": (200, {**REPOSITORY, "full_name": "an-owner/renamed"})}
    assert "GitHub names the repository an-owner/renamed" in str(refused(tiny))
    for answer in ({}, [], {**REPOSITORY, "id": "x"}, b"<html>"):
        api.answers = {"": (200, answer)}
        assert "GitHub" in str(refused(tiny))
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert "GitHub does not answer" in str(refused(tiny))
    tiny.replace("pipeline.toml", "[github]\n", '[github]\nsubject = "names"\n')
    assert github.identified(tiny.config).github.owner_id == ""
    tiny.replace("pipeline.toml", '"names"', '"name"')
    with pytest.raises(ConfigError, match=r"github.subject: 'name' is not one of ids, names"):
        assert tiny.config


def test_tokens_with_names_alone_are_not_given_to_roles_that_want_ids(
    tiny: Tiny, api: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older repository: both ways on, with the numbers; where GitHub does not report the form, the numbers are written."""
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    bare = {"use_default": True, "use_immutable_subject": False, "sub_claim_prefix": "repo:an-owner/a-repository"}
    api.answers[github.SUBJECT] = (200, bare)
    before = (tiny.root / "pipeline.toml").read_bytes()
    with pytest.raises(ConfigError, match="the repository's tokens have names alone") as fault:
        github.identified(tiny.config)
    assert "-F use_immutable_subject=true; or write" in fault.value.next
    assert 'subject = "names", owner_id = "583231" and repository_id = "1296269"' in fault.value.next
    assert (tiny.root / "pipeline.toml").read_bytes() == before
    api.answers[github.SUBJECT] = (403, {})
    assert github.identified(tiny.config).github.repository_id == "1296269"
    assert set(api.tokens) == {f"Bearer {TOKEN}"}
