"""The web application, the same on Lambda, in SageMaker and in any WSGI server (``service.app:create_app()``)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import traceback
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from ml_pages.page import STYLE
from ml_service import cache, outcomes, problems, release
from ml_service.telemetry import trace
from service import artifact, inputs, pricing, telemetry

__all__ = ["create_app"]

LARGEST = 1_000_000  # bytes of a request's body
HERE = Path(__file__).parent


def create_app() -> Flask:
    """The application with its models loaded: a model that can't be loaded stops the process here, not at a request.

    Raises:
        artifact.ModelFault: a model is missing, altered or can't be opened.
        ValueError: an environment variable can't be used; the message names it.
    """
    models = artifact.load()
    built = release.read()
    kept = cache.from_environment(lambda message: _log("warning", message=message))
    origins = set(re.split(r"[\s,]+", os.environ.get("CORS_ORIGINS", ""))) - {""}
    verbose = os.environ.get("LOG_LEVEL", "").upper() == "DEBUG"
    documents = {name: (HERE / name).read_text(encoding="utf-8") for name in ("page.html", "openapi.json")}
    documents["page.html"] = documents["page.html"].replace("<!--STYLE-->", STYLE)
    catalogue = orjson.dumps({"products": [_listed(p) for p in models[0].products.values()]})
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST
    cold = [True]

    @app.get("/")
    def page() -> Response:
        found = Response(documents["page.html"], content_type="text/html; charset=utf-8")
        found.headers["Content-Security-Policy"] = _policy(documents["page.html"])
        return found

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(documents["openapi.json"], content_type="application/json")

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    # SageMaker asks /ping: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    @app.get("/readyz")
    @app.get("/ping", endpoint="ping")
    def readyz() -> Response:
        some = next(iter(models[0].products.values()))
        asked = pricing.Asked(some["stockcode"], some["price"], inputs.today())
        return _json({"status": "ready", "model": pricing.predict(models, [asked])["model"]})

    @app.get("/version")
    def version() -> Response:
        return _json(built.document(models[0].digest))

    @app.get("/v1/products")
    def products() -> Response:
        return Response(catalogue, content_type="application/json")

    @app.get("/v1/predict-price/<stockcode>")
    def predict_price(stockcode: str) -> Response:
        day, low, high, bins = inputs.query(request.args)
        key = f"price/{models[0].digest}/{stockcode}/{day}/{low}/{high}/{bins}"
        body = kept.get(key) if kept else None
        found = _document(body, models[0].digest)
        if hit := found is not None:
            assert body is not None
            answer = Response(body, content_type="application/json")
        else:
            found = pricing.quote(models, stockcode, day, low, high, bins)
            answer = _json(found)
            if kept and found["model"]["role"] == "primary":
                kept.put(key, answer.get_data())
        _answered(found["model"], known={stockcode} <= models[0].products.keys())
        g.measured |= _measured(found, models[0]) | {"CacheHits": int(hit)}
        return answer

    @app.post("/v1/predict")
    @app.post("/invocations", endpoint="invocations")
    def predict() -> Response:
        try:
            asked = inputs.batch(request.get_json())
        except RecursionError:
            raise inputs.BadRequest("the body must not be nested this deeply") from None
        found = pricing.predict(models, asked)
        _answered(found["model"], known={one.stockcode for one in asked} <= models[0].products.keys())
        return _json(found)

    @app.post(outcomes.PATH)
    def outcome() -> Response:
        document, status = outcomes.record(request.get_data(), "revenue", "margin")
        return _json(document, status) if status < 400 else _problem(status, "Not an outcome", document["detail"])

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        known = getattr(request.environ.get("apig_wsgi.context"), "aws_request_id", "")
        g.request = known or (given if re.fullmatch(r"[\w.:=-]{1,64}", given, re.ASCII) else uuid4().hex)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request
        response.headers[outcomes.HEADER] = str(built.number)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if origins:
            _allow(response, origins)
        _log(
            "info" if response.status_code < 500 else "error",
            method=request.method,
            path=request.path,
            **({"query": request.query_string.decode("latin-1")} if verbose else {}),
            status=response.status_code,
            model=g.get("model", ""),
            request=g.request,
            trace=trace(request.headers.get("X-Amzn-Trace-Id", "")),
            Latency=round((time.perf_counter() - g.began) * 1000, 3),
            Failures=int(response.status_code >= 500),
            ColdStarts=int(cold[0]),
            Release=built.number,
            **g.get("measured", {}),
        )
        cold[0] = False
        return response

    @app.errorhandler(Exception)
    def problem(error: Exception) -> Response:
        match error:
            case inputs.BadRequest():
                return _problem(400, "Bad request", str(error))
            case pricing.UnknownProduct():
                return _problem(404, "Unknown product", f"there is no product {error}")
            case pricing.BadRange():
                return _problem(422, "Not a range", str(error))
            case HTTPException():
                found = _problem(error.code or 500, error.name, error.description or "")
                found.headers.extend((k, v) for k, v in error.get_headers() if k in ("Allow", "Location"))
                return found
            case artifact.ModelFault():
                _log("error", message=str(error), request=g.request)
                return _problem(503, "No model answers", "try again later")
        message = f"{type(error).__name__}: {error}"
        _log("error", message=message, request=g.request, traceback=traceback.format_exc())
        return _problem(500, "Internal error", "it has been logged")

    return app


def _listed(product: dict[str, Any]) -> dict[str, Any]:
    """A product in the list of all."""
    known, decision = (
        {key: product[key] for key in ("stockcode", "description", "price", "low", "high")},
        product["decision"],
    )
    return {**known, "recommended": decision["price"], "why": decision["why"]}


def _json(document: dict[str, Any], status: int = 200, kind: str = "application/json") -> Response:
    return Response(orjson.dumps(document), status, content_type=kind)


def _problem(status: int, title: str, detail: str) -> Response:
    return _json(problems.document(status, detail, title, request=g.request), status, problems.TYPE)


def _document(body: bytes | None, digest: str) -> dict[str, Any] | None:
    """The cached answer, if it is one of this model."""
    try:
        found = orjson.loads(body or b"null")
        return found if found["model"]["digest"] == digest and found["recommended"]["sales"] >= 0 else None
    except (ValueError, TypeError, KeyError):
        return None


def _answered(model: dict[str, str], known: bool) -> None:
    """Record for the log which model answered; log at once when it isn't the primary, which may not have ``known`` the products.

    That is no fault of the primary: else whoever asks for a product that only the backup knows could set off its alarm.
    """
    g.model, backup = model["digest"], model["role"] != "primary"
    g.measured = {"BackupUsed": int(backup and known)}
    if backup:
        _log("warning", message="the backup answered", model=g.model, request=g.request)


def _allow(response: Response, origins: set[str]) -> None:
    """Let pages of these origins call the API from a browser: https://fetch.spec.whatwg.org/#http-cors-protocol"""
    origin = request.headers.get("Origin", "")
    response.headers.add("Vary", "Origin")
    if origin and (origin in origins or "*" in origins):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = f"X-Request-Id, {outcomes.HEADER}"
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, X-Request-Id"
            response.headers["Access-Control-Max-Age"] = "600"


def _policy(html: str) -> str:
    """Allow the page its own script and style, and requests to this service; nothing else."""
    allowed = []
    for tag in ("script", "style"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed.append(f"{tag}-src 'sha256-{digest}'")
    return f"default-src 'none'; connect-src 'self'; {'; '.join(allowed)}; base-uri 'none'; form-action 'none'"


def _measured(found: dict[str, Any], primary: artifact.Model) -> dict[str, float]:
    """The metrics of a recommendation; the price is a share of the product's usual price in training.

    Of a product that only the backup knows, there is none.
    """
    if found["stockcode"] not in primary.products:
        return {"PredictedSales": found["recommended"]["sales"]}
    share = found["recommended"]["price"] / primary.products[found["stockcode"]]["price"]
    known = primary.recommended
    return {
        "PredictedSales": found["recommended"]["sales"],
        "RecommendedPrice": round(share, 4),
        **({"RecommendedPriceRank": round(telemetry.rank(round(share, 3), known), 4)} if known else {}),
    }


def _log(level: str, **fields: Any) -> None:
    print(telemetry.line(level, **fields), flush=True)
