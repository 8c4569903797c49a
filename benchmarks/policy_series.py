"""Series to judge retraining policies on: real ones, and generated ones whose drift is known."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

__all__ = ["GENERATED", "Series", "generated", "real_series"]

Floats = NDArray[np.float64]
START = datetime(2020, 1, 6, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[1]
KINDS = ("abrupt", "gradual", "recurring", "none")


@dataclass(frozen=True)
class Series:
    """A table, and how the laboratory is to read it."""

    table: pa.Table
    window: timedelta
    label_delay: timedelta
    first: int = 8
    label_time: str | None = None


def real_series() -> dict[str, Callable[[], Series]]:
    """Name -> how it is read; elec2 and bike sharing where ``POLICY_SERIES`` names their folder."""
    found: dict[str, Callable[[], Series]] = {"flights": flights}
    folder = os.environ.get("POLICY_SERIES")
    if folder:
        found["elec2"] = lambda: elec2(Path(folder) / "elec2" / "electricity.csv")
        found["bike_sharing"] = lambda: bike_sharing(Path(folder) / "bike_sharing" / "hour.csv")
    return found


def flights() -> Series:
    """The year of flights with the 42 features of the example, by week; a label comes when its flight lands."""
    sys.path.insert(0, str(ROOT / "examples" / "flights"))
    from flights import sources
    from flights.definitions import recent, weather

    from raymlops.features import point_in_time_join

    landings = sources.landings()
    names = ["sched_dep", "event_time", "late", "origin", "carrier", "dest", *sources.REQUEST_FIELDS]
    spine = landings.select(names).rename_columns(["event_time", "landed", *names[2:]])
    tables = {"weather": sources.weather(), "flights": landings}
    joined = point_in_time_join(spine, [weather, *recent], tables)
    left_out = {"origin", "carrier", "dest", "weather__wind_dir"}
    kept = [name for name in joined.column_names if name not in left_out]
    return Series(joined.select(kept), timedelta(days=7), timedelta(days=1), label_time="landed")


def elec2(path: Path) -> Series:
    """Half-hours of an electricity market: does the price rise? Windows of two weeks, labels after a day."""
    table = csv.read_csv(path)
    at = _instants(table.num_rows, timedelta(minutes=30))
    renamed = table.rename_columns([*table.column_names[:-1], "label"])
    return Series(renamed.append_column("event_time", at), timedelta(days=14), timedelta(days=1))


def bike_sharing(path: Path) -> Series:
    """Bikes hired in an hour; windows of two weeks, labels after a day."""
    table = csv.read_csv(path)
    at = np.asarray(table["dteday"].cast(pa.timestamp("us"))).astype("datetime64[us]")
    at = at + np.asarray(table["hr"]).astype("timedelta64[h]")
    kept = table.select(["season", "hr", "holiday", "weekday", "weathersit", "temp", "atemp", "hum", "windspeed"])
    kept = kept.append_column("label", table["cnt"].cast(pa.float64()))
    return Series(
        kept.append_column("event_time", pa.array(at).cast(pa.timestamp("us", tz="UTC"))),
        timedelta(days=14),
        timedelta(days=1),
    )


def generated(
    kind: str, seed: int, *, windows: int = 58, rows: int = 700, columns: int = 6, strength: float = 1.0
) -> Series:
    """Rows whose label rule moves as ``kind`` says: a rule of two classes over normal inputs.

    Args:
        kind: ``abrupt``: another rule at three instants; ``gradual``: it turns all the time; ``recurring``: two rules
            take turns; ``none``: it stays.
        seed: Of everything.
        windows: Windows of a week.
        rows: Rows a window.
        columns: Inputs.
        strength: How far the rule moves.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    total = windows * rows
    at = np.sort(rng.random(total)) * windows
    inputs = rng.normal(size=(total, columns))
    base, other = rng.normal(size=columns), rng.normal(size=columns)
    base, other = base / np.linalg.norm(base), other / np.linalg.norm(other)
    angle = strength * _angle(kind, at, windows, rng)
    # the rule turns in the plane of two directions, and keeps a part that never moves
    side = other - (other @ base) * base
    side /= np.linalg.norm(side)
    score = 2.2 * (np.cos(angle) * (inputs @ base) + np.sin(angle) * (inputs @ side)) + np.sin(2 * inputs[:, 0])
    label = (rng.random(total) < 1 / (1 + np.exp(-score))).astype(np.int64)
    made: dict[str, Any] = {f"x{index}": inputs[:, index] for index in range(columns)}
    made["event_time"] = pa.array((at * 7 * 86_400_000_000).astype(np.int64) + _us(START)).cast(_INSTANT)
    return Series(pa.table(made | {"label": label}), timedelta(days=7), timedelta(days=1))


GENERATED: dict[str, Callable[[], Series]] = {
    "abrupt": lambda: generated("abrupt", 1),
    "gradual": lambda: generated("gradual", 2),
    "recurring": lambda: generated("recurring", 3),
    "none": lambda: generated("none", 4),
}

_INSTANT = pa.timestamp("us", tz="UTC")


def _angle(kind: str, at: Floats, windows: int, rng: np.random.Generator) -> Floats:
    if kind == "abrupt":
        changes = np.sort(rng.uniform(9, windows - 4, 3))
        turns = rng.uniform(0.5, 1.4, 3) * rng.choice([-1, 1], 3)
        return np.asarray((at[:, None] > changes[None, :]) @ turns)
    if kind == "gradual":
        return np.asarray(at * rng.uniform(0.02, 0.05))
    if kind == "recurring":
        length = rng.uniform(8, 14)
        return np.asarray(np.where((at // length) % 2 == 0, 0.0, rng.uniform(0.6, 1.2)))
    return np.zeros(len(at))


def _instants(count: int, step: timedelta) -> pa.Array:
    return pa.array(_us(START) + np.arange(count, dtype=np.int64) * (step // timedelta(microseconds=1))).cast(_INSTANT)


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
