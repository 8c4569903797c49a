"""How long the console's pages take with 100 models and 100,000 runs, without the way over actors and HTTP."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from raymlops.console import Console
from raymlops.metadata import MetadataService
from raymlops.serving.protocol.access import OPEN
from raymlops.serving.protocol.http import HttpRequest
from tests.support.console_crowd import enlarge
from tests.support.console_world import make_sources

__all__ = ["measure"]

_PAGES = (
    "",
    "/models",
    "/models/churn",
    "/models/model-007",
    "/monitoring",
    "/monitoring/churn",
    "/runs",
    "/delivery",
    "/ledger",
    "/system",
)
_ROUNDS = 9


def measure() -> dict[str, Any]:
    """Page -> milliseconds until it is there: median and slowest, the first one left out."""
    with tempfile.TemporaryDirectory() as place:
        sources, close = make_sources(Path(place))
        assert isinstance(sources.metadata, MetadataService)
        enlarge(sources.metadata)
        console = Console(sources)
        try:
            return {path or "/": _measure(console, path) for path in _PAGES}
        finally:
            console.close()
            close()


def _measure(console: Console, path: str) -> dict[str, float]:
    taken_ms = []
    for _ in range(_ROUNDS + 1):
        begun_s = time.perf_counter()
        reply = console.answer(HttpRequest("GET", f"/console{path}"), OPEN)
        taken_ms.append((time.perf_counter() - begun_s) * 1000)
        assert reply.status == 200, path
    return {"median_ms": round(statistics.median(taken_ms[1:]), 1), "slowest_ms": round(max(taken_ms[1:]), 1)}
