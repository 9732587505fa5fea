"""One build: its phases, from the clone to what is left of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shell
import yaml
from buildlog import Log, Stop, endpoint

PHASES = ("install", "pre_build", "build", "post_build")
KNOWN = {"version", "env", "phases", "reports", "cache"}
KNOWN_ENV = {"shell", "variables", "exported-variables"}
KNOWN_PHASE = {"commands", "finally", "on-failure", "runtime-versions"}


class Build:
    """One build at work; ``record`` is what the API answers."""

    def __init__(self, record: dict[str, Any], project: dict[str, Any], home: Path) -> None:
        self.record, self.project, self.home = record, project, home
        # Outside the checkout: what lies above it must not be found from within the clone.
        self.folder = Path("/tmp", f"codebuild-{record['id'].partition(':')[2]}")  # noqa: S108 # nosec B108 - a number that is new
        self.source = self.folder / "src"
        self.keys = {
            "AWS_ACCESS_KEY_ID": f"ASIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(32),
            "AWS_SESSION_TOKEN": secrets.token_hex(32),
        }
        self.log = Log(record["logs"])
        self.shell: shell.Shell | None = None
        self.ended = ""  # STOPPED or TIMED_OUT once it is to end
        self.worst: Stop | None = None

    def end(self, status: str) -> None:
        """Stop what runs; the build ends with ``status``."""
        self.ended = self.ended or status
        if self.shell:
            self.shell.kill()

    def run(self) -> None:
        minutes = float(self.record["timeoutInMinutes"])
        timer = threading.Timer(minutes * 60, self.end, ["TIMED_OUT"])
        timer.daemon = True
        timer.start()
        try:
            with self.phase("QUEUED"):
                self.folder.mkdir(mode=0o700)
            with self.phase("PROVISIONING"):
                self.sign_in()
                region = self.record["arn"].split(":")[3]
                self.log.open(region_name=region, **{name.lower(): key for name, key in self.keys.items()})
            with self.phase("DOWNLOAD_SOURCE"):
                spec = self.download()
            environment = self.environment(spec)
            for name in PHASES:
                self.buildspec_phase(name, spec, environment)
            with self.phase("UPLOAD_ARTIFACTS"):
                self.finish(spec)
        except Stop as stop:
            self.worst = self.worst or stop
        except Exception as error:  # a fault of this server, not of the build
            self.worst = Stop("FAULT", "INTERNAL_SERVICE_ERROR", repr(error))
            self.log.line(f"[Container] {error!r}")
        finally:
            timer.cancel()
            if self.shell:
                self.shell.kill()
            with contextlib.suppress(Stop), self.phase("FINALIZING"):
                self.log.close()
                shutil.rmtree(self.folder, ignore_errors=True)
            now = time.time()
            self.record["phases"].append({"phaseType": "COMPLETED", "startTime": now})
            self.record |= {
                "buildStatus": self.ended or (self.worst.status if self.worst else "SUCCEEDED"),
                "currentPhase": "COMPLETED",
                "buildComplete": True,
                "endTime": now,
            }

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase, timed; a ``Stop`` within is written into it and raised again."""
        entry: dict[str, Any] = {"phaseType": name, "startTime": time.time()}
        self.record["phases"].append(entry)
        self.record["currentPhase"] = name
        status, contexts = "SUCCEEDED", []
        try:
            yield
        except Stop as stop:
            status = self.ended or stop.status
            contexts = [{"statusCode": stop.code, "message": str(stop)}]
            raise
        except Exception as error:
            status, contexts = "FAULT", [{"statusCode": "INTERNAL_SERVICE_ERROR", "message": repr(error)}]
            raise
        finally:
            now = time.time()
            entry |= {"endTime": now, "durationInSeconds": int(now - entry["startTime"])}
            entry |= {"phaseStatus": status, "contexts": contexts}
            if name not in ("QUEUED", "PROVISIONING", "FINALIZING"):
                self.log.line(f"[Container] Phase complete: {name} State: {status}")

    def sign_in(self) -> None:
        """Make the build's keys those of a session of the project's role."""
        from ministack.services import sts

        account, role = self.record["arn"].split(":")[4], self.project["serviceRole"].rpartition("/")[2]
        name = f"AWSCodeBuild-{self.record['id'].partition(':')[2]}"
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "UserId": f"{role}:{name}",
            "SecretAccessKey": self.keys["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": self.keys["AWS_SESSION_TOKEN"],
        }
        sts.register_session(self.keys["AWS_ACCESS_KEY_ID"], session)

    # -- source

    def download(self) -> dict[str, Any]:
        """Clone the checkout at exactly the build's commit, bring the cache back, and read the buildspec."""
        url = self.project["source"].get("location", "")
        offered = sources(self.home).get(self.project["name"], {})
        if not url or offered.get("url") != url:
            raise Stop("FAILED", "CLIENT_ERROR", f"no checkout of {url or 'nothing'} is known to the embedded AWS")
        wanted = self.record["sourceVersion"]
        self.git("clone", "--quiet", "--no-checkout", "--no-hardlinks", offered["checkout"], str(self.source))
        commit = self.git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}", at=self.source)
        self.git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit, at=self.source)
        self.record["resolvedSourceVersion"] = commit
        name = self.project["source"].get("buildspec") or "buildspec.yml"
        try:
            spec = yaml.safe_load((self.source / name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise Stop("FAILED", "YAML_FILE_ERROR", f"{name}: {error}") from error
        check(spec, name)
        for path in cached(spec):
            if (kept := self.cache / path).is_dir():
                link_tree(kept, self.source / path)
        return dict(spec)

    def git(self, *words: str, at: Path | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or [f"there is no {self.record['sourceVersion']} here"]
            raise Stop("FAILED", "GIT_CLONE_FAILED", reason[0])
        return done.stdout.strip()

    @property
    def cache(self) -> Path:
        return self.home / "codebuild" / self.project["name"]

    # -- commands

    def buildspec_phase(self, name: str, spec: dict[str, Any], environment: dict[str, str]) -> None:
        """Run a phase's commands, then its ``finally`` whatever became of them; raise when the build ends with it.

        After a failed ``build`` CodeBuild still runs ``post_build``, unless ``on-failure`` is ``ABORT``; after another
        failed phase it runs none, unless it is ``CONTINUE``. Either way the build has failed.
        """
        phase = (spec["phases"] or {}).get(name) or {}
        if self.ended:
            return
        try:
            with self.phase(name.upper()):
                failed: Stop | None = None
                for commands in (phase.get("commands") or [], phase.get("finally") or []):
                    try:
                        self.commands(commands, environment)
                    except Stop as stop:
                        failed = failed or stop
                if failed:
                    raise failed
        except Stop as stop:
            rule = phase.get("on-failure", "CONTINUE" if name == "build" else "ABORT")
            self.worst = self.worst or stop
            if rule == "ABORT" or self.ended:
                raise

    def commands(self, commands: list[str], environment: dict[str, str]) -> None:
        for command in commands:
            if self.ended:
                raise Stop(self.ended, self.ended, "the build was stopped or took too long")
            if self.shell is None or not self.shell.alive:
                self.shell = shell.Shell(environment["SHELL"], self.source, environment, self.log.line, self.folder)
            self.log.line(f"[Container] Running command {command.strip()}")
            succeeding = f"export CODEBUILD_BUILD_SUCCEEDING={0 if self.worst else 1}"
            code = self.shell.run(f"{succeeding}\n{command}")
            if code != 0:
                reason = f"Error while executing command: {command.strip()}. Reason: exit status {code}"
                raise Stop(self.ended or "FAILED", self.ended or "COMMAND_EXECUTION_ERROR", reason)

    def environment(self, spec: dict[str, Any]) -> dict[str, str]:
        """What CodeBuild sets, the project's and the request's variables, and the role's credentials.

        https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
        """
        record, env = self.record, spec.get("env") or {}
        region = record["arn"].split(":")[3]
        wanted = env.get("shell", "sh")
        found = shutil.which(wanted)
        if not found:
            raise Stop("FAILED", "CLIENT_ERROR", f"there is no shell {wanted} here")
        offered = sources(self.home).get(self.project["name"], {})
        given = {v["name"]: str(v["value"]) for v in record["environment"].get("environmentVariables", [])}
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LANG": "C.UTF-8",
            **offered.get("variables", {}),
            **{name: str(value) for name, value in (env.get("variables") or {}).items()},
            **given,
            "SHELL": found,
            "TMPDIR": str(self.folder),
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": endpoint(),
            "PIPELINE_ENDPOINT": endpoint(),
            **self.keys,
            "CODEBUILD_CI": "true",
            "CODEBUILD_BUILD_ARN": record["arn"],
            "CODEBUILD_BUILD_ID": record["id"],
            "CODEBUILD_BUILD_IMAGE": record["environment"].get("image", ""),
            "CODEBUILD_BUILD_NUMBER": str(record["buildNumber"]),
            "CODEBUILD_INITIATOR": record["initiator"],
            "CODEBUILD_KMS_KEY_ID": record["encryptionKey"],
            "CODEBUILD_LOG_PATH": record["logs"]["streamName"],
            "CODEBUILD_RESOLVED_SOURCE_VERSION": record["resolvedSourceVersion"],
            "CODEBUILD_SOURCE_REPO_URL": self.project["source"]["location"],
            "CODEBUILD_SOURCE_VERSION": record["sourceVersion"],
            "CODEBUILD_SRC_DIR": str(self.source),
            "CODEBUILD_START_TIME": str(int(record["startTime"] * 1000)),
        }

    # -- what is left of it

    def finish(self, spec: dict[str, Any]) -> None:
        """Name the reports that were made, keep the cache, and export what is to be exported."""
        for group, report in (spec.get("reports") or {}).items():
            base = self.source / report.get("base-directory", ".")
            found = [str(p.relative_to(self.source)) for pattern in report["files"] for p in sorted(base.glob(pattern))]
            self.log.line(f"[Container] Report {group}: {', '.join(found) or 'no matching file was found'}")
        for path in cached(spec):
            if (made := self.source / path).is_dir():
                link_tree(made, self.cache / path)
        names = (spec.get("env") or {}).get("exported-variables") or []
        if self.shell and self.shell.alive:
            values = self.shell.variables(names)
            self.record["exportedEnvironmentVariables"] = [{"name": n, "value": v} for n, v in values.items()]


def check(spec: Any, name: str) -> None:
    """Whether this server can run all that ``spec`` asks for."""
    unknown: list[str] = []
    if not isinstance(spec, dict) or spec.get("version") != 0.2 or not isinstance(spec.get("phases"), dict):
        raise Stop("FAILED", "YAML_FILE_ERROR", f"{name}: version 0.2 with phases is needed")
    unknown += set(spec) - KNOWN
    unknown += [f"env.{key}" for key in set(spec.get("env") or {}) - KNOWN_ENV]
    for phase, content in spec["phases"].items():
        unknown += [phase] if phase not in PHASES else []
        unknown += [f"phases.{phase}.{key}" for key in set(content or {}) - KNOWN_PHASE]
    if unknown:
        raise Stop("FAILED", "YAML_FILE_ERROR", f"{name}: the embedded AWS does not know {', '.join(sorted(unknown))}")


def cached(spec: dict[str, Any]) -> list[str]:
    """The folders below the source that are kept from build to build."""
    paths = [path.removesuffix("/**/*") for path in (spec.get("cache") or {}).get("paths") or []]
    return [path for path in paths if not path.startswith(("/", "..", "~"))]


def link_tree(source: Path, target: Path) -> None:
    """Have all files of ``source`` in ``target`` too; what writes to them puts new files in their place."""
    for folder, _, names in os.walk(source):
        there = target / Path(folder).relative_to(source)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            try:
                os.link(Path(folder, name), there / name, follow_symlinks=False)
            except FileExistsError:
                continue
            except OSError:  # another file system
                shutil.copy2(Path(folder, name), there / name, follow_symlinks=False)


def sources(home: Path) -> dict[str, Any]:
    """By project: the source's URL, the checkout that has it, and the variables by which packages are found here."""
    try:
        found: dict[str, Any] = json.loads((home / "sources.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
