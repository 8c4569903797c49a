"""The monitor's HTML page for a wide model: bytes, time to make it, and time until a browser has loaded it.

``python benchmarks/report_page.py [--columns 200] [--windows 60]``; the browser is Chromium, where it is installed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from raymlops.monitoring import MonitorReport
from raymlops.records.windows import ColumnDrift, EstimatedPerformance, Performance, WindowRecord

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
TIMER = """<script>addEventListener("load", () => {
const loaded = performance.now(), out = document.createElement("p"), panel = document.getElementById("columns");
panel.open = true;
panel.dispatchEvent(new Event("toggle"));
const height = panel.offsetHeight;
out.textContent = `loaded=${loaded} opened=${performance.now() - loaded} height=${height}`;
document.body.append(out); });</script></body>"""


def make_windows(columns: int, count: int) -> tuple[WindowRecord, ...]:
    """Windows of a model that drifts and is replaced twice."""
    rng = np.random.default_rng(0)
    importances = rng.dirichlet(np.ones(columns))
    return tuple(_window(number, count, importances, rng) for number in range(count))


def _window(number: int, count: int, importances: np.ndarray, rng: np.random.Generator) -> WindowRecord:
    champion = 1 + 3 * number // count
    scores = np.abs(rng.normal(0.03, 0.02, len(importances)))
    drifts = {
        f"customer_feature_{index}": ColumnDrift(
            score=score, threshold=0.06, p_value=0.5, drifted=score > 0.06, importance=importances[index]
        )
        for index, score in enumerate(scores.tolist())
    }
    value = float(rng.normal(0.42, 0.01))
    metrics, intervals = {"log_loss": value}, {"log_loss": (value - 0.02, value + 0.02)}
    return WindowRecord(
        model="wide",
        start=START + number * DAY,
        end=START + (number + 1) * DAY,
        champion=champion,
        rows=1000,
        columns=drifts,
        performance={champion: Performance(rows=1000, labelled_rows=900, metrics=metrics, intervals=intervals)},
        estimated={
            champion: EstimatedPerformance(
                rows=1000, metrics=metrics, intervals=intervals, method="recalibrated", effective_rows=900
            )
        },
        reference_metrics={"log_loss": 0.42},
    )


def load_ms(browser: str, page: str) -> tuple[float, float]:
    """Milliseconds until the page has loaded, and to list and lay out all columns."""
    # the page allows its own script only: the stopwatch is another one
    timed = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", TIMER)
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "page.html"
        path.write_text(timed, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/profile"]
        dump = subprocess.run(
            [*command, "--dump-dom", f"file://{path}"], capture_output=True, text=True, check=True, timeout=120
        ).stdout
    found = re.search(r"<p>loaded=([\d.]+) opened=([\d.]+)", dump)
    if found is None:
        raise RuntimeError("the page was not timed")
    return float(found[1]), float(found[2])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--windows", type=int, default=60)
    given = parser.parse_args()
    report = MonitorReport("wide", START, make_windows(given.columns, given.windows))
    report.html()
    started = time.perf_counter()
    page = report.html()
    made_ms = (time.perf_counter() - started) * 1000
    print(f"{given.columns} columns, {given.windows} windows: {len(page.encode()):,} bytes, made in {made_ms:.0f} ms")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("no browser: Chromium is not installed")
        return
    loads, opens = zip(*(load_ms(browser, page) for _ in range(5)), strict=True)
    print(
        f"loaded in {statistics.median(loads):.0f} ms, all columns listed in {statistics.median(opens):.0f} ms (of 5)"
    )


if __name__ == "__main__":
    main()
