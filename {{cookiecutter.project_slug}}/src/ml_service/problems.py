"""Error answers as problem documents, https://www.rfc-editor.org/rfc/rfc9457, for any framework."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

__all__ = ["TYPE", "document"]

TYPE = "application/problem+json"  # the content type


def document(status: int, detail: str, title: str = "", **more: Any) -> dict[str, Any]:
    """A problem document.

    Args:
        status: of the answer, such as 404.
        detail: what is wrong with this request, for its sender.
        title: the kind of problem; default: HTTP's own phrase for ``status``.
        more: further members, such as the request's id.

    Any framework can send it: half of a surrogate pair, which JSON can bring and UTF-8 can't express, is escaped.
    """
    members = {"title": title or HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return {"type": "about:blank", **{name: _text(value) for name, value in members.items()}}


def _text(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
