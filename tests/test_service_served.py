"""The service where it runs: in gunicorn, with a real Redis, asked two thousand generated requests, fed from S3."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from servers import program, serving, started
from tiny import PRICING, ROOT, TEMPLATE, Tiny

from service import cleaning, market, reading

PATH = "/v1/predict-price/85111?bins=5&date=2026-01-31"


def ask(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_gunicorn_serves_what_lambda_serves(promoted: Path, port: int) -> None:
    """A WSGI server answers the very bytes that the Lambda handler answers, in less than 250 MB."""
    code = (
        "import json; from service.handler import handler; "
        "event = {'version': '2.0', 'rawPath': '/v1/predict-price/85111', 'rawQueryString': 'bins=5&date=2026-01-31',"
        " 'headers': {'host': 'h'}, 'requestContext': {'http': {'method': 'GET', 'sourceIp': '127.0.0.1',"
        " 'path': '/', 'protocol': 'HTTP/1.1'}}, 'isBase64Encoded': False}; "
        "print(handler(event, None)['body'])"
    )
    with serving(promoted, port) as (url, master):
        served = ask(url + PATH)
        assert served["model"]["role"] == "primary"  # type: ignore[index]
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        assert workers
        for process in workers:
            status = Path(f"/proc/{process}/status").read_text()
            assert int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) < 250 * 1024  # type: ignore[index]
    environment = {"PYTHONPATH": str(promoted), "PATH": "/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == served


def test_redis_keeps_answers_and_its_end_costs_none(
    promoted: Path, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real Redis, with a password, keeps answers under the model's digest for their time; when it ends, all goes on."""
    from ml_service import models
    from service import artifact
    from service.app import create_app

    monkeypatch.setattr(models, "find_root", lambda: promoted)
    monkeypatch.setenv("REDIS_URL", f"redis://:p%40ss@127.0.0.1:{port}/2")
    monkeypatch.setenv("CACHE_SECONDS", "77")
    words = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "p@ss", "--save", ""]
    client = ["redis-cli", "-p", str(port), "-a", "p@ss", "-n", "2", "--no-auth-warning"]

    def redis(*command: str) -> str:
        return subprocess.run([*client, *command], check=True, capture_output=True, text=True).stdout.strip()

    with started([*words, "--dir", str(tmp_path)]):
        for _ in range(100):
            if subprocess.run([*client, "PING"], capture_output=True, check=False).stdout == b"PONG\n":
                break
            time.sleep(0.05)
        service = create_app().test_client()
        time.sleep(0.3)  # the connection is made beside the requests
        answers = [service.get(PATH) for _ in range(3)]
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["CacheHits"] for line in lines] == [0, 1, 1]
        assert answers[0].data == answers[1].data == answers[2].data
        (key,) = redis("KEYS", "*").split("\n")
        assert f"/price/{artifact.load(promoted)[0].digest}/85111/" in key
        assert 70 <= int(redis("TTL", key)) <= 77
    assert service.get(PATH).data == answers[0].data
    *_, line = capsys.readouterr().out.splitlines()
    assert json.loads(line)["CacheHits"] == 0


def test_two_thousand_generated_requests_find_nothing(tmp_path: Path) -> None:
    """Against the OpenAPI document, right and wrong requests by the thousand: no 500, no traceback, no broken promise."""
    words = [sys.executable, "-m", "pytest", "-q", "-s", "-n", "0", "-p", "no:cacheprovider", "tests/test_api.py"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    environment = {
        **clean,
        "API_EXAMPLES": "900",  # what is generated depends on the constants in the code, so how many are good does too
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join([str(TEMPLATE / "src"), str(ROOT / "src")]),
    }
    done = subprocess.run(words, cwd=PRICING, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    requests, good = map(int, re.search(r"(\d+) generated requests, (\d+) answered with 200", done.stdout).groups())  # type: ignore[union-attr]
    assert requests >= 2000
    assert good >= 200


def test_transactions_are_read_from_s3(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CSV and a Parquet file in a bucket of the embedded AWS, asked with the credentials that ``invoke train`` passes."""
    delivery = tiny.open()
    bucket, s3 = delivery.foundation.bucket, delivery.cloud.client("s3")
    frame = market.generate(7, days=20)
    frame.to_csv(tiny.root / "retail.csv", index=False)
    frame.to_parquet(tiny.root / "retail.parquet")
    for name, value in delivery.cloud.variables().items():
        monkeypatch.setenv(name, value)
    for name in ("retail.csv", "retail.parquet"):
        s3.put_object(Bucket=bucket, Key=f"data/{name}", Body=(tiny.root / name).read_bytes())
        found = cleaning.clean(reading.read(f"s3://{bucket}/data/{name}"))[0]
        assert cleaning.digest(found) == cleaning.digest(cleaning.clean(frame)[0])
    with pytest.raises(reading.BadData, match=r"s3://.*none\.csv can't be read"):
        reading.read(f"s3://{bucket}/data/none.csv")
