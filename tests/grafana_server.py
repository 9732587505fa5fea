"""A server that speaks the part of Grafana's HTTP API that we use, with the refusals that its documents and code name.

https://grafana.com/docs/grafana/latest/developers/http_api/ : folder, data_source, dashboard, alerting_provisioning,
annotations. It keeps what it is given, adds members of its own as Grafana does, and checks what Grafana checks.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "a-service-accounts-token"
UID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


class Refusal(Exception):
    """Grafana's status and message for a request that it does not take."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def need(condition: Any, status: int, message: str) -> None:
    if not condition:
        raise Refusal(status, message)


class GrafanaServer:
    """Grafana on loopback; ``calls`` are the requests that changed something."""

    def __init__(self) -> None:
        self.folders: dict[str, Any] = {}
        self.sources: dict[str, Any] = {}
        self.boards: dict[str, Any] = {}
        self.groups: dict[tuple[str, str], Any] = {}
        self.points: dict[str, Any] = {}
        self.annotations: list[dict[str, Any]] = []
        self.calls: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                url = urlsplit(self.path)
                try:
                    need(self.headers.get("Authorization") == f"Bearer {TOKEN}", 401, "Unauthorized")
                    said: Any = server.take(self.command, url.path, parse_qs(url.query), body)
                    status = 200
                except Refusal as refusal:
                    status, said = refusal.status, {"message": refusal.message}
                if self.command != "GET" and status == 200:
                    server.calls.append(f"{self.command} {url.path}")
                content = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """The answer to one request.

        Raises:
            Refusal: Grafana would not take it.
        """
        match method, path.removeprefix("/api/").split("/"):
            case "GET", ["folders", uid]:
                return found(self.folders, uid, "folder not found")
            case "POST", ["folders"]:
                need(body["title"], 400, "folder title cannot be empty")
                need(body["uid"] not in self.folders, 409, "a folder with that uid exists")
                self.folders[checked(body["uid"])] = {"id": 1, "uid": body["uid"], "title": body["title"], "version": 1}
                return self.folders[body["uid"]]
            case "GET", ["datasources", "uid", uid]:
                return found(self.sources, uid, "Data source not found")
            case "POST" | "PUT", ["datasources", *rest]:
                return self.source(body, rest[1] if rest else "")
            case "GET", ["dashboards", "uid", uid]:
                return found(self.boards, uid, "Dashboard not found")
            case "POST", ["dashboards", "db"]:
                return self.board(body)
            case "GET", ["v1", "provisioning", "folder", folder, "rule-groups", name]:
                return found(self.groups, (folder, name), "rule group not found")
            case "PUT", ["v1", "provisioning", "folder", folder, "rule-groups", name]:
                return self.group(folder, name, body)
            case "GET", ["v1", "provisioning", "contact-points"]:
                return [hidden(p) for p in self.points.values() if p["name"] in query.get("name", [p["name"]])]
            case "POST" | "PUT", ["v1", "provisioning", "contact-points", *rest]:
                need(bool(rest) == (body["uid"] in self.points), 404 if rest else 409, "contact point")
                need(
                    body["type"] != "slack" or body["settings"].get("url"),
                    400,
                    "could not find webhook URL in settings",
                )
                self.points[checked(body["uid"])] = body
                return {"message": "contactpoint updated"}
            case "GET", ["annotations"]:
                return [a for a in self.annotations if set(query["tags"]) <= set(a["tags"])]
            case "POST", ["annotations"]:
                need(body.get("text"), 400, "text field should not be empty")
                need(body["time"] > 10**12, 400, "time is in milliseconds")
                self.annotations.append({"id": len(self.annotations) + 1, **body})
                return {"message": "Annotation added", "id": len(self.annotations)}
        raise Refusal(404, "Not found")

    def source(self, body: dict[str, Any], uid: str) -> Any:
        need(body["name"] and body["type"] and body["access"] in ("proxy", "direct"), 400, "bad request data")
        if uid:
            found(self.sources, uid, "Data source not found")
        else:
            need(
                body["name"] not in {s["name"] for s in self.sources.values()}, 409, "data source with that name exists"
            )
        self.sources[checked(body["uid"])] = {"id": 1, "orgId": 1, "version": 1, "readOnly": False, **body}
        return {"message": "Datasource added", "datasource": self.sources[body["uid"]]}

    def board(self, body: dict[str, Any]) -> Any:
        board = body["dashboard"]
        need(board.get("title"), 400, "Dashboard title cannot be empty")
        need(body["folderUid"] in self.folders, 400, "folder not found")
        former = self.boards.get(checked(board["uid"]), {"dashboard": {"version": 0}})["dashboard"]["version"]
        need(former == 0 or body.get("overwrite") or board.get("version") == former, 412, "version-mismatch")
        kept = {**board, "id": 7, "version": former + 1}
        self.boards[board["uid"]] = {"dashboard": kept, "meta": {"folderUid": body["folderUid"], "version": former + 1}}
        return {"uid": board["uid"], "version": former + 1, "status": "success"}

    def group(self, folder: str, name: str, body: dict[str, Any]) -> Any:
        need(folder in self.folders and body["folderUid"] == folder, 400, "folder does not exist")
        need(
            body["interval"] % 10 == 0 and body["interval"] > 0, 400, "interval should be divided exactly by 10 seconds"
        )
        titles = [rule["title"] for rule in body["rules"]]
        need(len(set(titles)) == len(titles) and body["title"] == name, 400, "titles are unique in a folder")
        kept = []
        for rule in body["rules"]:
            refs = [query["refId"] for query in rule["data"]]
            need(len(set(refs)) == len(refs), 400, "refIds are unique")
            need(rule["condition"] in refs, 400, f"condition {rule['condition']} does not exist")
            need(rule["noDataState"] in ("Alerting", "NoData", "OK", "KeepLast"), 400, "unknown no data state")
            need(rule["execErrState"] in ("Alerting", "Error", "OK", "KeepLast"), 400, "unknown error state")
            receiver = rule.get("notification_settings", {}).get("receiver")
            need(not receiver or receiver in {p["name"] for p in self.points.values()}, 400, "receiver does not exist")
            need(rule["folderUID"] == folder and rule["orgID"] == 1, 400, "rule is of another folder")
            for query in rule["data"]:
                if query["datasourceUid"] == "__expr__":
                    self.expression(query["model"], refs)
                else:
                    need(query["datasourceUid"] in self.sources, 400, "data source not found")
                    need(
                        query["relativeTimeRange"]["from"] > query["relativeTimeRange"]["to"], 400, "invalid time range"
                    )
            kept.append({"id": len(kept) + 1, "updated": "2026-01-01T00:00:00Z", **rule, "uid": checked(rule["uid"])})
        self.groups[folder, name] = {**body, "rules": kept}
        return self.groups[folder, name]

    def expression(self, model: dict[str, Any], refs: list[str]) -> None:
        """A server-side expression refers to queries of its rule only."""
        need(model["type"] in ("math", "reduce", "threshold"), 400, f"unknown expression {model['type']}")
        named = re.findall(r"\$(\w+)", model["expression"]) if model["type"] == "math" else [model["expression"]]
        need(named and set(named) <= set(refs), 400, f"expression refers to {named}, which is not there")
        if model["type"] == "math":
            need(not re.search(r"FILL|LOG|(?<!\$)\b(?!log\b)[a-z]", model["expression"]), 400, "unexpected function")


def checked(uid: str) -> str:
    need(UID.fullmatch(uid), 400, "uid contains illegal characters or is too long")
    return uid


def found(there: dict[Any, Any], key: Any, message: str) -> Any:
    need(key in there, 404, message)
    return there[key]


def hidden(point: dict[str, Any]) -> dict[str, Any]:
    return {**point, "settings": {**point["settings"], "url": "[REDACTED]"}}
