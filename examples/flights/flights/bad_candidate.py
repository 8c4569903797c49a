"""A candidate that is bad on purpose, to show that the loop takes it out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from xgboost import XGBClassifier

from flights.definitions import SERVICE
from flights.spine import spine

if TYPE_CHECKING:
    from raymlops.platform import Platform

__all__ = ["start_bad_trial"]

_ROWS = 20_000
MODEL = "flight-delay"
REASON = "deliberately bad: the demo fitted it to shuffled labels, to show that it is taken out again"


def start_bad_trial(platform: Platform, seed: int) -> int:
    """Fit a model to shuffled labels, register it and put it on trial, as a careless user might.

    Returns:
        Its version.
    """
    plan = platform.endpoints.plan(MODEL)
    champion = platform.models.get(MODEL, plan.champion)
    inputs = [column.name for column in champion.manifest.signature.inputs]
    rows = platform.features.training_set(SERVICE.name, _spine(platform), name="bad-candidate").table()
    labels = np.random.default_rng(seed).permutation(rows["label"].to_numpy())
    frame = np.column_stack([rows[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in inputs])
    model = XGBClassifier(n_estimators=20, max_depth=8, n_jobs=1, random_state=seed).fit(frame, labels)
    example = pa.table({name: frame[:16, place] for place, name in enumerate(inputs)})
    version = platform.models.register(MODEL, model, example=example).version
    platform.endpoints.trial(MODEL, version, mode="canary", weight=0.3, reason=REASON)
    return version


def _spine(platform: Platform) -> pa.Table:
    from raymlops.clock import from_us

    rows = spine(platform.features, from_us(0), platform.clock.now())
    return rows.slice(max(0, rows.num_rows - _ROWS))
