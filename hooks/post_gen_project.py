"""Removes what is of another target or was left in the template's folder by tools, and says what to type next."""

import shutil
from pathlib import Path

# What the new service's own .gitignore names is no part of it.
for pattern in Path(".gitignore").read_text().split():
    for left in list(Path().rglob(pattern.rstrip("/"))):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()

# What only one target needs.
OWN = {
    "lambda-zip": ["pipeline/artifact/packers/lambda_zip.py", "pipeline/release/targets/lambda_zip.py"],
    "lambda-image": [
        "Dockerfile.lambda",
        "pipeline/artifact/engines.py",
        "pipeline/cloud/launcher/images.py",
        "pipeline/cloud/launcher/registry.py",
        "pipeline/cloud/launcher/runtimeapi.py",
        "pipeline/artifact/packers/lambda_image.py",
        "pipeline/artifact/registry.py",
        "pipeline/release/targets/lambda_image.py",
    ],
}
for target, files in OWN.items():
    for file in files if target != "{{ cookiecutter.target }}" else []:
        Path(file).unlink(missing_ok=True)

slug = "{{ cookiecutter.project_slug }}"
print(f"Made {slug}. Next: cd {slug}, git init, commit, and make train")
