"""Pages, opened in a real browser: the report, and the service's own."""

from __future__ import annotations

import re
import subprocess
from html import unescape
from pathlib import Path

import browsed
import pytest
from bake import ROOT
from servers import serving

from service import market, promotion, report, training

SHOTS = ROOT / "build/screenshots"


@pytest.fixture
def browse(tmp_path: Path):
    """Open an address and return the page as it is once its scripts have run."""
    chromium = browsed.chromium()

    def open_page(address: str, shot: Path | None = None) -> str:
        words = [*browsed.HEADLESS, f"--user-data-dir={tmp_path / 'browse'}"]
        words += ["--virtual-time-budget=15000", "--dump-dom", address]
        if shot:
            shot.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [chromium, *words[:-2], f"--screenshot={shot}", "--window-size=1200,1600", address],
                capture_output=True,
                check=True,
                timeout=180,
            )
        done = subprocess.run([chromium, *words], capture_output=True, text=True, check=True, timeout=120)
        return unescape(done.stdout)

    return open_page


def test_report_draws_every_plot(promoted: Path, tmp_path: Path, browse) -> None:
    """The report needs no network, and each of its plots is one that the browser has drawn to its size."""
    page = promoted / "build/report.html"
    probe = page.with_name("probe.html")
    # Measured by the browser: what it could not draw would have no extent.
    probe.write_text(
        page.read_text() + "<script>document.title = [...document.querySelectorAll('svg.plot')]"
        ".map(s => Math.round(s.getBBox().width) > 200 && s.querySelector('path, circle, rect') ? 1 : 0).join('')</script>"
    )
    found = browse(f"file://{probe}")
    assert re.search("<title>(.*?)</title>", found)[1] == "1" * (3 + 2 * 8)  # type: ignore[index]
    assert "<td>last month's mean</td>" in found
    assert re.search(r'<span id="count">12 of 12 products</span>', found)
    browsed.check(page, tmp_path)


def test_page_draws_the_curve_of_the_chosen_product(promoted: Path, tmp_path: Path, browse, port: int) -> None:
    """The page finds products, draws the chosen one's revenue, marks the recommended price, and says why it stays or changes."""
    with serving(promoted, port) as (url, _):
        for address, name in ((f"{url}/#85111", "lantern"), (f"{url}/#85222", "teacup")):
            found = browse(address)
            assert found.count("<option") == 12
            assert re.search(
                rf'<p id="says"[^>]*>{name}: ([0-9.]+ instead of [0-9.]+ earns more|the price stays)', found
            )
            assert found.count('<path class="c0"') == 1
            points = re.findall(r'<path class="c0" d="M([^"]+)"', found)[0].split("L")
            assert len(points) == 60
            # The dot sits on the curve, at the recommended price.
            dot = re.search(r'<circle class="mark" cx="([^"]+)" cy="([^"]+)"', found)
            assert dot is not None
            near = min(points, key=lambda point: abs(float(point.split(",")[0]) - float(dot[1])))
            assert abs(float(near.split(",")[1]) - float(dot[2])) < 3
            assert re.search(r"elasticity -[0-9.]+ \(-[0-9.]+ to -?[0-9.]+\)", found)
            assert re.search(r'id="model" class="faint">\w+, primary, sha256:[0-9a-f]{64}<', found)
        page = tmp_path / "page.html"  # as it was drawn, without its script
        page.write_text(re.sub(r"<script>.*?</script>", "", found, flags=re.DOTALL), encoding="utf-8")
        browsed.check(page, tmp_path)
        # What is not known is said, with what would show it.
        found = browse(f"{url}/#85999")
        assert "the price stays: it did not vary" in found
        assert re.search(r"experiment: [0-9.]+ or [0-9.]+ in random weeks", found)
        assert "<path" not in found
        # A product that there isn't is said on the page, as the API says it.
        assert '<p id="says" role="status" class="bad">there is no product none</p>' in browse(f"{url}/#none")


def test_a_whole_catalogue_is_readable(tmp_path: Path, browse, port: int) -> None:
    """At 3,900 products the report lists, counts and searches all of them, and the page finds one; screenshots are kept."""
    market.generate(7, days=200, count=3900).to_parquet(tmp_path / "catalogue.parquet")
    words = ["--root", str(tmp_path), "--data", str(tmp_path / "catalogue.parquet"), "--trials", "1"]
    assert training.main(words) == 0
    assert report.main(["--root", str(tmp_path)]) == 0
    # Half a year of a market shows no season, so its total is further off than a year's would be.
    assert promotion.main(["--root", str(tmp_path), "--bias", "20"]) == 0
    page = tmp_path / "build/report.html"
    page.with_name("search.html").write_text(
        page.read_text().replace("\nshow();\n", "\nsearch.value = '85999'; show();\n"), encoding="utf-8"
    )
    listed = browse(f"file://{page}", SHOTS / "report-3900.png")
    known = int(re.search(r'<span id="count">(\d+) of \1 products</span>', listed)[1])  # type: ignore[index]
    assert known > 3500
    assert listed.count("<tr><td>") >= known
    searched = browse(f"file://{page.with_name('search.html')}")
    assert re.search(rf'<span id="count">\d of {known} products</span>', searched)
    with serving(tmp_path, port) as (url, _):
        found = browse(f"{url}/#85999", SHOTS / "page-3900.png")
        assert f"{known} products" in found
        assert re.search(r'<p id="says" role="status" class="">mug: the price stays', found)
    for shot in ("report-3900.png", "page-3900.png"):
        assert (SHOTS / shot).stat().st_size > 10_000
