"""The costs that a sizing rests on, measured without Ray, and what fleets come to by them."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks import control_turns, ingest_events, metadata, serving_overhead
from benchmarks.sizing.simulation import Costs, Fleet, needs_of, simulate, wall_of
from raymlops.metadata import MetadataService
from raymlops.records.plans import ServingPlan
from raymlops.serving.pool.watched import resident_bytes
from raymlops.testing.metadata_examples import example_draft

__all__ = ["FLEETS", "measure", "measure_costs"]

POSTGRES = os.environ.get("SIZING_POSTGRES")
"""URL of an empty database, ``postgresql://...``; without it the figures of PostgreSQL are left out."""
PROCESS_BYTES = 250e6
"""A replica before its first model: from the figures of pools, which need a cluster."""
MODELS, READS = 200, 2000

FLEETS = {
    "a_team": Fleet(models=30, requests_per_s=100.0),
    "a_department": Fleet(models=300, requests_per_s=1000.0),
    "1000_models_pooled": Fleet(models=1000, requests_per_s=10_000.0, own_models=0.02),
    "1000_models_of_their_own": Fleet(models=1000, requests_per_s=10_000.0, own_models=1.0),
    "100k_requests_per_s": Fleet(models=1000, requests_per_s=100_000.0, own_models=0.05),
}


def measure() -> dict[str, Any]:
    """Costs, and for some fleets what replicas take, how busy lone processes are, the first wall and what moves it."""
    costs, others = measure_costs()
    fleets = {name: _figures(fleet, costs) for name, fleet in FLEETS.items()}
    rounded = {name: float(f"{value:.3g}") for name, value in asdict(costs).items()}
    return {"costs": rounded, **others, "fleets": fleets, "load_average": round(os.getloadavg()[0], 1)}


def measure_costs() -> tuple[Costs, dict[str, Any]]:
    """The costs of the simulation, and further figures of the stores."""
    stores = {"sqlite": _sqlite()}
    if POSTGRES is not None:
        stores["postgresql"] = _store(POSTGRES)
    batch_s, row_s = _event_costs()
    model, rows = serving_overhead.fitted()
    endpoint, request = serving_overhead.endpoint_of(model, rows), serving_overhead.request_for(rows[0])

    async def served() -> None:
        assert (await endpoint.handle(request)).status == 200

    request_us = asyncio.run(serving_overhead.compare(served, timer=time.process_time))[0]
    profile = ingest_events.measure_profile()
    turns_ms = control_turns.measure()["quiet_ms"]["median"]
    costs = Costs(
        request_s=request_us * 1e-6,
        event_batch_s=batch_s,
        event_row_s=row_s,
        metadata_read_s=1 / stores["sqlite"]["plan_reads_per_s"],
        metadata_write_s=1 / stores["sqlite"]["ledger_entries_per_s"],
        profile_row_s=profile["with_sketches_1m_x_20_s"] / 1e6,
        turn_s=turns_ms / 1000 / control_turns.MODELS,
        pooled_model_bytes=_in_a_new_process("print_model_bytes"),
        process_bytes=PROCESS_BYTES,
    )
    return costs, {"stores": stores, "profile": profile}


def _figures(fleet: Fleet, costs: Costs) -> dict[str, Any]:
    needs, wall, stations = needs_of(fleet, costs), wall_of(fleet, costs), simulate(fleet, costs)
    moved = {
        "events_sent_every_5_s": replace(fleet, flush_every_s=5.0, flush_rows=5000),
        "plans_polled_every_10_s": replace(fleet, poll_every_s=10.0),
        "all_pooled": replace(fleet, own_models=0.0),
    }
    return {
        "replicas": needs.own_replicas + needs.pool_replicas,
        "cores": round(needs.cores, 1),
        "memory_gib": round(needs.memory_bytes / 2**30, 1),
        "busy": {one.name: round(one.busy, 3) for one in stations},
        "p99_wait_s": {one.name: round(one.p99_wait_s, 2) for one in stations},
        "longest_wait_s": {one.name: round(one.longest_wait_s, 2) for one in stations},
        "wall": wall.station,
        "wall_at_times": float(f"{wall.times:.2g}"),
        "wall_at_times_with": {name: float(f"{wall_of(other, costs).times:.2g}") for name, other in moved.items()},
    }


def _sqlite() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return _store(f"sqlite:///{folder}/metadata.db")


def _store(url: str) -> dict[str, float]:
    """Plans read and ledger entries written a second, by eight threads of one process as in the metadata actor."""
    with closing(MetadataService(url)) as service:
        now = datetime.now(UTC)
        for number in range(MODELS):
            name = f"m{number}"
            service.models.register_version(example_draft(name=name), key=name)
            service.plans.put_plan(ServingPlan(model=name, number=1, champion=1, created_at=now))

        def append(client: int, number: int) -> None:
            service.ledger.append_entry("churn", "note", "a reason", {"n": number}, key=f"{client}-{number}")

        def read(client: int, number: int) -> None:
            service.plans.get_plan(f"m{(number + client) % MODELS}")

        return {
            "ledger_entries_per_s": round(metadata.rate_of(append)),
            "plan_reads_per_s": round(metadata.rate_of(read)),
            "numbers_of_200_plans_per_s": round(1 / _median_s(service.plans.plan_numbers)),
        }


def _event_costs() -> tuple[float, float]:
    """Seconds of a batch of events, and of each row in it, by batches of few and of many rows."""
    few, many = 5, 1000
    spent = {rows: rows / ingest_events.measure_ingest(rows, 200)["rows_per_s"] for rows in (few, many)}
    row_s = max(spent[many] - spent[few], 0.0) / (many - few)
    return max(spent[few] - few * row_s, 0.0), row_s


def print_model_bytes() -> None:
    """Print the memory of one of many small models that are loaded in one process, each with its endpoint."""
    rows = np.random.default_rng(0).normal(size=(500, serving_overhead.COLUMNS))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    held = [serving_overhead.endpoint_of(model, rows) for _ in range(MODELS)]  # the first import what all need
    before = resident_bytes()
    held += [serving_overhead.endpoint_of(model, rows) for _ in range(MODELS)]
    print((resident_bytes() - before) / (len(held) - MODELS))


def _in_a_new_process(name: str) -> float:
    """What a function prints where no memory was used and given back before."""
    code = f"from benchmarks.sizing.costs import {name}; {name}()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=600)
    return float(done.stdout)


def _median_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
