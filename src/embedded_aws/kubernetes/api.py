"""A client of the cluster's API, as its administrator.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

MANAGER = "embedded-aws"
WATCH_SECONDS = 300


class ApiError(Exception):
    """The API refused a request, or didn't answer; ``status`` is HTTP's, or 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Api:
    """The API at ``endpoint``, whose certificate is signed by ``authority``, in PEM.

    Its user has a token, or a file with a client certificate and its key, both in PEM.
    """

    endpoint: str
    authority: str
    token: str = field(repr=False)
    certificate: str = ""

    def get(self, path: str) -> dict[str, Any]:
        """What is at ``path``.

        Raises:
            ApiError: it is not there, or the API doesn't answer.
        """
        return self._ask("GET", path)

    def create(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Add ``document`` to the collection at ``path``."""
        return self._ask("POST", f"{path}?fieldManager={MANAGER}", document)

    def apply(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Server-side apply of ``document``, taking over what others manage.

        https://kubernetes.io/docs/reference/using-api/server-side-apply/
        """
        return self._ask("PATCH", f"{path}?fieldManager={MANAGER}&force=true", document, "application/apply-patch+yaml")

    def merge(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Change what is at ``path`` by a JSON merge patch."""
        return self._ask("PATCH", f"{path}?fieldManager={MANAGER}", document, "application/merge-patch+json")

    def delete(self, path: str) -> None:
        """Delete what is at ``path``, if it is there."""
        try:
            self._ask("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def watch(self, path: str) -> Iterator[dict[str, Any] | None]:
        """Everything in the collection at ``path`` as ``ADDED`` events, then ``None``, then its changes as they come.

        It ends when the API ends the watch; whoever needs more starts again, from the whole collection.
        """
        listed = self.get(path)
        for item in listed["items"]:
            yield {"type": "ADDED", "object": item}
        yield None
        since = listed["metadata"]["resourceVersion"]
        query = f"watch=true&resourceVersion={since}&timeoutSeconds={WATCH_SECONDS}&allowWatchBookmarks=true"
        connection = self._connection(WATCH_SECONDS + 30)
        try:
            connection.request("GET", f"{path}?{query}", headers=self.headers())
            answer = connection.getresponse()
            while answer.status == 200 and (line := answer.readline()):
                event = json.loads(line)
                if event["type"] == "ERROR":  # mostly 410: the version is too old
                    return
                if event["type"] != "BOOKMARK":
                    yield event
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{path}: {error}") from error
        finally:
            connection.close()

    def _ask(self, method: str, path: str, document: Any = None, kind: str = "application/json") -> dict[str, Any]:
        connection = self._connection(10)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {**self.headers(), "Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")  # a log may hold any bytes
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise ApiError(answer.status, f"{method} {path}: {answer.status} {text[:500]}")
        found: dict[str, Any] = json.loads(text) if text.startswith("{") else {"text": text}
        return found

    def _connection(self, seconds: float) -> http.client.HTTPSConnection:
        address = urlsplit(self.endpoint)
        return http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=seconds, context=self.context()
        )

    def context(self) -> ssl.SSLContext:
        """What a connection is made with."""
        context = ssl.create_default_context(cadata=self.authority)
        if self.certificate:
            context.load_cert_chain(self.certificate)
        return context

    def headers(self) -> dict[str, str]:
        """What a request is made as."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}
