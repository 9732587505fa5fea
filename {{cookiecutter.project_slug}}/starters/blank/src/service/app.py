"""The web application, the same on Lambda and in any WSGI server (``service.app:create_app()``)."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, abort, g, json, request
from werkzeug.exceptions import HTTPException

from ml_service import models, outcomes, problems, release, telemetry
from service import model

__all__ = ["create_app"]


def create_app() -> Flask:
    """The application with its model loaded: a model that can't be loaded stops the process here, not at a request.

    Raises:
        ml_service.models.ModelFault: the model is missing, altered or can't be read.
    """
    promoted = models.load()[0]
    opened = model.decode(promoted.content)
    built = release.read()
    app = Flask("service", static_folder=None)
    cold = [True]

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> dict[str, Any]:
        return {"status": "ready", "minutes": opened.predict(1.0)}

    @app.get("/version")
    def version() -> dict[str, Any]:
        return built.document(promoted.digest)

    @app.get("/v1/predict")
    def predict() -> dict[str, Any]:
        kilometres = request.args.get("kilometres", -1.0, float)
        if not 0 <= kilometres <= 1000:
            abort(422, "kilometres must be a number from 0 to 1000")
        return {"minutes": round(opened.predict(kilometres), 2), "model": promoted.digest}

    @app.post(outcomes.PATH)
    def outcome() -> tuple[dict[str, Any], int]:
        return outcomes.record(request.get_data())

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        line = telemetry.line(
            "info",
            method=request.method,
            path=request.path,
            status=response.status_code,
            trace=telemetry.trace(request.headers.get("X-Amzn-Trace-Id", "")),
            Latency=round((time.perf_counter() - g.began) * 1000, 3),
            Failures=int(response.status_code >= 500),
            ColdStarts=len(cold),
            Release=built.number,
        )
        print(line, flush=True)
        cold.clear()
        response.headers[outcomes.HEADER] = str(built.number)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return _problem(error.code or 500, error.description or "")

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        print(telemetry.line("error", message=f"{type(error).__name__}: {error}"), flush=True)
        return _problem(500, "it has been logged")

    return app


def _problem(status: int, detail: str) -> Response:
    return Response(json.dumps(problems.document(status, detail)), status, content_type=problems.TYPE)
