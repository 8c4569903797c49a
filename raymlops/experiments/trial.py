"""One trial: one family with one set of parameters, and its result."""

from __future__ import annotations

from pydantic import Field

from raymlops.records.record import Record

__all__ = ["ParameterValue", "TrialResult", "TrialSpec"]

ParameterValue = str | int | float | bool | None


class TrialSpec(Record):
    """The specification of a trial."""

    number: int
    """0, 1, 2 ... without gaps in a search; identifies the trial."""
    family: str
    params: dict[str, ParameterValue] = Field(default_factory=dict)
    seed: int = 0
    origin: str = "sampled"
    """``sampled``, or ``champion`` for a warm start."""


class TrialResult(Record):
    """The result of a trial."""

    spec: TrialSpec
    metrics: dict[str, float] = Field(default_factory=dict)
    """On the validation rows; empty where the trial failed."""
    seconds: float = 0.0
    """Wall time."""
    best_iteration: int | None = None
    """Rounds of boosting that were best on the validation rows, where it stops early."""
    stopped_at: int | None = None
    """Rounds after which it was given up for being behind the others; such a trial is never selected."""
    error: str | None = None
    """``Type: message`` of a trial that failed."""

    @property
    def fitted_params(self) -> dict[str, ParameterValue]:
        """Parameters that build the judged model again without validation rows."""
        params = {name: value for name, value in self.spec.params.items() if name != "early_stopping_rounds"}
        return params if self.best_iteration is None else {**params, "n_estimators": self.best_iteration}
