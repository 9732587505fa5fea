"""What Lambda calls: turns events of an HTTP API or a Function URL into requests to the application."""

from __future__ import annotations

from apig_wsgi import make_lambda_handler

from ml_service import stages
from service.app import create_app

__all__ = ["handler"]

# Created at import: once per process, before the first request; what fails stops the start.
handler = make_lambda_handler(stages.mounted(create_app()))
