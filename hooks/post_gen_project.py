"""Removes what tools left in the template's folder when it was used in place, and says what to type next."""

import shutil
from pathlib import Path

for name in ("__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache"):
    for folder in list(Path().rglob(name)):
        shutil.rmtree(folder)

print(
    "Made {{ cookiecutter.project_slug }}. Next: cd {{ cookiecutter.project_slug }}, git init, commit, and make train"
)
