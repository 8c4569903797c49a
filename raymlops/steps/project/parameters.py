"""Parameters of the standard training pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from raymlops.errors import ConfigError
from raymlops.experiments.evaluation import Rule
from raymlops.experiments.searching.halving import HalvingRule
from raymlops.experiments.searching.search_space import SearchSpace
from raymlops.records.bundles import ProjectSpec
from raymlops.records.record import Instant

__all__ = ["QualityRules", "TrainingParameters", "training_parameters"]


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QualityRules(_Parameters):
    """What data must be like to be trained on; ``None`` switches a rule off."""

    min_rows: int = Field(500, ge=1)
    """Labelled rows in all."""
    min_holdout_rows: int = Field(100, ge=1)
    """Labelled rows in the holdout."""
    max_missing_share: float | None = Field(0.98, ge=0.0, le=1.0)
    """Of any input, over all rows."""
    max_missing_increase: float | None = Field(0.5, ge=0.0, le=1.0)
    """Of any input's missing share, from the older rows to the holdout."""
    max_duplicate_share: float | None = Field(0.2, ge=0.0, le=1.0)
    """Of rows that repeat another one in every column."""
    frozen_mode_share: float | None = Field(0.5, ge=0.0, le=1.0)
    """A feature is frozen where it has one value in the holdout, and no value had this share of the older rows."""
    min_class_share: float = Field(0.001, ge=0.0, le=0.5)
    """Of every class, among all rows."""
    max_label_share_change: float | None = Field(0.5, ge=0.0, le=1.0)
    """Of any class's share, from the older rows to the holdout."""
    max_staleness_days: float | None = Field(None, gt=0.0)
    """How much older than ``as_of`` the newest row may be."""


class TrainingParameters(_Parameters):
    """Parameters of a run; those of the project are its defaults."""

    as_of: Instant | None = None
    """No data after it is used; by default the run's start."""
    train_window_days: float | None = Field(None, gt=0.0)
    """How far back from ``as_of`` rows are taken; by default all."""
    label_maturity_days: float = Field(0.0, ge=0.0)
    """Rows younger than this at ``as_of`` are left out, labelled or not. Where labels come by what they say (a default
    is known early, a good loan at the end of its term), the labels known first are no sample of all."""
    holdout_days: float = Field(14.0, gt=0.0)
    """The newest rows, which only judge."""
    validation_share: float = Field(0.2, gt=0.0, lt=1.0)
    """Of the rows before the holdout: the newest of them, which select among trials."""
    max_rows: int | None = Field(None, ge=1)
    """Rows before the holdout are sampled down to so many; the holdout is never sampled."""
    seed: int = Field(0, ge=0)
    """Draws trials, samples of rows and intervals: equal seeds give equal models."""
    knowledge_cutoff: bool = False
    """Whether features must have been known, and not only true, at the time of a row."""
    trials: int = Field(8, ge=1)
    """Sampled trials; the champion's parameters are tried besides."""
    search_rows: int | None = Field(None, ge=1)
    """Trials fit on a sample of so many rows; the winner is always fitted on all."""
    sampler: Literal["drawn", "grid", "tpe"] = "drawn"
    """``drawn`` beforehand as a Latin hypercube, the whole ``grid`` (of at most ``trials``), or one by one by Optuna's
    ``tpe``, which learns from the trials before."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once, at most; by default as many as CPUs are free. With 1, a search that learns or gives trials up
    comes to the same result every time."""
    search_budget_s: float | None = Field(None, gt=0.0)
    """No trial starts after so many seconds; the first always does."""
    halving: HalvingRule | None = None
    """Give up trials of ``xgboost`` and ``lightgbm`` that are behind the others: ``experiments.searching.halving``."""
    skip_unchanged: bool = True
    """Train nothing where data, code, libraries and parameters are those that the champion came from."""
    search: dict[str, dict[str, Any]] = {
        "xgboost": {
            "n_estimators": 600,
            "early_stopping_rounds": 30,
            "learning_rate": {"log_uniform": [0.03, 0.2]},
            "max_depth": {"int": [3, 9]},
            "min_child_weight": {"log_uniform": [1.0, 50.0]},
            "subsample": {"uniform": [0.6, 1.0]},
            "colsample_bytree": {"uniform": [0.4, 1.0]},
            "reg_lambda": {"log_uniform": [0.1, 20.0]},
        },
        "logistic": {"C": {"log_uniform": [0.001, 10.0]}},
    }
    """Family -> parameter -> constant or range, see ``experiments.searching.search_space``."""
    rule: Rule = "not_worse"
    """What a candidate must reach against the champion; against the constant baseline where there is none."""
    tolerance: float = Field(0.0, ge=0.0)
    """In units of the loss, see ``experiments.evaluation.verdict``."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Of the intervals that the verdict about a candidate is drawn from."""
    bootstrap_rounds: int = Field(1000, ge=100)
    """Times that the holdout is drawn anew for an interval."""
    block_hours: float = Field(24.0, ge=0.0)
    """Length of the blocks of time that intervals are drawn over; 0 draws rows."""
    slices: tuple[str, ...] = ()
    """Columns of the spine or of the features whose values are judged apart."""
    slice_min_rows: int = Field(200, ge=1)
    """A value with fewer rows in the holdout is not judged apart."""
    slice_tolerance: float | None = Field(None, ge=0.0)
    """Refuse where the candidate is significantly worse by more than this on a slice; ``None`` only reports."""
    slice_max_loss_ratio: float | None = Field(None, gt=1.0)
    """Refuse where the loss on a slice is significantly more than so many times that on the whole holdout."""
    max_calibration_error: float | None = Field(None, gt=0.0, lt=1.0)
    """Refuse where predicted probabilities and seen shares differ by more in the mean (ECE)."""
    refit: bool = True
    """Fit the accepted candidate's parameters anew on all rows, the holdout included."""
    monitor_window_days: float | None = Field(7.0, gt=0.0)
    """Length of the monitoring windows that the model's reference is calibrated for."""
    infra_timeout_s: float = Field(120.0, gt=0.0)
    """How long the packaged model may take to load and answer in a process like the one that serves it."""
    quality: QualityRules = QualityRules()
    """What the data must be like."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        least = self.holdout_days + self.label_maturity_days
        if self.train_window_days is not None and self.train_window_days <= least:
            raise ValueError(
                f"train_window_days must be above holdout_days and label_maturity_days together ({least}), "
                f"got {self.train_window_days}"
            )
        SearchSpace(self.search)
        return self


def training_parameters(project: ProjectSpec, overrides: Mapping[str, Any]) -> TrainingParameters:
    """The parameters of a run: the defaults, the project's, the run's, later ones first.

    ``quality`` is merged rule by rule; every other parameter is replaced as a whole.

    Raises:
        ConfigError: A parameter is not known, or its value is not allowed.
    """
    merged: dict[str, Any] = {**project.training, **overrides}
    layers = [layer.get("quality", {}) for layer in (project.training, overrides)]
    if all(isinstance(layer, Mapping) for layer in layers):
        merged["quality"] = {
            name: value for layer in layers for name, value in cast("Mapping[str, Any]", layer).items()
        }
    try:
        return TrainingParameters.model_validate(merged)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'parameters'}: {e['msg']}, got {e['input']!r}" for e in error.errors()
        ]
        raise ConfigError(f"training parameters of {project.name!r}: {'; '.join(problems)}") from error
