"""The web application, the same on Lambda and in any WSGI server."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from service import artifact, pricing, telemetry

__all__ = ["create_app"]

MOST_BINS = 1000


class BadRequest(Exception):
    """A parameter is wrong; the message says which, and what it must be."""


def create_app() -> Flask:
    """The application with its models loaded: a model that does not load stops the process here, not at a request.

    Raises:
        artifact.ModelFault: a model is missing, altered or can't be opened.
    """
    root = artifact.find_root()
    models = artifact.load(root)
    release = artifact.release(root)
    app = Flask("service", static_folder=None)
    cold = [True]

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/version")
    def version() -> dict[str, Any]:
        built = {"release": release.number, "commit": release.commit, "version": release.version}
        return {**built, "model": models[0].digest, "content": release.content}

    @app.get("/v1/products")
    def products() -> dict[str, Any]:
        known = models[0].products.values()
        return {"products": [{key: p[key] for key in ("stockcode", "description", "low", "high")} for p in known]}

    @app.get("/v1/predict-price/<stockcode>")
    def predict_price(stockcode: str) -> dict[str, Any]:
        low, high = _positive("low"), _positive("high")
        try:
            found = pricing.quote(models, stockcode, _day(), low, high, _bins())
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if found.model["role"] != "primary":
            _log("warning", message="the backup answered", model=found.model["digest"])
        g.model = found.model["digest"]
        g.measured = _measured(found, models[0])
        return asdict(found)

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def log(response: Response) -> Response:
        _log(
            "info" if response.status_code < 500 else "error",
            method=request.method,
            path=request.path,
            status=response.status_code,
            model=g.get("model", ""),
            request=getattr(request.environ.get("apig_wsgi.context"), "aws_request_id", ""),
            trace=telemetry.trace(request.headers.get("X-Amzn-Trace-Id", "")),
            Latency=round((time.perf_counter() - g.began) * 1000, 3),
            Failures=int(response.status_code >= 500),
            ColdStarts=int(cold[0]),
            Release=release.number,
            **g.get("measured", {}),
        )
        cold[0] = False
        return response

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Response:
        match error:
            case BadRequest():
                return _problem(400, "Bad request", str(error))
            case pricing.UnknownProduct():
                return _problem(404, "Unknown product", f"there is no product {error}")
            case HTTPException():
                return _problem(error.code or 500, error.name, error.description or "")
            case artifact.ModelFault():
                _log("error", message=str(error))
                return _problem(503, "No model answers", "try again later")
        _log("error", message=f"{type(error).__name__}: {error}")
        return _problem(500, "Internal error", "it has been logged")

    return app


def _problem(status: int, title: str, detail: str) -> Response:
    """https://www.rfc-editor.org/rfc/rfc9457"""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(body, status, content_type="application/problem+json")


def _positive(name: str) -> float | None:
    text = request.args.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:  # refuses nan and inf too
        raise BadRequest(f"{name} must be a price above 0, not {text!r}")
    return value


def _bins() -> int:
    text = request.args.get("bins", "20")
    if not text.isascii() or not text.isdigit() or not 2 <= int(text[:6]) <= MOST_BINS:
        raise BadRequest(f"bins must be a whole number from 2 to {MOST_BINS}, not {text!r}")
    return int(text)


def _day() -> date:
    text = request.args.get("date")
    if text is None:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"date must be like 2026-01-31, not {text!r}") from None


def _measured(found: pricing.Quote, primary: artifact.Model) -> dict[str, float]:
    """What a prediction tells CloudWatch; the price as a share of the product's usual one, as training saw it."""
    share = found.recommended["price"] / primary.products[found.stockcode]["price"]
    known = primary.recommended
    return {
        "BackupUsed": int(found.model["role"] != "primary"),
        "PredictedSales": found.recommended["sales"],
        "RecommendedPrice": round(share, 4),
        **({"RecommendedPriceRank": round(telemetry.rank(round(share, 3), known), 4)} if known else {}),
    }


def _log(level: str, **fields: Any) -> None:
    print(telemetry.line(level, **fields), flush=True)
