"""Tables of strangers, in three shapes, with what goes wrong in them."""

from __future__ import annotations

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
