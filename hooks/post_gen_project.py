"""Gives a new service its starter, removes what is of other targets, and vendors the delivery package."""

import shutil
import sys
from pathlib import Path

# The checkout that is being rendered: cookiecutter and cruft run in it while they render this text.
CHECKOUT = Path({{"checkout" | checkout}})  # noqa: F821 - the template's own filter
sys.dont_write_bytecode = True
sys.path.insert(0, str(CHECKOUT / "hooks"))

import package_wheel  # noqa: E402

slug, target, starter = "{{ cookiecutter.project_slug }}", "{{ cookiecutter.target }}", "{{ cookiecutter.starter }}"

shipped = next(CHECKOUT.glob("{" + "{*cookiecutter*}" + "}"))


def drop(path: Path) -> None:
    """Remove what was copied here from the template's ``path``; what else lies in this folder is its owner's."""
    for copied in sorted([path, *path.rglob("*")], reverse=True):  # what is in a folder, then the folder
        here = copied.relative_to(shipped)
        if not copied.is_dir():
            here.unlink(missing_ok=True)
        elif here.is_dir() and not any(here.iterdir()):
            here.rmdir()


# What tools left in the template's folder was copied along.
for pattern in Path(".gitignore").read_text(encoding="utf-8").split():
    for left in shipped.rglob(pattern.rstrip("/")):
        drop(left)

# Its parts are in the files that every starter shares: pipeline.toml and README.md include them.
for path in (shipped / "starters" / starter).rglob("*"):
    here = path.relative_to(shipped / "starters" / starter)
    if here.parts[0] != "parts" and (copied := Path("starters", starter, here)).is_file():
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(copied, here)
drop(shipped / "starters")
if target != "lambda-image":
    drop(shipped / "Dockerfile.lambda")

content = package_wheel.wheel(CHECKOUT)
Path("vendor").mkdir(exist_ok=True)
for older in Path("vendor").glob("ml_delivery-*.whl"):
    older.unlink()
Path("vendor", package_wheel.name(CHECKOUT)).write_bytes(content)
pins = (CHECKOUT / "src/ml_delivery/locks/delivery.txt").read_text(encoding="utf-8")
line = f"ml-delivery=={package_wheel.version(CHECKOUT)} \\\n    --hash=sha256:{package_wheel.digest(content)}\n"
Path("requirements/delivery.txt").write_text(pins + line, encoding="utf-8")

print(f"Made {slug}. Next: cd {slug}, git init, git add -A, git commit, and see README.md")
