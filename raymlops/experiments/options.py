"""Options of a fit around the estimator: the rows, their weights, and the calibration.

These stand in a search space beside the estimator's own parameters, under names that the platform keeps for itself::

    window_days: {choice: [null, 90, 30]}        # all rows, or a window that slides with the newest of them
    half_life_days: {choice: [null, 45]}         # rows count half as much for every 45 days of age: recent ones most
    class_weight: {choice: [null, balanced]}     # each class weighs the same in all
    calibration: {choice: [null, isotonic, sigmoid]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, ValidationError, model_validator

from raymlops.errors import ConfigError, NotEnoughRows, SchemaMismatch
from raymlops.records.learning.tasks import LearningTask
from raymlops.records.record import Record

if TYPE_CHECKING:
    from raymlops.experiments.task import FloatArray, IntArray

__all__ = ["CALIBRATION_SHARE", "OPTIONS", "FitOptions", "split_options"]

CALIBRATION_SHARE = 0.2
"""The newest rows, which are held out from the fit and only calibrate."""
_DAY_US = 86_400_000_000


class FitOptions(Record):
    """Options of one trial; the defaults fit on all rows alike, and leave the probabilities as they are."""

    window_days: float | None = Field(None, gt=0.0)
    """Fit on the rows of so many days before the newest."""
    half_life_days: float | None = Field(None, gt=0.0)
    """Age at which a row weighs half of the newest."""
    class_weight: Literal["balanced"] | None = None
    """Weigh rows by the rarity of their class; the rows that calibrate are not weighed, so that shares come out."""
    calibration: Literal["isotonic", "sigmoid"] | None = None
    """Map the probabilities to the shares seen in the newest rows."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        # a choice may be written as a word where YAML has no better one
        return {n: None if v in {"none", "all"} else v for n, v in given.items()} if isinstance(given, dict) else given

    @property
    def weighs(self) -> bool:
        """Whether rows weigh differently."""
        return self.half_life_days is not None or self.class_weight is not None

    def check(self, task: LearningTask) -> Self:
        """Refuse what the task has no use for.

        Raises:
            ConfigError: Class weights or calibration of a regression.
        """
        if task.kind == "regressor" and (self.class_weight or self.calibration):
            raise ConfigError("class_weight and calibration are for classifiers, the task is a regression")
        return self

    def rows(self, table: pa.Table, task: LearningTask) -> pa.Table:
        """The rows of the window, in their order.

        Raises:
            SchemaMismatch: There is a window, and no column of times.
        """
        if self.window_days is None or not table.num_rows:
            return table
        times = _times_us(table, task)
        return table.filter(pa.array(times > times.max() - int(self.window_days * _DAY_US)))

    def parted(self, table: pa.Table) -> tuple[pa.Table, pa.Table | None]:
        """Rows to fit on, and rows to calibrate with: the newest, where there is a calibration.

        Raises:
            NotEnoughRows: One of them would be empty.
        """
        if self.calibration is None:
            return table, None
        cut = int(table.num_rows * (1.0 - CALIBRATION_SHARE))
        if cut in {0, table.num_rows}:
            raise NotEnoughRows(f"calibration needs rows to fit on and rows to hold out, got {table.num_rows}")
        return table.slice(0, cut), table.slice(cut)

    def weights(self, table: pa.Table, labels: FloatArray | IntArray, task: LearningTask) -> FloatArray | None:
        """A weight per row, 1 in the mean; ``None`` where all weigh the same.

        Raises:
            SchemaMismatch: Age counts, and there is no column of times.
        """
        if not self.weighs:
            return None
        weights = np.ones(table.num_rows)
        if self.half_life_days is not None:
            times = _times_us(table, task)
            weights *= 0.5 ** ((times.max() - times) / (self.half_life_days * _DAY_US))
        if self.class_weight is not None:
            picked = labels.astype(np.int64)
            totals = np.bincount(picked, weights=weights, minlength=task.classes)
            weights *= (1.0 / np.where(totals > 0, totals, 1.0))[picked]
        scaled: FloatArray = weights * (table.num_rows / weights.sum())
        return scaled


OPTIONS = frozenset(FitOptions.model_fields)
"""Names in a search space that are not the estimator's own."""


def split_options(params: Mapping[str, Any]) -> tuple[dict[str, Any], FitOptions]:
    """The estimator's own parameters, and what the platform does around it.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """
    own = {name: value for name, value in params.items() if name not in OPTIONS}
    try:
        return own, FitOptions.model_validate({name: params[name] for name in OPTIONS.intersection(params)})
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise ConfigError(f"options of a trial: {'; '.join(problems)}") from error


def _times_us(table: pa.Table, task: LearningTask) -> IntArray:
    if task.event_time not in table.column_names:
        raise SchemaMismatch(
            f"window_days and half_life_days need the column {task.event_time!r}", column=task.event_time
        )
    instants = table[task.event_time].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return np.asarray(instants.to_numpy(), dtype=np.int64)
