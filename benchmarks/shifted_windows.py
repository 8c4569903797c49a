"""A generated family of covariate shifts: windows whose inputs have moved, and what a model's AUC in them truly is.

Six worlds (linear, curved, steps, a column of groups beside heavy tails, twenty columns, missing values), six models of
each (well calibrated, overfitted, one that does not see a column the shift moves along, miscalibrated ones), eight ways
to shift and three strengths. A shift draws rows from a large pool with a chance that depends on inputs alone, so what
follows from the inputs stays as it was; the truth is the AUC over the whole pool under these chances, from the true
probabilities. Regressors live in the same worlds: the value is twice the log odds, and its noise grows along a column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from xgboost import XGBClassifier, XGBRegressor

__all__ = ["Case", "RegressionCase", "area", "draw_case", "draw_regression_case", "table"]

POOL = 120_000
TRAINING_ROWS = 5_000
WINDOWS = (500, 1_000, 2_000, 5_000)
HOLDOUTS = (3_000, 6_000, 10_000)
STRENGTHS = (0.5, 1.0, 1.5)
SHIFTS = ("none", "translate", "direction", "widen", "narrow", "mixture", "score", "correlate")
MODELS = ("logistic", "boosted", "overfit", "blind", "miscalibrated", "bayes")

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


@dataclass(frozen=True)
class Case:
    """One holdout and one window."""

    world: str
    model: str
    shift: str
    strength: float
    holdout: Floats
    holdout_scores: Floats
    holdout_labels: Floats
    window: Floats
    scores: Floats
    labels: Floats
    truth: float
    """AUC over all rows that the window is drawn from."""

    @property
    def rows(self) -> int:
        """Rows of the window."""
        return self.scores.size


def draw_case(number: int) -> Case:
    """The case of a number; worlds and models take turns, the rest is drawn."""
    rng = np.random.default_rng([77, number])
    world, model = list(WORLDS)[number % len(WORLDS)], MODELS[number // len(WORLDS) % len(MODELS)]
    shift = SHIFTS[rng.integers(len(SHIFTS))]
    strength = float(rng.choice(STRENGTHS))
    rows, holdout_rows = int(rng.choice(WINDOWS)), int(rng.choice(HOLDOUTS))
    draw = WORLDS[world]
    inputs, chances = draw(rng, TRAINING_ROWS)
    score = _fit(model, inputs, rng.random(TRAINING_ROWS) < chances)
    holdout, holdout_chances = draw(rng, holdout_rows)
    holdout_labels = (rng.random(holdout_rows) < holdout_chances).astype(np.float64)
    pool, pool_chances = draw(rng, POOL)
    pool_scores = score(pool)
    density = _density(shift, strength, pool, pool_scores, rng)
    drawn = rng.choice(POOL, size=rows, p=density)
    return Case(
        world,
        model,
        shift,
        0.0 if shift == "none" else strength,
        holdout,
        score(holdout),
        holdout_labels,
        pool[drawn],
        pool_scores[drawn],
        (rng.random(rows) < pool_chances[drawn]).astype(np.float64),
        area(pool_scores, pool_chances, density),
    )


@dataclass(frozen=True)
class RegressionCase:
    """One holdout and one window of a regressor."""

    holdout: Floats
    holdout_values: Floats
    holdout_labels: Floats
    window: Floats
    values: Floats
    labels: Floats
    truth: float
    """RMSE over all rows that the window is drawn from."""


def draw_regression_case(number: int) -> RegressionCase:
    """The case of a number; worlds and the three models take turns, the rest is drawn."""
    rng = np.random.default_rng([78, number])
    draw, model = list(WORLDS.values())[number % len(WORLDS)], number // len(WORLDS) % 3
    rows, holdout_rows = int(rng.choice(WINDOWS)), int(rng.choice(HOLDOUTS))
    shift, strength = SHIFTS[rng.integers(len(SHIFTS))], float(rng.choice(STRENGTHS))

    def drawn(size: int) -> tuple[Floats, Floats, Floats]:
        inputs, chances = draw(rng, size)
        return inputs, 2 * logit(chances), np.exp(0.4 * np.clip(np.nan_to_num(inputs[:, 1]), -3, 3))

    def labelled(mean: Floats, noise: Floats) -> Floats:
        return mean + noise * rng.normal(size=mean.size)

    inputs, mean, noise = drawn(TRAINING_ROWS)
    middle, seen = np.nanmedian(inputs, axis=0), slice(1 if model == 1 else 0, None)
    regressor = XGBRegressor(n_estimators=80, max_depth=4, n_jobs=1) if model == 2 else LinearRegression()
    regressor.fit(_filled(inputs, middle)[:, seen], labelled(mean, noise))

    def value(rows: Floats) -> Floats:
        return np.asarray(regressor.predict(_filled(rows, middle)[:, seen]), dtype=np.float64)

    holdout, holdout_mean, holdout_noise = drawn(holdout_rows)
    pool, pool_mean, pool_noise = drawn(POOL)
    values = value(pool)
    density = _density(shift, strength, pool, values.argsort().argsort() / POOL, rng)
    places = rng.choice(POOL, size=rows, p=density)
    return RegressionCase(
        holdout,
        value(holdout),
        labelled(holdout_mean, holdout_noise),
        pool[places],
        values[places],
        labelled(pool_mean[places], pool_noise[places]),
        float(np.sqrt(density @ ((values - pool_mean) ** 2 + pool_noise**2))),
    )


def table(inputs: Floats) -> pa.Table:
    """Inputs as a table of columns ``c0``, ``c1`` ..."""
    return pa.table({f"c{number}": column for number, column in enumerate(inputs.T)})


def area(scores: Floats, chances: Floats, weights: Floats | None = None) -> float:
    """Expected AUC of scores whose labels are 1 with some chances; NaN where there is one class alone."""
    weights = np.ones(scores.size) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positives = np.add.reduceat((weights * chances)[order], starts)
    negatives = np.add.reduceat((weights * (1 - chances))[order], starts)
    pairs = positives.sum() * negatives.sum()
    return float(positives @ (np.cumsum(negatives) - negatives / 2) / pairs) if pairs > 0 else float("nan")


def _linear(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    mix = np.linalg.cholesky(0.3 + 0.7 * np.eye(6))
    inputs = rng.normal(size=(rows, 6)) @ mix.T
    return inputs, expit(inputs @ np.array([1.0, -0.8, 0.6, 0.4, 0, 0]) - 0.5)


def _curved(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    x = rng.normal(size=(rows, 5))
    return x, expit(0.8 * (x[:, 0] ** 2 - 1) + x[:, 1] * x[:, 2] + 0.6 * x[:, 3] - 0.4)


def _steps(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    x = rng.normal(size=(rows, 5))
    return x, expit(1.6 * np.where(x[:, 0] > 0.2, np.sign(x[:, 1]), -0.4) + (x[:, 2] > 0.8) - 0.6)


def _groups(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    group = rng.choice(8, size=rows, p=[0.3, 0.2, 0.15, 0.1, 0.1, 0.07, 0.05, 0.03])
    heavy, even = rng.lognormal(0, 0.8, size=(rows, 2)), rng.random((rows, 2))
    effect = np.array([-1.2, 0.5, 1.1, -0.3, 0.8, -0.9, 1.5, -1.6])[group]
    chances = expit(effect + 0.7 * np.log(heavy[:, 0]) + 1.5 * (even[:, 0] - 0.5) - 0.4)
    return np.column_stack([group, heavy, even]), chances


def _wide(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    x = rng.normal(size=(rows, 20))
    bent = 1.2 * np.sin(1.5 * x[:, 0]) + 0.5 * np.abs(x[:, 3])
    return x, expit(bent + 0.7 * x[:, 1] - 0.5 * x[:, 2] + 0.4 * x[:, 4] - 0.8)


def _gaps(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    x = rng.normal(size=(rows, 6))
    chances = expit(1.1 * x[:, 0] + 0.7 * x[:, 1] - 0.5 * x[:, 2] ** 2 + 0.2)
    x[rng.random(rows) < 0.15, 0] = np.nan
    x[rng.random(rows) < 0.1, 1] = np.nan
    return x, chances


WORLDS: dict[str, World] = {
    "linear": _linear,
    "curved": _curved,
    "steps": _steps,
    "groups": _groups,
    "wide": _wide,
    "gaps": _gaps,
}


def _fit(model: str, inputs: Floats, labels: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """A fitted model's scores as a function of inputs."""
    if model in {"boosted", "overfit"}:
        trees, depth, rate = (60, 4, 0.1) if model == "boosted" else (200, 6, 0.3)
        booster = XGBClassifier(n_estimators=trees, max_depth=depth, learning_rate=rate, n_jobs=1).fit(inputs, labels)
        return lambda rows: _cut(booster.predict_proba(rows)[:, 1])
    middle, seen = np.nanmedian(inputs, axis=0), slice(1 if model == "blind" else 0, None)
    fitted = GaussianNB() if model == "bayes" else LogisticRegression(max_iter=500)
    fitted.fit(_filled(inputs, middle)[:, seen], labels)

    def score(rows: Floats) -> Floats:
        said = _cut(fitted.predict_proba(_filled(rows, middle)[:, seen])[:, 1])
        return expit(0.6 * logit(said) + 0.8) if model == "miscalibrated" else said

    return score


def _filled(rows: Floats, middle: Floats) -> Floats:
    return np.where(np.isnan(rows), middle, rows)


def _cut(probabilities: Floats) -> Floats:
    return np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)


def _density(shift: str, strength: float, rows: Floats, scores: Floats, rng: np.random.Generator) -> Floats:
    """Chance of each row of the pool to be drawn."""
    z = np.nan_to_num((rows - np.nanmean(rows, axis=0)) / np.nanstd(rows, axis=0))
    if shift == "direction":
        along = rng.normal(size=rows.shape[1])
        tilt = z @ (along / np.linalg.norm(along))
    elif shift == "score":
        tilt = -2.5 * np.abs(scores - rng.choice([0.3, 0.5, 0.7]))
    elif shift == "mixture":
        tilt = np.log1p((np.exp(2 * strength) - 1) * (z[:, 1] > 0.7)) / strength
    else:
        tilt = {
            "none": np.zeros(len(z)),
            "translate": z[:, 0],
            "widen": 0.12 * np.minimum(z[:, :2] ** 2, 9).sum(axis=1),
            "narrow": -0.6 * z[:, 0] ** 2 - 0.3 * z[:, 1] ** 2,
            "correlate": 0.7 * np.clip(z[:, 0] * z[:, 1], -3, 3),
        }[shift]
    density = np.exp(strength * (tilt - tilt.max()))
    return np.asarray(density / density.sum())
