"""``invoke upgrade``: a service moves to a newer template; what its owner and bots did meanwhile stays, or is named."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import json_shapes
import pytest
from bake import ROOT, commit, cruft, files, git, invoke, repository, start
from test_bake_update import change, run

from ml_delivery import config, upgrade, upstream
from ml_delivery.account import doctor
from ml_delivery.tasks.findings import sentence

SHIPPED = "{{cookiecutter.project_slug}}"
STARTER = f"{SHIPPED}/starters/pricing"


def bump(path: Path, package: str, version: str) -> None:
    """Lock another version of ``package``, as a bot does."""
    text = path.read_text()
    changed = re.sub(rf"^{package}==\S+", f"{package}=={version}", text, count=1, flags=re.M)
    assert changed != text, (path, package)
    path.write_text(changed)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A template, and a service that was made from it; then the template's next version was released."""
    folder = tmp_path_factory.mktemp("old")
    template = repository(folder / "cookiecutter-ml-service")
    made = cruft(folder / "made", template)
    start(made)
    starter = template / STARTER
    bump(starter / "requirements/lint.txt", "ruff", "98.0")
    bump(starter / "requirements/check.txt", "pytest", "98.0")
    bump(starter / "requirements/serve.txt", "flask", "98.0")
    bump(template / SHIPPED / "requirements/uv.txt", "uv", "98.0")
    bump(template / "src/ml_delivery/locks/delivery.txt", "botocore", "98.0")
    change(starter / "pyproject.toml", '"flask>=3.1"', '"flask>=98"')
    change(starter / "pyproject.toml", '"ruff>=0.13"', '"ruff>=98"')
    change(template / SHIPPED / "Makefile", "## this list", "## the list")
    change(template / SHIPPED / ".snyk", "\n", "\n# newer\n")
    (template / SHIPPED / "buildspec.yml").unlink()
    with (template / "src/ml_delivery/owned.txt").open("a") as owned:
        owned.write(".snyk\n")
    change(template / "src/ml_delivery/__init__.py", "__version__ = ", '__version__ = "98.0"  # ')
    change(template / "src/ml_delivery/__init__.py", '"98.0"  # ', '"98.0"\n# ')
    change(template / "CHANGELOG.md", "\n## [", "\n## [98.0] - 2098-01-01\n\n- A good change.\n\n## [")
    commit(template, "Newer")
    git(template, "tag", "v98.0")
    return template, made


@pytest.fixture
def service(old: tuple[Path, Path], tmp_path: Path) -> Iterator[Path]:
    """A copy of that service."""
    shutil.copytree(old[1], tmp_path / "demand-pricing", symlinks=True)
    return tmp_path / "demand-pricing"


def arrived(service: Path) -> None:
    """The new package is there with the lock that names it, once; nothing conflicts."""
    found = files(service)
    assert [name for name in found if name.endswith(".whl")] == ["vendor/ml_delivery-98.0-py3-none-any.whl"]
    lock = (service / "requirements/delivery.txt").read_text()
    assert lock.count("ml-delivery==") == lock.count("ml-delivery==98.0 ") == lock.count("botocore==98.0 ") == 1
    assert "## the list" in (service / "Makefile").read_text()
    assert not (service / "buildspec.yml").exists()
    assert "uv==98.0 " in (service / "requirements/uv.txt").read_text()
    assert [name for name, content in found.items() if name.endswith((".rej", ".orig")) or b"<<<<<<<" in content] == []
    assert "U" not in {letter for line in git(service, "status", "--porcelain").splitlines() for letter in line[:2]}


@pytest.mark.parametrize("command", ["invoke upgrade", "cruft update"])
def test_bumps_of_tools_by_a_bot_and_by_the_template(service: Path, command: str) -> None:
    """A bot bumped the linter and the test runner, and so did the template: the bot's versions stay."""
    bump(service / "requirements/lint.txt", "ruff", "77.0")
    bump(service / "requirements/check.txt", "pytest", "77.0")
    commit(service, "Bump")
    before = files(service)
    if command == "invoke upgrade":
        printed = invoke(service, "upgrade")
        assert "next: make setup && nox, then git commit --all" in printed
    else:
        run(service, "update", "--skip-apply-ask")
    arrived(service)
    after = files(service)
    assert {name for name in before if before[name] != after.get(name)} == {
        ".cruft.json",
        ".snyk",
        "Makefile",
        "buildspec.yml",
        "requirements/delivery.txt",
        "requirements/uv.txt",
        next(name for name in before if name.endswith(".whl")),
    }


@pytest.mark.parametrize("command", ["invoke upgrade", "cruft update"])
def test_owner_replaced_flask(service: Path, command: str) -> None:
    """FastAPI in place of Flask and a tool of the owner's stay while the template bumps Flask and that tool's neighbour."""
    change(service / "pyproject.toml", '"flask>=3.1"', '"fastapi>=0.120"')
    change(service / "pyproject.toml", '"ruff>=0.13"', '"ruff>=0.13",\n  "codespell>=2"')
    bump(service / "requirements/serve.txt", "flask", "77.0")
    change(service / "requirements/serve.txt", "flask==77.0", "fastapi==0.120.0")
    commit(service, "FastAPI")
    owned = {name: (service / name).read_bytes() for name in ("pyproject.toml", "requirements/serve.txt")}
    if command == "invoke upgrade":
        printed = invoke(service, "upgrade")
        assert "requirements/lint.txt: pyproject.toml declares codespell>=2, the lockfile does not lock it" in printed
        assert "next: make setup && nox -s lock && nox, then" in printed
    else:
        run(service, "update", "--skip-apply-ask")
    arrived(service)
    assert {name: (service / name).read_bytes() for name in owned} == owned


def test_bumps_in_what_the_template_generates(service: Path) -> None:
    """A bot bumped botocore and uv in the template's own locks, and so did the template: its versions come."""
    bump(service / "requirements/delivery.txt", "botocore", "77.0")
    bump(service / "requirements/uv.txt", "uv", "77.0")
    commit(service, "Bump")
    printed = invoke(service, "upgrade")
    for name in ("requirements/delivery.txt", "requirements/uv.txt"):
        assert f"! {name} had local changes; it was restored in a separate commit" in printed
    arrived(service)
    assert git(service, "show", "--format=", "--name-only").split() == [
        "requirements/delivery.txt",
        "requirements/uv.txt",
    ]
    assert git(service, "diff", "--stat", "HEAD~2", "HEAD") == ""


def template_of(service: Path) -> str:
    """What doctor reports of the template, without the network and without a clone."""
    return next(sentence(found) for found in doctor.local(config.load(service, {})) if found.check == "template")


def test_what_is_new_is_shown_and_checked(old: tuple[Path, Path], service: Path) -> None:
    """--check exits with 2 and the changelog's new sections, and changes nothing; after the upgrade, with 0."""
    before = files(service, without=(".git",))
    with upstream.opened(service) as (looked, _):
        version = looked.version
    printed = invoke(service, "upgrade", "--check", code=2)
    assert f"ml-delivery {version} ({git(old[0], 'rev-parse', 'HEAD~1')[:7]}) → 98.0" in printed
    assert "## [98.0] - 2098-01-01\n\n- A good change." in printed
    assert "### Added" not in printed  # of the sections before
    assert files(service, without=(".git",)) == before
    assert "there is a newer one (" in template_of(service)
    found = json.loads(invoke(service, "upgrade", "--check", "--json", code=2))
    assert (found["template"]["newest_version"], found["update"]) == ("98.0", None)
    done = json.loads(invoke(service, "upgrade", "--to", "v98.0", "--json"))
    for document in (found, done):
        json_shapes.check("upgrade", document)
    assert (done["update"]["stale"], "Makefile" in done["update"]["changed"]) == ([], True)
    commit(service, "Upgrade")
    assert "is the newest of" in invoke(service, "upgrade", "--check")
    assert "is the newest of" in invoke(service, "upgrade")
    assert template_of(service) == "is the newest"
    change(service / ".cruft.json", str(old[0]), str(old[0] / "gone"))
    assert "could not be read" in template_of(service)
    git(service, "checkout", "--quiet", "--", ".cruft.json")
    assert git(service, "status", "--porcelain") == ""


def test_change_that_reaches_no_service_is_not_newer(old: tuple[Path, Path], service: Path, tmp_path: Path) -> None:
    """A template whose documents alone changed asks for no update."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(old[0]), str(clone))
    git(clone, "reset", "--quiet", "--hard", "HEAD~1")
    git(clone, "config", "user.name", "tests")
    git(clone, "config", "user.email", "tests@localhost")
    (clone / "docs.md").write_text("More.\n")
    commit(clone, "Documents")
    change(service / ".cruft.json", str(old[0]), str(clone))
    assert "is the newest of" in invoke(service, "upgrade", "--check")


def test_list_of_what_the_owner_owns_grows(old: tuple[Path, Path], service: Path) -> None:
    """What a newer template gives to the owner is left alone from the next update on; the list holds nothing twice."""
    invoke(service, "upgrade")
    assert "# newer" in (service / ".snyk").read_text()
    commit(service, "Upgrade")
    skip = json.loads((service / ".cruft.json").read_text())["skip"]
    assert (".snyk" in skip, len(skip)) == (True, len(set(skip)))
    template = old[0]
    change(template / SHIPPED / ".snyk", "# newer\n", "# newest\n")
    change(template / SHIPPED / "Makefile", "## the list", "## The list")
    commit(template, "Newest")
    try:
        invoke(service, "upgrade")
    finally:
        git(template, "reset", "--quiet", "--hard", "HEAD~1")
    assert "## The list" in (service / "Makefile").read_text()
    assert "# newest" not in (service / ".snyk").read_text()
    assert json.loads((service / ".cruft.json").read_text())["skip"] == skip


@pytest.mark.parametrize(
    ("name", "old_words", "new_words"),
    [("Makefile", "## this list", "## my list"), ("buildspec.yml", "version: 0.2", "version: 0.2 # mine")],
    ids=["changed by both", "changed by the owner, removed by the template"],
)
def test_conflict_is_named_and_fails(service: Path, name: str, old_words: str, new_words: str) -> None:
    """A conflict with the owner's change exits with 1, names the file, and leaves all of the update to be resolved."""
    change(service / name, old_words, new_words)
    commit(service, "Mine")
    printed = invoke(service, "upgrade", code=1)
    assert f"✗ the update conflicts with your changes:\n  {name}" in printed
    assert "next: correct each file" in printed
    assert new_words in (service / name).read_text()
    assert "# newer" in (service / ".snyk").read_text()


def test_changed_tree_is_refused(service: Path) -> None:
    """Changes that are not committed, a new file among them, are named, and nothing is updated."""
    (service / "mine.txt").write_text("Mine.\n")
    change(service / "Makefile", "## this list", "## my list")
    before = files(service)
    printed = invoke(service, "upgrade", code=1)
    assert "there are uncommitted changes, which the update would mix with its own: Makefile, mine.txt" in printed
    assert "next: git stash --include-untracked, or git add --all && git commit; then invoke upgrade" in printed
    assert files(service) == before


@pytest.mark.parametrize(
    ("state", "says", "remedy"),
    [
        (None, "is not linked to a template", "uvx cruft link TEMPLATE --checkout COMMIT"),
        ("{", "can't be read: JSONDecodeError", "git checkout HEAD -- .cruft.json"),
        ('{"template": "x"}', "can't be read: KeyError: 'commit'", "git checkout HEAD -- .cruft.json"),
        (
            '{"template": "./nowhere", "commit": "0"}',
            "the template ./nowhere can't be cloned: fatal: repository './nowhere' does not exist",
            "check the network",
        ),
    ],
    ids=["cookiecutter's", "damaged", "incomplete", "offline"],
)
def test_service_that_cannot_be_upgraded_gets_the_reason(
    service: Path, state: str | None, says: str, remedy: str
) -> None:
    """Without a link to a template, and without the template, there is one message with what to type."""
    (service / ".cruft.json").unlink()
    if state:
        (service / ".cruft.json").write_text(state)
    printed = invoke(service, "upgrade", "--check", code=1)
    assert says in printed
    assert remedy in printed


@pytest.mark.parametrize(
    ("to", "says"), [("v0", "has no tag, branch or commit 'v0'"), ("", "no longer has the commit " + "0" * 40)]
)
def test_unknown_commits_are_named(service: Path, to: str, says: str) -> None:
    """A version that does not exist, and a template whose history was rewritten, are reported."""
    if not to:
        state = json.loads((service / ".cruft.json").read_text())
        (service / ".cruft.json").write_text(json.dumps({**state, "commit": "0" * 40}))
    assert says in invoke(service, "upgrade", "--check", *(["--to", to] if to else []), code=1)


def test_owned_is_what_the_bake_skips(old: tuple[Path, Path]) -> None:
    """One list: that of the package, which grows, is that of each starter's pyproject.toml, which a bake starts with."""
    import tomllib

    owned = sorted(upgrade.OWNED.read_text().split())
    starters = sorted((ROOT / SHIPPED / "starters").glob("*/pyproject.toml"))
    assert starters
    for path in starters:
        assert sorted(tomllib.loads(path.read_text())["tool"]["cruft"]["skip"]) == owned, path
    (wheel,) = (old[1] / "vendor").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("ml_delivery/owned.txt") == upgrade.OWNED.read_bytes()


def test_rejected_parts_are_named(service: Path) -> None:
    """Where a file that the template removed was changed, git applies the rest without merging: what did not fit is named."""
    change(service / "Makefile", "## this list", "## my list")
    change(service / "buildspec.yml", "version: 0.2", "version: 0.2 # mine")
    commit(service, "Mine")
    printed = invoke(service, "upgrade", code=1)
    assert "your changes:\n  Makefile.rej\n  buildspec.yml (the template removed it, and you had changed it)" in printed
    assert "## the list" in (service / "Makefile.rej").read_text()
