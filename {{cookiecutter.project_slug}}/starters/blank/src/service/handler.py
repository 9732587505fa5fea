"""Lambda's way in: events of an HTTP API or a Function URL become requests of the application."""

from __future__ import annotations

from apig_wsgi import make_lambda_handler

from service.app import create_app

__all__ = ["handler"]

handler = make_lambda_handler(create_app())  # at import: once per process, and loudly if it can't be
