"""Grafana's HTTP API: compares what Grafana has with the definition, and writes it.

https://grafana.com/docs/grafana/latest/developers/http_api/ ; needs the token of a service account with the role Editor and
permissions to write data sources and alerts.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_delivery.errors import CloudError, ConfigError
from ml_delivery.monitoring import grafana

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml_delivery.config import Config
    from ml_delivery.observed import Observed, Place

__all__ = ["Grafana", "Part", "connect", "parts"]

TIMEOUT = 30


@dataclass(frozen=True)
class Part:
    """One object in Grafana: its name to print, how it is read, created and updated, and what reading it must return.

    ``wanted`` is compared with the answer to ``read``; only the members in ``wanted`` are compared, since Grafana adds others.
    """

    name: str
    read: str
    create: tuple[str, str]
    update: tuple[str, str]
    body: dict[str, Any]
    wanted: Any


class Grafana:
    """A client of one Grafana."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token

    def differs(self, part: Part) -> str:
        """``missing``, ``changed``, or empty if it is as wanted."""
        there = self._ask("GET", part.read)
        return "missing" if not there else "" if _holds(there, part.wanted) else "changed"

    def write(self, part: Part, *, missing: bool) -> None:
        """Create or update ``part``."""
        method, path = part.create if missing else part.update
        self._ask(method, path, part.body)

    def annotate(self, at: Place, releases: Iterable[tuple[int, float, str]]) -> int:
        """Annotate releases, as (number, seconds since 1970, text), that have no annotation yet; returns how many."""
        tags = ["release", at.name]
        there = self._ask("GET", f"/api/annotations?limit=5000&tags={tags[0]}&tags={tags[1]}")
        known = {tag for annotation in there for tag in annotation["tags"]}
        made = 0
        for number, seconds, text in releases:
            if f"release-{number}" not in known:
                body = {"time": int(seconds * 1000), "tags": [*tags, f"release-{number}"], "text": text}
                self._ask("POST", "/api/annotations", body)
                made += 1
        return made

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """The response; None if what is requested does not exist.

        Raises:
            CloudError: Grafana does not answer, or refuses; the message has its response.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        # Without this header Grafana marks objects as provisioned, and they can't be edited in it.
        headers["X-Disable-Provenance"] = "true"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  # config checks it
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310  # nosec B310
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code == 404 and method == "GET":
                return None
            answer_text = error.read().decode(errors="replace")[:300]
            remedy = (
                "give the service account of $GRAFANA_TOKEN the permissions that are listed in the README"
                if error.code in (401, 403)
                else ""
            )
            raise CloudError(f"Grafana: {method} {path}: {error.code}: {answer_text}", next=remedy) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CloudError(
                f"Grafana at {self._url} does not answer: {error}", next="check monitoring.grafana_url"
            ) from error


def connect(config: Config) -> Grafana:
    """A client of the Grafana in ``pipeline.toml``, with the token in ``$GRAFANA_TOKEN``.

    Raises:
        ConfigError: either is missing.
    """
    problems = []
    if not config.monitoring.grafana_url:
        problems.append("monitoring.grafana_url: empty; write Grafana's address in pipeline.toml")
    if not (token := os.environ.get("GRAFANA_TOKEN", "")):
        problems.append("GRAFANA_TOKEN: not set; set it to a token of a Grafana service account")
    if problems:
        raise ConfigError("Grafana", problems)
    return Grafana(config.monitoring.grafana_url, token)


def parts(at: Place, seen: Observed) -> list[Part]:
    """All objects of one environment in Grafana, in the order in which they are created."""
    folder, uid, source = grafana.FOLDER.lower(), grafana.uid(at), grafana.data_source(at)
    webhook = os.environ.get("SLACK_WEBHOOK_URL", "")
    rules = grafana.rules(at, seen, grafana.CONTACT if webhook else "")
    group = {**rules, "folderUid": folder}
    board, titled = grafana.board(at, seen), {"uid": folder, "title": grafana.FOLDER}
    put_board = ("POST", "/api/dashboards/db")
    put_group = ("PUT", f"/api/v1/provisioning/folder/{folder}/rule-groups/{at.name}")
    found = [
        _part("folder", "/api/folders", folder, {**titled, "overwrite": True}, titled),
        _part("data source", "/api/datasources", uid, source, source, by_uid="/uid"),
        Part(
            "dashboard",
            f"/api/dashboards/uid/{uid}",
            put_board,
            put_board,
            {"dashboard": board, "folderUid": folder, "overwrite": True},
            {"dashboard": board},
        ),
    ]
    if webhook:
        place, point = "/api/v1/provisioning/contact-points", grafana.contact_point(webhook)
        # Grafana does not return the webhook, and finds contact points by their name.
        readable = [{key: point[key] for key in ("uid", "name", "type")}]
        change = ("PUT", f"{place}/{point['uid']}")
        found.append(Part("contact point", f"{place}?name={point['name']}", ("POST", place), change, point, readable))
    found.append(Part("alert rules", put_group[1], put_group, put_group, group, group))
    return found


def _part(name: str, place: str, uid: str, body: dict[str, Any], wanted: dict[str, Any], by_uid: str = "") -> Part:
    """An object that is created in a collection and then found in it by its name."""
    own = f"{place}{by_uid}/{uid}"
    return Part(name, own, ("POST", place), ("PUT", own), body, wanted)


def _holds(there: Any, wanted: Any) -> bool:
    """Whether ``there`` contains everything in ``wanted``; lists must have the same length."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(name in there and _holds(there[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(map(_holds, there, wanted))
    return bool(there == wanted)
