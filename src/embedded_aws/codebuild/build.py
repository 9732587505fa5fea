"""One build: its phases, from the clone to the result."""

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

from embedded_aws.codebuild import buildspec, shell
from embedded_aws.codebuild.log import Log, Stop, endpoint


class Build:
    """One build; ``record`` is what the API answers."""

    def __init__(self, record: dict[str, Any], project: dict[str, Any], home: Path) -> None:
        self.record, self.project, self.home = record, project, home
        # Outside the checkout, so that tools in the clone do not find configuration in its parent folders.
        self.folder = Path("/tmp", f"codebuild-{record['id'].partition(':')[2]}")  # noqa: S108 # nosec B108 - the id is random, and mkdir fails if it exists
        self.source = self.folder / "src"
        self.keys = {
            "AWS_ACCESS_KEY_ID": f"ASIA{secrets.token_hex(8).upper()}",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(32),
            "AWS_SESSION_TOKEN": secrets.token_hex(32),
        }
        self.log = Log(record["logs"])
        self.shell: shell.Shell | None = None
        self.ended = ""  # STOPPED or TIMED_OUT when the build has to end
        self.worst: Stop | None = None

    def end(self, status: str) -> None:
        """End the commands that run; the build ends with ``status``."""
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
            for name in buildspec.PHASES:
                self.buildspec_phase(name, spec, environment)
            with self.phase("UPLOAD_ARTIFACTS"):
                self.finish(spec)
        except Stop as stop:
            self.worst = self.worst or stop
        except Exception as error:  # an error of this server, not of the build
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
        """A phase with its duration; a ``Stop`` within it is recorded and raised again."""
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
        """Register the build's keys as a session of the project's role."""
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
        """Clone the checkout at exactly the build's commit, read the buildspec, and link its cached folders.

        They are linked, not copied, so that a failed build changes them too:
        https://docs.aws.amazon.com/codebuild/latest/userguide/build-caching.html
        """
        url = self.record["source"].get("location", "")
        offered = sources(self.home).get(self.project["name"], {})
        if not url or offered.get("url") != url:
            raise Stop("FAILED", "CLIENT_ERROR", f"no checkout of {url or 'nothing'} is known to the embedded AWS")
        wanted = self.record["sourceVersion"]
        self.git("clone", "--quiet", "--no-checkout", "--no-hardlinks", offered["checkout"], str(self.source))
        commit = self.git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}", at=self.source)
        self.git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit, at=self.source)
        self.record["resolvedSourceVersion"] = commit
        name = self.record["source"].get("buildspec") or "buildspec.yml"
        spec = buildspec.read(self.source, name)
        for path in buildspec.cached(spec):
            (self.cache / path).mkdir(parents=True, exist_ok=True)
            if not (place := self.source / path).exists():  # what is in the source wins
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self.cache / path)
        return spec

    def git(self, *words: str, at: Path | None = None) -> str:
        done = subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or [f"there is no {self.record['sourceVersion']} here"]
            raise Stop("FAILED", "GIT_CLONE_FAILED", reason[0])
        return done.stdout.strip()

    @property
    def cache(self) -> Path:
        return Path(self.home, "codebuild", self.project["name"])

    # -- commands

    def buildspec_phase(self, name: str, spec: dict[str, Any], environment: dict[str, str]) -> None:
        """Run a phase's commands, then always its ``finally``; raise ``Stop`` when the build ends with it.

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
        """The variables that CodeBuild sets, the project's and the request's variables, and the role's credentials.

        https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
        """
        record, env = self.record, spec.get("env") or {}
        region = record["arn"].split(":")[3]
        wanted = env.get("shell", "sh")
        found = shutil.which(wanted)
        if not found:
            raise Stop("FAILED", "CLIENT_ERROR", f"there is no shell {wanted} here")
        offered = sources(self.home)[self.project["name"]]  # ``download`` has found it
        given = {v["name"]: str(v["value"]) for v in record["environment"].get("environmentVariables", [])}
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            "LANG": "C.UTF-8",
            **offered["variables"],
            offered["endpoint_variable"]: endpoint(),
            **{name: str(value) for name, value in (env.get("variables") or {}).items()},
            **given,
            "SHELL": found,
            "TMPDIR": str(self.folder),
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": endpoint(),
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

    # -- result

    def finish(self, spec: dict[str, Any]) -> None:
        """Record the exported variables."""
        names = (spec.get("env") or {}).get("exported-variables") or []
        if self.shell and self.shell.alive:
            values = self.shell.variables(names)
            self.record["exportedEnvironmentVariables"] = [{"name": n, "value": v} for n, v in values.items()]


def sources(home: Path) -> dict[str, Any]:
    """By project: the source's URL, the checkout to clone, and variables that its builds get."""
    try:
        found: dict[str, Any] = json.loads((home / "sources.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
