"""Tables of strangers, in three shapes, with what goes wrong in them."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal

import numpy as np
import pyarrow as pa

START = np.datetime64("2012-08-01T00:00:00", "us")
"""So that all rows lie before the instant at which the clock of the tests with Ray starts."""


def _times(rng: np.random.Generator, rows: int, days: int) -> np.ndarray:
    seconds = np.sort(rng.integers(0, days * 86_400, rows))
    return START + seconds.astype("timedelta64[s]")


def _instants(values: np.ndarray) -> pa.Array:
    return pa.array(values.astype("datetime64[us]"), pa.timestamp("us", tz="UTC"))


def orders(rows: int = 3000, *, seed: int = 0) -> pa.Table:
    """Two classes, a customer who comes back, a category, a time before the row's, a column that tells the label."""
    rng = np.random.default_rng(seed)
    at = _times(rng, rows, 200)
    customer = rng.integers(0, 60, rows)
    amount = np.round(np.exp(rng.normal(3, 1, rows)), 2)
    channel = rng.choice(["web", "app", "shop"], rows)
    chance = 1 / (1 + np.exp(-(rng.normal(0, 2.0, 60)[customer] + 0.8 * np.log(amount) - 3 + (channel == "web"))))
    returned = rng.random(rows) < chance
    return pa.table(
        {
            "order_id": [f"o{number}" for number in range(rows)],
            "customer_id": [None if n % 97 == 0 else f"c{number}" for n, number in enumerate(customer)],
            "ordered_at": _instants(at),
            "amount": amount,
            "items": rng.integers(1, 9, rows),
            "Sales Channel": channel,
            "joined_at": _instants(at - rng.integers(1, 900 * 86_400, rows).astype("timedelta64[s]")),
            "express": rng.random(rows) < 0.3,
            "shipped_at": _instants(at + np.timedelta64(3600, "s")),
            "refund_code": [("R1" if each else None) for each in returned],
            "returned": ["yes" if each else "no" for each in returned],
        }
    )


def houses(rows: int = 1500, *, seed: int = 1) -> pa.Table:
    """Numbers to predict, one row per thing, times without a zone."""
    rng = np.random.default_rng(seed)
    area, noise = rng.random(rows) * 100, rng.normal(size=rows)
    price = 3000 * area + 20_000 * noise + rng.normal(size=rows) * 5000
    return pa.table(
        {
            "id": np.arange(rows),
            "sold": pa.array(_times(rng, rows, 150)),
            "area": area,
            'Lage "gut"': rng.choice(["a", "b", "c"], rows),
            "noise": noise,
            "price": price,
        }
    )


def kinds(rows: int = 1200) -> pa.Table:
    """Houses with a column of every type."""
    rng, table = np.random.default_rng(3), houses(rows)
    days = rng.integers(0, 27, rows)
    added = {
        "dictionary": pa.array(rng.choice(["p", "q"], rows)).dictionary_encode(),
        "decimal": pa.array([Decimal(int(each)) / 4 for each in days], pa.decimal128(12, 2)),
        "date": pa.array([date(2010, 1, 1 + int(each)) for each in days]),
        "naive": pa.array(np.datetime64("2011-01-01T00:00:00", "us") + days.astype("timedelta64[D]")),
        "time of day": pa.array([time(int(each) % 24) for each in days]),
        "duration": pa.array(days.astype("timedelta64[s]")),
        "list": pa.array([[1, 2]] * rows),
        "uint64": pa.array(days.astype("uint64")),
        "float32": pa.array(rng.normal(size=rows).astype("float32")),
        "large text": pa.array(rng.choice(["x", "y"], rows), pa.large_string()),
        "binary": pa.array([b"ab"] * rows),
        "bool": pa.array([None if n % 3 == 0 else bool(n % 2) for n in range(rows)]),
        "int with nulls": pa.array([None if n % 3 == 0 else n % 7 for n in range(rows)]),
        "null": pa.nulls(rows),
        "infinite": pa.array(np.where(rng.random(rows) < 0.1, np.inf, rng.normal(size=rows))),
        "int8": pa.array(rng.integers(-5, 5, rows).astype("int8")),
    }
    for name, values in added.items():
        table = table.append_column(name, values)
    return table


def tickets(rows: int = 2500, *, seed: int = 2) -> pa.Table:
    """Four classes, categories, free texts."""
    rng = np.random.default_rng(seed)
    team = rng.integers(0, 4, rows)
    kind = np.where(rng.random(rows) < 0.7, team, rng.integers(0, 4, rows))
    return pa.table(
        {
            "created": pa.array(_times(rng, rows, 150)),
            "team": np.array(["red", "blue", "green", "grey"])[team],
            "size": rng.integers(0, 1000, rows) + 100 * team,
            "title": [f"ticket {number} of many words" for number in range(rows)],
            "kind": np.array(["bug", "feature", "question", "spam"])[kind],
        }
    )
