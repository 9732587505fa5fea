"""Removes what tools left in the template's folder when it was used in place, and says what to type next."""

import shutil
from pathlib import Path

# What the new service's own .gitignore names is no part of it.
for pattern in Path(".gitignore").read_text().split():
    for left in list(Path().rglob(pattern.rstrip("/"))):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()

slug = "{{ cookiecutter.project_slug }}"
print(f"Made {slug}. Next: cd {slug}, git init, commit, and make train")
