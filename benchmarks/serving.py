"""Serving with everything on beside the peers: same model, same row, same run, in turns.

Everything on: inputs validated, features joined, every prediction an event in the monitor's table, metrics counted and
sent. Load comes from wrk on the same cores (closed-loop) and from sockets of our own at a constant rate (open-loop).
In the closed loop every server is up all the time and idle while another is asked; a Ray cluster is not quite idle even
then. In the open loop, which is about latency, each server is up alone.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import served_model
from benchmarks.load import Call, Closed, Open, closed_loop, open_loop
from benchmarks.serving_peers import peer, platform

__all__ = ["closed_in_turns", "measure"]

PEERS = ("fastapi", "mlserver", "mlflow", "litserve", "bentoml")
OURS = ("infer", "predict")
CONNECTIONS = (1, 16)
SUSTAINED_P99_MS = 25.0
"""A rate is sustained where every request is answered, at the rate it came, and the slowest hundredth in this time."""


def measure(rounds: int = 5, seconds: int = 4, peers: tuple[str, ...] = PEERS) -> dict[str, Any]:
    """Requests per second, latencies, and the ratios to each peer, as medians over rounds.

    Args:
        rounds: Each measures everything once.
        seconds: Length of one measurement.
        peers: Beside whom.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "model").mkdir()
        served_model.classifier().get_booster().save_model(root / "model" / "model.ubj")
        with platform(root / "home") as ours:
            found = _beside_peers(ours, root / "model", rounds, seconds, peers)
            in_turns = found["connections_16"]
            alone = {name: _sustained(ours[name], in_turns[name]["requests_per_s"], seconds) for name in OURS}
        with peer("fastapi", root / "model") as call:
            alone["fastapi"] = _sustained(call, in_turns["fastapi"]["requests_per_s"], seconds)
    found["open_loop"] = alone
    found["ratios"] = _ratios(found)
    return found


def _beside_peers(
    ours: Mapping[str, Call], model: Path, rounds: int, seconds: int, peers: tuple[str, ...]
) -> dict[str, Any]:
    with ExitStack() as stack:
        theirs = {name: stack.enter_context(peer(name, model)) for name in peers}
        fastapi_64 = Call(theirs["fastapi"].url, served_model.infer_body(64))
        one_row = {**{name: ours[name] for name in OURS}, **theirs}
        found = {f"connections_{many}": closed_in_turns(one_row, many, rounds, seconds) for many in CONNECTIONS}
        found["rows_64"] = closed_in_turns({"infer": ours["infer_64"], "fastapi": fastapi_64}, 4, rounds, seconds)
    return found


def closed_in_turns(calls: Mapping[str, Call], connections: int, rounds: int, seconds: int) -> dict[str, Any]:
    """Medians per server, measured in turns after a round that does not count."""
    runs: dict[str, list[Closed]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            run = closed_loop(call, connections=connections, seconds=seconds if number else 1)
            if number:
                runs[name].append(run)
    return {
        name: {
            "requests_per_s": round(statistics.median(run.requests_per_s for run in some)),
            "p50_ms": round(statistics.median(run.p50_ms for run in some), 2),
            "p99_ms": round(statistics.median(run.p99_ms for run in some), 2),
            "errors": sum(run.errors for run in some),
        }
        for name, some in runs.items()
    }


def _sustained(call: Call, closed_per_s: float, seconds: int) -> dict[str, Any]:
    """The highest rate sustained, in steps of a tenth of what a closed loop reaches, and the latencies at half."""
    best = 0.0
    for twentieth in range(2, 25, 2):
        rate = closed_per_s * twentieth / 20
        run = open_loop(call, rate=rate, seconds=seconds)
        if not _is_sustained(run):
            run = open_loop(call, rate=rate, seconds=seconds)  # the machine may have had something else to do
        if not _is_sustained(run):
            break
        best = rate
    half = open_loop(call, rate=max(best, 1.0) / 2, seconds=2 * seconds)
    return {"sustained_per_s": round(best), "at_half": half._asdict()}


def _is_sustained(run: Open) -> bool:
    return not run.errors and run.answered_per_s >= 0.98 * run.rate and run.p99_ms <= SUSTAINED_P99_MS


def _ratios(found: Mapping[str, Any]) -> dict[str, float]:
    ratios = {}
    for connections in CONNECTIONS:
        rates = {name: run["requests_per_s"] for name, run in found[f"connections_{connections}"].items()}
        for name in rates.keys() - {"infer", "predict"}:
            ratios[f"infer_to_{name}_{connections}"] = round(rates["infer"] / rates[name], 2)
        ratios[f"predict_to_infer_{connections}"] = round(rates["predict"] / rates["infer"], 2)
    rows_64 = found["rows_64"]
    ratios["rows_64_to_fastapi"] = round(rows_64["infer"]["requests_per_s"] / rows_64["fastapi"]["requests_per_s"], 2)
    return dict(sorted(ratios.items()))
