"""Reads from any registry: with no credentials, with the token that it gives to everyone, or ECR's with those for AWS.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md and
https://distribution.github.io/distribution/spec/auth/token/, which public.ecr.aws and docker.io use.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery import masking
from ml_delivery.errors import BuildError, SetupError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BROKEN", "DIGEST", "Name", "Reader"]

SECONDS = 10  # for an answer to begin, and between two parts of it
TRIES = 3  # of a download that is interrupted
CHUNK = 1 << 20
LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DOCKER = "docker.io"
ECR = re.compile(r"\d{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?")
BROKEN = (OSError, http.client.HTTPException, UnicodeError)  # the last for a name that no host can have
PARAMETER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Name:
    """An image's name, taken apart: https://github.com/distribution/reference (Docker's short names included)."""

    host: str
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, name: str) -> Name:
        """``python:3.12-slim`` is ``docker.io/library/python:3.12-slim``.

        Raises:
            BuildError: the digest is not a sha256.
        """
        rest, at, digest = name.partition("@")
        if at and not DIGEST.fullmatch(digest):
            raise BuildError(
                f"the base image {name} is named by something other than a sha256",
                next="set build.base in pipeline.toml to its name and @sha256:DIGEST",
            )
        first, slash, path = rest.partition("/")
        if not slash or not (re.search(r"[.:]", first) or first == "localhost"):
            first, path = DOCKER, rest if slash else f"library/{rest}"
        head, colon, tag = path.rpartition(":")
        repository, tag = (head, tag) if colon else (path, "latest")
        return cls(first, repository, tag, digest)

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{'@' + self.digest if self.digest else ':' + self.tag}"


class Reader:
    """Reads one repository of a registry.

    Attributes:
        image: what is read.
        unanswered: whether the last error was that the registry did not answer, or not now.
    """

    def __init__(self, image: Name) -> None:
        self.image, self.unanswered = image, False
        self._authorization = ""
        local = LOOPBACK.fullmatch(image.host)  # which engines too take without TLS
        host = "registry-1.docker.io" if image.host == DOCKER else image.host
        self._base = f"{'http' if local else 'https'}://{host}/v2/{image.repository}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if local else None))

    def digest(self, accept: tuple[str, ...], most: int) -> str:
        """The digest of what the image's tag names, a manifest of at most ``most`` bytes.

        Raises:
            SetupError: the registry does not answer, has no such tag, or refuses.
        """
        path = f"manifests/{self.image.tag}"
        with self._open(path, accept, "HEAD") as answer:
            named = str(answer.headers.get("Docker-Content-Digest", ""))
        if DIGEST.fullmatch(named):
            return named
        with self._open(path, accept) as answer:
            return f"sha256:{hashlib.sha256(self._content(answer, most)).hexdigest()}"

    def document(self, path: str, digest: str, accept: tuple[str, ...], most: int) -> bytes:
        """A small blob or a manifest of at most ``most`` bytes, which has this digest.

        Raises:
            SetupError: as ``digest``.
            BuildError: it is another one.
        """
        with self._open(path, (*accept, "*/*")) as answer:
            content = self._content(answer, most)
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            raise self._other(digest, found)
        return content

    def download(self, path: str, digest: str, size: int, file: Path) -> None:
        """Write a blob to ``file``; an interrupted download is retried from where it stopped.

        Raises:
            SetupError, BuildError: as ``document``.
        """
        fault: Exception | None = None
        known, had = hashlib.sha256(), 0
        with file.open("wb") as out:
            for _ in range(TRIES):
                more = {"Range": f"bytes={had}-"} if had else {}
                with self._open(path, ("*/*",), more=more) as answer:
                    if had and answer.status != 206:
                        out.seek(0)
                        known, had = hashlib.sha256(), 0
                    try:
                        while had <= size and (part := answer.read(CHUNK)):
                            out.write(part)
                            known.update(part)
                            had += len(part)
                    except BROKEN as error:
                        fault = error
                if had >= size:
                    break
            else:
                raise self._silent(fault or OSError(f"{had:,} of {size:,} bytes arrived"))
        if (found := f"sha256:{known.hexdigest()}") != digest:
            raise self._other(digest, found)

    def _content(self, answer: Any, most: int) -> bytes:
        """The whole body of an answer, of at most ``most`` bytes."""
        try:
            content = bytes(answer.read(most))
        except BROKEN as error:
            raise self._silent(error) from error
        if answer.length:  # the rest of what was announced
            raise self._silent(OSError(f"{answer.length:,} bytes did not arrive"))
        return content

    def _open(
        self,
        path: str,
        accept: tuple[str, ...],
        method: str = "GET",
        more: dict[str, str] | None = None,
        tries: int = 2,
    ) -> Any:
        """The answer to a request; a token is fetched when the registry asks for one."""
        self.unanswered = False
        headers = {"Accept": ", ".join(accept), **(more or {})}
        request = urllib.request.Request(f"{self._base}/{path}", method=method, headers=headers)  # noqa: S310 - http(s)
        if self._authorization:  # not sent along to where a blob's request is redirected to
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return self._opener.open(request, timeout=SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 401 or tries == 1 or not self._sign_in(error.headers.get("WWW-Authenticate", "")):
                    raise self._refused(error) from error
        except BROKEN as error:
            raise self._silent(error) from error
        return self._open(path, accept, method, more, tries - 1)

    def _sign_in(self, challenge: str) -> bool:
        """Fetch the token that the registry gives to everyone, or ECR to this user; whether there is one."""
        if found := ECR.fullmatch(self.image.host):
            self._authorization = _of_ecr(found[1])
            return bool(self._authorization)
        kind, _, rest = challenge.partition(" ")
        fields = dict(PARAMETER.findall(rest))
        realm = fields.pop("realm", "")
        if kind.lower() != "bearer" or not realm.startswith("https://" if self._base.startswith("https:") else "http"):
            return False
        query = urllib.parse.urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
        try:
            with self._opener.open(f"{realm}?{query}", timeout=SECONDS) as answer:
                found = json.loads(answer.read(CHUNK))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from error
        except (*BROKEN, ValueError) as error:
            raise self._silent(error) from error
        token = str(found.get("token") or found.get("access_token") or "") if isinstance(found, dict) else ""
        self._authorization = f"Bearer {token}"
        return bool(token)

    def _refused(self, error: urllib.error.HTTPError) -> SetupError:
        image, code = self.image, error.code
        if code == 404:
            return SetupError(
                f"the base image {image} does not exist: {image.host} has none",
                next="correct build.base in pipeline.toml, or the Dockerfile's FROM",
            )
        if code in (401, 403):
            return SetupError(
                f"the base image {image} can't be read without signing in: {image.host} answered {code}",
                next="sign in to AWS as one who may pull it (aws sts get-caller-identity shows who you are), then run this again"
                if ECR.fullmatch(image.host)
                else f"docker login {image.host}, with docker running, which then builds the image",
            )
        self.unanswered = True
        if code == 429:
            after = error.headers.get("Retry-After", "")
            return SetupError(
                f"{image.host} limits how often images are read, the base image {image} too: "
                f"HTTP 429, {f'to be retried after {after}' if after else 'without a time to retry'}",
                next="wait, then run this again; or set build.base in pipeline.toml to a copy in a registry of your own",
            )
        return SetupError(f"{image.host} failed to return the base image {image}: {error}", next="run this again")

    def _silent(self, error: Exception) -> SetupError:
        self.unanswered = True
        reason = getattr(error, "reason", None) or error
        return SetupError(
            f"the registry {self.image.host} of the base image {self.image} does not answer: {reason}",
            next="check the network and its proxy (HTTPS_PROXY, NO_PROXY), then run this again",
        )

    def _other(self, digest: str, found: str) -> BuildError:
        return BuildError(
            f"{self.image.host} returned {found} for {digest} of the base image {self.image}",
            next="run this again; if it persists, check the proxy, or set build.base in pipeline.toml to another registry's",
        )


def _of_ecr(region: str) -> str:
    """The authorization for ECR's registries in ``region``, of this machine's credentials for AWS; empty without any."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session

    try:
        client = Session().create_client("ecr", region_name=region)
        token = str(client.get_authorization_token()["authorizationData"][0]["authorizationToken"])
    except (BotoCoreError, ClientError):
        return ""
    masking.learn(token)
    return f"Basic {token}"
