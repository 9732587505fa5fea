"""GitHub's REST API on loopback: answers about one repository in the shape that its reference documents.

https://docs.github.com/en/rest/repos/repos#get-a-repository, …/rest/deployments/environments#get-an-environment,
…/rest/deployments/branch-policies#list-deployment-branch-policies, …/rest/actions/variables, …/rest/actions/oidc
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPOSITORY = {
    "id": 1296269,
    "node_id": "MDEwOlJlcG9zaXRvcnkxMjk2MjY5",
    "name": "a-repository",
    "full_name": "an-owner/a-repository",
    "owner": {"login": "an-owner", "id": 583231, "node_id": "MDQ6VXNlcjE=", "type": "Organization"},
    "private": False,
}
SUBJECT = {
    "use_default": True,
    "use_immutable_subject": True,
    "sub_claim_prefix": "repo:an-owner@583231/a-repository@1296269",
}


def environment(
    branches: dict[str, bool] | None, reviewers: int = 2, self_review: bool = False, bypass: bool = False
) -> dict[str, Any]:
    """An environment; ``branches`` is its ``deployment_branch_policy``."""
    rules: list[dict[str, Any]] = [{"id": 3736, "node_id": "MDQ6R2F0ZTM3MzY=", "type": "wait_timer", "wait_timer": 30}]
    if reviewers:
        asked = [{"type": "User", "reviewer": {"login": f"user{n}", "id": n}} for n in range(reviewers)]
        rule = {"id": 3755, "type": "required_reviewers", "prevent_self_review": not self_review, "reviewers": asked}
        rules.append(rule)
    if branches:
        rules.append({"id": 3756, "node_id": "MDQ6R2F0ZTM3NTY=", "type": "branch_policy"})
    return {
        "id": 161088068,
        "name": "production",
        "can_admins_bypass": bypass,
        "protection_rules": rules,
        "deployment_branch_policy": branches,
    }


def policies(*names: str, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    """The branches and tags that an environment selects."""
    listed = [{"id": 361471, "name": name, "type": "branch"} for name in names]
    listed += [{"id": 361472, "name": name, "type": "tag"} for name in tags]
    return {"total_count": len(listed), "branch_policies": listed}


class GitHub(ThreadingHTTPServer):
    """The API; ``answers`` by path below the repository, and ``tokens`` that it was asked with."""

    def __init__(self) -> None:
        outer = self
        self.tokens: list[str | None] = []
        self.answers: dict[str, tuple[int, Any]] = {
            "": (200, REPOSITORY),
            "actions/oidc/customization/sub": (200, SUBJECT),
        }

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.tokens.append(self.headers["Authorization"])
                path = self.path.partition("?")[0].removeprefix("/repos/an-owner/a-repository").removeprefix("/")
                code, content = outer.answers.get(path, (404, {"message": "Not Found"}))
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"
