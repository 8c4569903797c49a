"""When to retrain, and how a candidate earns its place."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from raymlops.config.section import Duration, Section, Share, Span
from raymlops.config.section import parse_duration as _d

__all__ = [
    "ControlConfig",
    "DriftCount",
    "HealthConfig",
    "RetrainConfig",
    "TrialConfig",
    "TriggersConfig",
    "WindowCount",
]


class WindowCount(Section):
    """N of the last M closed windows."""

    n: int = Field(2, ge=1)
    """So many windows must be flagged, the newest among them."""
    of: int = Field(3, ge=1)
    """So many windows are looked at."""

    @model_validator(mode="after")
    def _n_within_m(self) -> Self:
        if self.n > self.of:
            raise ValueError(f"n must not exceed of, which is {self.of}")
        return self


class DriftCount(WindowCount):
    """N of the last M closed windows raise an alarm, which stands until windows are clearly calm."""

    clear_level: float = Field(0.8, gt=0, le=1)
    """A window is calm where it has not drifted and no column of the alarm lies above this share of its threshold."""
    clear_windows: int = Field(1, ge=1)
    """So many windows in a row must be calm to clear it."""


class TriggersConfig(Section):
    """What may start a retraining; a null switches the trigger off. A run on demand needs no trigger."""

    performance: WindowCount | None = WindowCount(n=2, of=3)
    """The champion degraded in so many windows."""
    drift: DriftCount | None = DriftCount(n=2, of=3)
    """The inputs or the predictions drifted in so many windows."""
    max_age: Span | None = None
    """The champion has served for so long."""
    new_labelled_rows: int | None = Field(None, ge=1)
    """So many labelled rows came in since the champion took over."""

    @field_validator("drift", mode="before")
    @classmethod
    def _with_defaults(cls, value: object) -> object:
        """A plain count clears as by default."""
        return value.model_dump() if type(value) is WindowCount else value


class RetrainConfig(Section):
    """What holds a triggered retraining back."""

    cooldown: Duration = _d("2d")
    """Least time between the starts of two retrainings; at least a window plus the label delay makes sense."""
    min_labelled_rows: int = Field(500, ge=0)
    """Labelled rows since the champion took over, below which there is nothing to learn from."""
    budget_runs: int = Field(10, ge=1)
    """At most so many retrainings, retries included, within ``budget_period``."""
    budget_period: Span = _d("30d")
    """Sliding period of the budget."""
    backoff_factor: float = Field(2.0, ge=1)
    """The cooldown grows by this factor with every candidate in a row that was refused or rolled back."""
    backoff_max: Span = _d("30d")
    """The cooldown grows no longer than this."""
    max_attempts: int = Field(2, ge=1)
    """How often one retraining is tried when its run fails or is canceled."""


class TrialConfig(Section):
    """How a candidate is tried on live traffic and judged."""

    mode: Literal["canary", "shadow"] = "canary"
    """``canary`` answers its share of the requests; ``shadow`` sees it and answers none."""
    weight: float = Field(0.1, gt=0, le=1)
    """Share of the requests the candidate gets."""
    deadline: Span = _d("250ms")
    """After this the caller gets the champion's answer, and the candidate is charged with a fault."""
    look_every: Span = _d("10m")
    """The trial is judged at whole multiples of this after its start."""
    label_delay: Duration = _d("0s")
    """A look counts the rows that are at least this old, so that labels had the time to come."""
    min_labelled_rows: int = Field(200, ge=2)
    """Labelled rows of the candidate before it may be promoted."""
    max_duration: Span = _d("7d")
    """The trial ends after this, one way or the other."""
    significance: float = Field(0.05, gt=0, lt=1)
    """Level, over all looks together, at which the candidate counts as worse or as failing."""
    effect: float = Field(0.05, gt=0)
    """Difference of the loss per row the test is sharpest at; it sets no limit."""
    tolerance: float = Field(0.02, ge=0)
    """A candidate whose measured loss is higher than the champion's by at most this share of it is promoted."""
    max_fault_share: Share = 0.02
    """Share of raised, late or NaN answers that is accepted."""
    min_rows: int = Field(20, ge=1)
    """Rows the candidate was asked for, below which its faults are no verdict."""

    @model_validator(mode="after")
    def _champion_keeps_traffic(self) -> Self:
        if self.mode == "canary" and self.weight >= 1:
            raise ValueError("weight of a canary must be below 1: there is nothing to compare it with")
        return self


class HealthConfig(Section):
    """When a champion that fails is replaced by its backup."""

    look_every: Span = _d("1m")
    """The champion's answers are looked at, at whole multiples of this after it took over."""
    window: Span = _d("10m")
    """So far back a look goes."""
    max_fault_share: Share = 0.05
    """Share of failed answers that is accepted."""
    min_rows: int = Field(20, ge=1)
    """Rows the champion was asked for, below which its faults are no verdict."""
    significance: float = Field(0.01, gt=0, lt=1)
    """Level, at one look, at which the share counts as exceeded."""


class ControlConfig(Section):
    """The reconcile loop."""

    enabled: bool = True
    """Whether the loop decides by itself; off, it only shows what it sees."""
    every: Span = _d("1s")
    """Pause, on the wall clock, between two looks for turns that are due."""
    on_replay: Literal["step", "advance"] | None = None
    """On a replay clock, when turns are taken: ``step`` only when told, ``advance`` also whenever the clock has moved
    by ``every``. Null is ``advance`` where ``clock.start`` makes the clock, else ``step``."""
    turns_at_once: int = Field(4, ge=1)
    """Turns of different models side by side; one beyond its deadline is not counted."""
    turn_deadline: Span = _d("30s")
    """A turn that takes longer is shown as a problem of its model; the turns of others do not wait for it."""
    turn_pause_max: Span = _d("15s")
    """A model whose turn failed rests for a second, twice as long after each further failure, and this at most."""
    act_attempts: int = Field(10, ge=1)
    """How often in a row an action is tried while a process is unavailable, before the decision is abandoned."""
    triggers: TriggersConfig = TriggersConfig()
    """What may start a retraining."""
    retrain: RetrainConfig = RetrainConfig()
    """What holds it back."""
    trial: TrialConfig = TrialConfig()
    """How a candidate is tried."""
    health: HealthConfig = HealthConfig()
    """When the backup takes over."""
