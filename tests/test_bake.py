"""Bakes: every choice is baked, every bad answer is refused with nothing left behind, and a bake lives."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from bake import KEPT, Refused, bake, cruft, files, repository, start
from tiny import ROOT, TEMPLATE

import local_extensions
from local_extensions.answers import CHOICES
from ml_delivery import __version__, config, keys
from ml_delivery.containers.engines import Engine

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# What interacts is multiplied (starter, target and Python), what does not is cycled through.
CYCLED = itertools.cycle(CHOICES["licence"])
MATRIX = [
    {"starter": starter, "target": target, "python_version": python, "licence": next(CYCLED)}
    for starter, target, python in itertools.product(CHOICES["starter"], CHOICES["target"], keys.PYTHONS)
]
EXACT = {
    ".editorconfig", ".gitattributes", ".github/CODEOWNERS", ".github/dependabot.yml", ".github/pull_request_template.md",
    ".github/rulesets/main.json", ".pre-commit-config.yaml", "SECURITY.md",
    ".github/workflows/build_test.yml", ".github/workflows/deploy.yml",
    ".github/workflows/train.yml",
    ".github/workflows/upgrade.yml", ".gitignore", ".snyk", "CHANGELOG.md", "LICENSE", "Makefile", "README.md",
    "buildspec.yml", "noxfile.py",
    "pipeline.toml", "pyproject.toml", "tasks.py", "tox.ini",
    f"vendor/ml_delivery-{__version__}-py3-none-any.whl", "vendor/pipeline.schema.json",
    *(f"requirements/{lock}.txt" for lock in ("check", "delivery", "lint", "nox", "serve", "train", "uv")),
    *(path.relative_to(TEMPLATE).as_posix() for path in (TEMPLATE / "src/ml_service").glob("*.py")),
} - {"src/ml_service/serving.py", "src/ml_service/invocations.py"}  # fmt: skip
# What only some starters and targets have.
OF_STARTER = {"pricing": {path.relative_to(ROOT).as_posix() for path in (ROOT / "src/ml_pages").glob("*.py")}}
OF_TARGET = {
    "lambda-image": {"Dockerfile.lambda"},
    "eks": {"Dockerfile", "src/ml_service/serving.py"},
    "sagemaker": {"Dockerfile.sagemaker", "src/ml_service/invocations.py"},
}
OWNED = ("data/", "infra/", "models/", "model.lock", "notebooks/", "src/service/", "tests/")  # what a starter brings


def test_matrix_covers_every_choice() -> None:
    """A choice that no bake makes would be an untested one."""
    for name, values in CHOICES.items():
        assert {answers[name] for answers in MATRIX} == set(values), name


@pytest.mark.parametrize("answers", MATRIX, ids=lambda a: "-".join(a.values()))
def test_bake_is_whole_and_valid(tmp_path: Path, answers: dict[str, str]) -> None:
    """Each bake has exactly its files, no braces left in them, and a configuration that loads."""
    made = bake(tmp_path / "out", project_name="Demand Pricing", **answers)
    found = files(made)
    top = {name for name in found if not name.startswith(OWNED)}
    assert top == EXACT | OF_STARTER.get(answers["starter"], set()) | OF_TARGET.get(answers["target"], set())
    assert ("src/service/handler.py" in found) == (answers["target"] not in ("eks", "sagemaker"))
    # The package has every target; nothing else of a bake is named after another one than its own.
    others = {form for t in CHOICES["target"] for form in (t, t.replace("-", "_")) if t != answers["target"]}
    for name, content in found.items():
        assert not any(other in name for other in others), name
        if name.startswith("vendor/"):
            continue
        text = content.decode()
        assert "cookiecutter." not in text, name
        if not name.endswith(".py"):
            assert not re.search(r"(?<!\$)\{\{ |\{%", text), name
    loaded = config.load(made, {})
    assert (loaded.service.name, loaded.service.python) == ("demand-pricing", answers["python_version"])
    assert loaded.service.target == answers["target"]
    project = tomllib.loads(found["pyproject.toml"].decode())
    assert project["project"]["name"] == "demand-pricing"
    assert answers["licence"].partition("-")[0] in found["LICENSE"].decode() or answers["licence"] == "Proprietary"


def test_defaults_fit_this_machine(tmp_path: Path) -> None:
    """The default Python is the one that made the bake, so that the bake works where there is no other."""
    assert config.load(bake(tmp_path / "out"), {}).service.python == HERE


@pytest.mark.parametrize(("minor", "default"), [(10, "3.11"), (12, "3.12"), (15, "3.14")])
def test_default_is_one_that_lambda_runs(monkeypatch: pytest.MonkeyPatch, minor: int, default: str) -> None:
    """On a Python that Lambda does not run, the nearest that it runs is the default, so that defaults are not refused."""
    monkeypatch.setattr(local_extensions.sys, "version_info", SimpleNamespace(major=3, minor=minor))
    assert local_extensions.running_python("") == default


def test_answers_reach_their_files(tmp_path: Path) -> None:
    """Words with umlauts, apostrophes and dashes arrive as they were given."""
    made = bake(
        tmp_path / "out",
        project_name="Preis für O'Hara – Süd",
        project_slug="preis-sued",
        description="Sagt, was's kostet: 100 % genau",
        author="Team Süd & Co. <sued@localhost>",
        github_repository="sued/preis",
        aws_region="eu-central-1",
    )
    assert made.name == "preis-sued"
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["description"] == "Sagt, was's kostet: 100 % genau"
    assert project["authors"] == [{"name": "Team Süd & Co. <sued@localhost>"}]
    assert "# Preis für O'Hara – Süd" in (made / "README.md").read_text()
    assert "sued/preis" in (made / "README.md").read_text()
    assert config.load(made, {}).service.region == "eu-central-1"


def test_cookiecutter_and_cruft_bake_the_same(tmp_path: Path) -> None:
    """The two tools make the same files, but for the one that cruft keeps for itself; cruft refuses bad answers too."""
    template = repository(tmp_path / "template")
    for target in CHOICES["target"]:
        answers = {"project_slug": "same-thing", "target": target}
        ours = files(bake(tmp_path / target / "cookiecutter", **answers))
        theirs = files(cruft(tmp_path / target / "cruft", template, **answers))
        assert set(theirs) - set(ours) == {".cruft.json"}
        del theirs[".cruft.json"]
        assert theirs == ours
    with pytest.raises(Refused, match="Lambda is not offered in"):
        cruft(tmp_path / "bad", template, aws_region="mars")
    assert list((tmp_path / "bad").iterdir()) == []


def test_what_tools_leave_in_the_template_is_not_baked(tmp_path: Path) -> None:
    """Caches in the template's folder, bytecode among them, neither stop a bake nor get into it."""
    made = bake(tmp_path / "out")
    assert not [path for path in made.rglob("*") if path.name.endswith(("cache", "cache__")) or path.name in KEPT]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake with defaults, set up as its README says."""
    made = bake(tmp_path_factory.mktemp("life") / "out")
    start(made)
    run(made, "make", "setup")
    return made


def run(folder: Path, *words: str, code: int = 0) -> str:
    """Run a command in a bake, its own tools first on the PATH; its output."""
    import os

    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PIPELINE_PYTHON", "PYTHONPATH", "NOX", "CI"))
    }
    environment = {**clean, "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"}
    done = subprocess.run(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def test_bake_lives(service: Path) -> None:
    """A bake is trained, built, deployed, called and rolled back with its own commands, as its README says."""
    from bake import commit

    try:
        assert "no model yet" in run(service, "invoke", "build", code=1)
        assert "nothing has been trained yet" in run(service, "invoke", "evaluate", code=1)
        run(service, "invoke", "train", "--option", "trials=1", "evaluate", "promote")
        assert (service / "build/report.html").exists()
        commit(service, "Train")
        # The gate is the one in pipeline.toml, and what it refuses leaves model.lock, and what is built, as it was.
        settings, lock = (service / "pipeline.toml").read_text(), (service / "model.lock").read_text()
        (service / "pipeline.toml").write_text(settings.replace("gain = 2 ", "gain = 99 "))
        refused = run(service, "invoke", "promote", code=1)
        assert "99% below the best baseline's" in refused
        assert "✗ [promote] command exited with code 1" in refused
        assert (service / "model.lock").read_text() == lock
        (service / "pipeline.toml").write_text(settings)
        output = run(service, "make", "deploy")
        assert "release 1 is verified" in output
        said = json.loads(run(service, "invoke", "call", "/v1/predict-price/85111?bins=3"))
        assert len(said["bins"]) == 3
        assert run(service, "invoke", "plan") == "production: nothing to do\n"
        assert "release 1 serves as deployed version 1" in run(service, "invoke", "status")

        # A model that the lock names but that does not load: only the deploy's probe can find it.
        primary = tomllib.loads(lock)["primary"]
        import hashlib

        (service / primary["file"]).write_bytes(b"no onnx")
        digest = hashlib.sha256(b"no onnx").hexdigest()
        text = (service / "model.lock").read_text().replace(primary["digest"], f"sha256:{digest}")
        (service / "model.lock").write_text(text)
        commit(service, "A model that does not load")
        refused = run(service, "make", "deploy", code=2)  # make's own exit code for a failed line
        assert f"{primary['file']} can't be opened" in refused
        assert "release 1 serves as before" in refused
        assert json.loads(run(service, "invoke", "call", "/version"))["release"] == 1

        # An altered model stops the build.
        (service / primary["file"]).write_bytes(b"altered")
        assert "is not the model that model.lock names" in run(service, "invoke", "build", code=1)
        run(service, "git", "checkout", "--quiet", "HEAD~1", "--", "model.lock", "models")
        (service / "pipeline.toml").write_text((service / "pipeline.toml").read_text().replace("1024", "512", 1))
        commit(service, "Fix")
        assert "release 3 is verified" in run(service, "make", "deploy")
        assert "release 1 is verified" in run(service, "make", "rollback")
    finally:
        run(service, "invoke", "cloud.down")


def test_bake_of_an_image_lives(service: Path, tmp_path: Path, engine: Engine) -> None:
    """A bake with the target lambda-image, with the same models: within its budget, deployed, asked for a price, rolled back."""
    from bake import commit

    made = bake(tmp_path / "out", target="lambda-image", project_slug="boxed-pricing")
    shutil.copytree(service / "models", made / "models")
    shutil.copy(service / "model.lock", made)
    (made / ".venv").symlink_to(service / ".venv")
    start(made)
    try:
        manifest = json.loads(run(made, "invoke", "build", "--json"))
        assert manifest["unzipped"] < 200_000_000
        assert {layer["name"] for layer in manifest["layers"]} == {"dependencies", "model", "source"}
        assert "Session lint was successful" in run(made, "nox", "-s", "lint")
        run(made, "invoke", "push")
        assert "release 1 is verified" in run(made, "invoke", "deploy")
        assert len(json.loads(run(made, "invoke", "call", "/v1/predict-price/85111?bins=3"))["bins"]) == 3
        handler, settings = made / "src/service/handler.py", made / "pipeline.toml"
        good = handler.read_text()
        handler.write_text('"""Broken."""\n\nraise RuntimeError("broken on purpose")\n')
        commit(made, "Break")
        run(made, "invoke", "build")
        run(made, "invoke", "push")
        assert "release 1 serves as before" in run(made, "invoke", "deploy", code=1)
        assert json.loads(run(made, "invoke", "call", "/version"))["release"] == 1
        handler.write_text(good)
        settings.write_text(settings.read_text().replace('LOG_LEVEL = "INFO"', 'LOG_LEVEL = "DEBUG"'))
        commit(made, "Fix")
        run(made, "invoke", "build")
        run(made, "invoke", "push")
        assert "release 3 is verified" in run(made, "invoke", "deploy")
        assert "release 1 is verified" in run(made, "invoke", "rollback")
        assert json.loads(run(made, "invoke", "call", "/version"))["release"] == 1
        file = made / "Dockerfile.lambda"
        file.write_text(file.read_text().replace("USER 65534:65534", "USER root"))
        assert "DL3002" in run(made, "nox", "-s", "lint", code=1)
    finally:
        run(made, "invoke", "cloud.down")


def test_codebuild_runs_the_shipped_buildspec(service: Path, tmp_path: Path) -> None:
    """The bake's own buildspec, in a clean clone: set up, built and pushed. It runs no tests."""
    from bake import commit, git

    git(service, "clone", "--quiet", str(service), str(tmp_path / "made"))
    made = tmp_path / "made"
    (made / ".venv").symlink_to(service / ".venv")
    git(made, "config", "user.email", "tests@localhost")
    git(made, "config", "user.name", "tests")
    commit(made, "A link to what is set up")
    try:
        output = run(made, "invoke", "build", "--on", "codebuild")
        assert "Session test" not in output
        head = git(made, "rev-parse", "HEAD")
        assert f"  ARTIFACT_VERSION {head}" in output
        assert re.search(r"  ARTIFACT_DIGEST sha256:[0-9a-f]{64}$", output, re.M)
    finally:
        run(made, "invoke", "cloud.down")


FAULTS = {
    "lint": ("src/service/features.py", "import os\n", "F401"),
    "types": ("src/service/features.py", "\n\ndef f() -> int:\n    return 'x'\n", "Incompatible return value type"),
    "test": ("tests/test_cleaning.py", "\n\ndef test_red() -> None:\n    assert 1 == 2\n", "1 failed"),
    "sast": ("src/service/features.py", "\n\nPASSWORD = eval('1')\n", "B307"),
}


@pytest.mark.parametrize("session", FAULTS)
def test_check_goes_red_on_a_planted_fault(service: Path, session: str) -> None:
    """Each check fails, and says why, when what it guards is broken."""
    path, fault, says = FAULTS[session]
    file = service / path
    good = file.read_text()
    words = ["--", "tests/test_cleaning.py"] if session == "test" else []
    try:
        file.write_text(good + fault)
        assert says in run(service, "nox", "-s", session, *words, code=1)
    finally:
        file.write_text(good)


def test_unformatted_code_and_stale_lock_fail_lint(service: Path) -> None:
    """Formatting and locks are gates of their own in ``lint``."""
    for path, old, new, says in (
        ("src/service/features.py", "rows = np.arange", "rows  =  np.arange", "would be reformatted"),
        ("pyproject.toml", '"flask>=3.1"', '"flask>=99"', "declares flask>=99, the lockfile locks"),
    ):
        file = service / path
        good = file.read_text()
        assert old in good
        try:
            file.write_text(good.replace(old, new))
            assert says in run(service, "nox", "-s", "lint", code=1)
        finally:
            file.write_text(good)


def test_coverage_below_the_gate_fails(service: Path) -> None:
    """Tests that pass but cover too little are red."""
    output = run(service, "nox", "-s", "test", "--", "--cov=service", "tests/test_cleaning.py", code=1)
    assert "Required test coverage of 90.0% not reached" in output
