"""``make quick``: which tests belong to what was changed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import quick
from bake import ROOT

SERVICE = "{{cookiecutter.project_slug}}/src/ml_service"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("tests/test_words.py", "tests/test_words.py"),  # itself
        (
            "src/ml_delivery/release/machine.py",
            "tests/test_plans.py::test_bytes_that_differ_from_the_record_are_not_staged",
        ),
        ("src/ml_delivery/masking.py", "tests/test_masking.py"),  # by its name
        ("src/embedded_aws/sagemaker/tuning.py", "tests/test_sagemaker_tuning.py"),  # which nothing imports: by words
        ("src/ml_delivery/jobs/split.py", "tests/test_jobs_training.py"),  # what imports it
        (f"{SERVICE}/outcomes.py", "tests/test_ab_outcomes.py"),
    ],
)
def test_module_has_its_tests(changed: str, expected: str) -> None:
    """Those that its mutants name, that have its name, that import it, or that share words with its path."""
    found = quick.belonging([changed])
    assert expected in found
    assert all((ROOT / node.partition("::")[0]).is_file() for node in found)


def test_what_belongs_to_all_has_none() -> None:
    """A module that everything imports, a document and a removed file have no tests of their own."""
    assert quick.belonging(["src/ml_delivery/errors.py", "README.md", "tests/test_removed.py"]) == []
    said = subprocess.run([sys.executable, "tests/quick.py", "README.md"], cwd=ROOT, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "no tests belong to README.md alone; make test runs all\n")


def test_a_failing_test_fails_it() -> None:
    """The exit code is pytest's, whatever is changed."""
    words = [sys.executable, "tests/quick.py", "tests/test_words.py"]
    code = subprocess.run(
        words, cwd=ROOT, capture_output=True, env={"PATH": "/usr/bin:/bin", "PYTEST_ADDOPTS": "-n0 --nope"}
    )
    assert code.returncode == 4  # pytest's, for a wrong option


def test_changes_are_found() -> None:
    """All that git lists as changed or new, and nothing else."""
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall", "-z", "--no-renames"], cwd=ROOT, capture_output=True, text=True
    )
    assert quick.changed() == sorted(line[3:] for line in listed.stdout.split("\0") if line)
