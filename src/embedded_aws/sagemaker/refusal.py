"""How SageMaker refuses a request."""

from __future__ import annotations


class Refusal(Exception):
    """An error of the API: its code, its message, and the HTTP status."""

    def __init__(self, message: str, code: str = "ValidationException", status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status
