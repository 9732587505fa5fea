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

# Its parts are in the files that every starter shares: pipeline.toml and README.md include them. What differs where gunicorn
# serves, in place of a handler, is in the folder eks, and takes the place of what it has in common with the others.
served = target in ("eks", "sagemaker")
for folder in (Path("starters", starter), *([Path("starters", starter, "eks")] if served else [])):
    for path in (shipped / folder).rglob("*"):
        here = path.relative_to(shipped / folder)
        if here.parts[0] not in ("parts", "eks") and (copied := folder / here).is_file():
            here.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(copied, here)
drop(shipped / "starters")
# What only one kind of target needs.
if target != "lambda-image":
    drop(shipped / "Dockerfile.lambda")
if target != "eks":
    drop(shipped / "Dockerfile")
    drop(shipped / "src/ml_service/serving.py")
if target != "sagemaker":
    drop(shipped / "Dockerfile.sagemaker")
    drop(shipped / "src/ml_service/invocations.py")
if served:
    for name in ("src/service/handler.py", "tests/test_handler.py"):
        Path(name).unlink(missing_ok=True)

# The look of pages, which those of delivery share: see its docstring. Only a service that draws needs it.
drawn = any(b"ml_pages" in path.read_bytes() for path in Path("src/service").glob("*.py"))
for path in (CHECKOUT / "src/ml_pages").glob("*.py") if drawn else ():
    Path("src/ml_pages").mkdir(parents=True, exist_ok=True)
    Path("src/ml_pages", path.name).write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))

content = package_wheel.wheel(CHECKOUT)
Path("vendor").mkdir(exist_ok=True)
for older in Path("vendor").glob("ml_delivery-*.whl"):
    older.unlink()
Path("vendor", package_wheel.name(CHECKOUT)).write_bytes(content)
schema = CHECKOUT / "src/ml_delivery/targets/pipeline.schema.json"  # of pipeline.toml, whose first line names it
Path("vendor", schema.name).write_bytes(schema.read_bytes().replace(b"\r\n", b"\n"))
pins = (CHECKOUT / "src/ml_delivery/locks/delivery.txt").read_text(encoding="utf-8")
line = f"ml-delivery=={package_wheel.version(CHECKOUT)} \\\n    --hash=sha256:{package_wheel.digest(content)}\n"
Path("requirements/delivery.txt").write_text(pins + line, encoding="utf-8")

print(f"Made {slug}. Next: cd {slug}, git init, git add -A, git commit, and see README.md")
