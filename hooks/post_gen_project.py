"""Gives a new service its starter, removes what is of other targets, and vendors the delivery package."""

import shutil
import sys
from pathlib import Path

# The checkout that is being rendered: cookiecutter and cruft run in it while they render this text.
CHECKOUT = Path({{ "checkout" | checkout }})
sys.dont_write_bytecode = True
sys.path.insert(0, str(CHECKOUT / "hooks"))

import packing  # noqa: E402

slug, target, starter = "{{ cookiecutter.project_slug }}", "{{ cookiecutter.target }}", "{{ cookiecutter.starter }}"

# What tools left in the template's folder was copied along; only that goes, whatever else lies in this folder.
shipped = next(CHECKOUT.glob("{" + "{*cookiecutter*}" + "}"))
for pattern in Path(".gitignore").read_text().split():
    for left in [Path(path.relative_to(shipped)) for path in shipped.rglob(pattern.rstrip("/"))]:
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)

# Its parts are in the files that every starter shares: pipeline.toml and README.md include them.
shutil.copytree(Path("starters", starter), Path(), dirs_exist_ok=True, ignore=shutil.ignore_patterns("parts"))
shutil.rmtree("starters")
if target != "lambda-image":
    Path("Dockerfile.lambda").unlink()

content = packing.wheel(CHECKOUT)
Path("vendor").mkdir(exist_ok=True)
Path("vendor", packing.name(CHECKOUT)).write_bytes(content)
pins = (CHECKOUT / "src/ml_delivery/locks/delivery.txt").read_text(encoding="utf-8")
line = f"ml-delivery=={packing.version(CHECKOUT)} \\\n    --hash=sha256:{packing.digest(content)}\n"
Path("requirements/delivery.txt").write_text(pins + line, encoding="utf-8")

print(f"Made {slug}. Next: cd {slug}, git init, git add -A, git commit, and see README.md")
