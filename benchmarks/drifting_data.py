"""Tables that do not drift: independent rows of many shapes, and rows that resemble their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

from raymlops.monitoring import Profile, Reference

__all__ = ["INDEPENDENT", "SERIAL", "Independent", "draw_profile", "draw_table", "serial_table"]

DAY_ROWS = 96
LETTERS = np.array(list("abcdefghij"))
RARE = np.array([f"v{number}" for number in range(200)])
ZIPF = 1 / np.arange(1, RARE.size + 1) / np.sum(1 / np.arange(1, RARE.size + 1))

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]


@dataclass(frozen=True)
class Independent:
    """One column whose rows are independent: numbers with a distribution function, or values with their shares."""

    law: stats.rv_continuous | None = None
    values: NDArray[np.str_] | None = None
    shares: Floats | None = None

    def draw(self, rng: np.random.Generator, rows: int) -> pa.Array:
        """Values of the column."""
        if self.law is not None:
            return pa.array(self.law.rvs(size=rows, random_state=rng))
        return pa.array(rng.choice(self.values, rows, p=self.shares))

    def slot_shares(self, reference: Reference, column: str) -> Floats:
        """True share of each slot of the reference's bins."""
        bins = reference.bins(column)
        if self.law is not None:
            below = self.law.cdf(np.asarray(bins.edges))
            return np.r_[np.diff(np.r_[0.0, below, 1.0]), 0.0, 0.0]
        assert self.values is not None
        assert self.shares is not None
        share = dict(zip(self.values.tolist(), self.shares.tolist(), strict=True))
        own, other = [share[name] for name in bins.categories], sum(share[name] for name in bins.others)
        return np.r_[own, other, max(0.0, 1 - sum(own) - other), 0.0, 0.0]


INDEPENDENT: dict[str, tuple[Independent, ...]] = {
    "normal": (Independent(stats.norm),),
    "lognormal": (Independent(stats.lognorm(1.0)),),
    "student_t2": (Independent(stats.t(2)),),
    "cauchy": (Independent(stats.cauchy),),
    "ten_categories": (Independent(values=LETTERS, shares=np.full(10, 0.1)),),
    "200_categories": (Independent(values=RARE, shares=ZIPF),),
}
INDEPENDENT["mixed"] = tuple(column for columns in INDEPENDENT.values() for column in columns)


def draw_table(family: str, rng: np.random.Generator, rows: int, columns: int) -> pa.Table:
    """Independent rows; the family's columns in turn."""
    kinds = INDEPENDENT[family]
    return pa.table({f"c{index}": kinds[index % len(kinds)].draw(rng, rows) for index in range(columns)})


def draw_profile(family: str, rng: np.random.Generator, reference: Reference, rows: int) -> Profile:
    """The profile of a table of independent rows, without the rows: counts on frozen bins are multinomial."""
    kinds = INDEPENDENT[family]
    counts = {
        name: rng.multinomial(rows, kinds[index % len(kinds)].slot_shares(reference, name))
        for index, name in enumerate(reference.columns)
    }
    return Profile(reference.digest, rows, counts)


def _autoregression(memory: float) -> Draw:
    def draw(rng: np.random.Generator, rows: int, _: int) -> Floats:
        noise = rng.normal(size=rows)
        noise[1:] *= np.sqrt(1 - memory**2)
        return np.asarray(lfilter([1.0], [1.0, -memory], noise))

    return draw


def _daily(rng: np.random.Generator, rows: int, first: int) -> Floats:
    """A daily wave, one and a half times as high as the weather on it, from one row of the day on."""
    wave = np.sin(2 * np.pi * (np.arange(rows) + first) / DAY_ROWS)
    return np.asarray(1.5 * wave + _autoregression(0.5)(rng, rows, first))


SERIAL: dict[str, tuple[Draw, bool]] = {
    "autoregression_0.5": (_autoregression(0.5), False),
    "autoregression_0.9": (_autoregression(0.9), False),
    "autoregression_0.99": (_autoregression(0.99), False),
    "daily_season": (_daily, False),
    "categories_autoregression_0.9": (_autoregression(0.9), True),
}
"""Name -> how one column is drawn (of so many rows, from which row of the day on), and whether it is cut into eight
categories."""


def serial_table(family: str, rng: np.random.Generator, rows: int, columns: int) -> pa.Table:
    """Columns whose rows resemble their neighbours; all begin at one time of the day, which is any."""
    draw, categorical = SERIAL[family]
    first = int(rng.integers(0, DAY_ROWS))
    made = {}
    for index in range(columns):
        values = draw(rng, rows, first)
        made[f"c{index}"] = LETTERS[np.digitize(values, np.linspace(-1.5, 1.5, 7))] if categorical else values
    return pa.table(made)
