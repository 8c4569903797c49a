"""When to retrain, and how a candidate earns its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from raymlops.config.cron import parse_cron
from raymlops.config.probes import ProbesConfig, RegretConfig
from raymlops.config.section import Duration, Section, Share, Span
from raymlops.config.section import parse_duration as _d

__all__ = [
    "AT_LEAST",
    "AuditCount",
    "ControlConfig",
    "CronTrigger",
    "DriftCount",
    "FallbackConfig",
    "FleetConfig",
    "HealthConfig",
    "NewDataTrigger",
    "PolicyConfig",
    "ProbationConfig",
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


class AuditCount(WindowCount):
    """N of the last M closed windows in which features were served other values than the tables say."""

    min_share: float = Field(0.01, gt=0, le=1)
    """Share of the audited values that must differ; from ``monitoring.quality`` on the data counts as broken."""


class CronTrigger(Section):
    """A calendar."""

    at: str
    """Five fields as of cron, such as ``0 3 * * mon``, or ``@daily``, ``@weekly`` and the like."""
    zone: str = "UTC"
    """Time zone of ``at``, such as ``Europe/Berlin``. A time that a change of the clocks leaves out comes later by what
    was left out; one that comes twice counts the first time."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        parse_cron(self.at, self.zone)
        return self


class NewDataTrigger(Section):
    """Rows that came into the tables that the champion was trained on."""

    min_rows: int = Field(1, ge=1)
    """So many rows, over all tables, since the champion's training set was made or since the newest retraining."""
    look_every: Span = _d("1m")
    """The tables are looked at as often as this."""


class TriggersConfig(Section):
    """What may start a retraining; a null switches the trigger off. A run on demand needs no trigger."""

    regret: RegretConfig | None = RegretConfig()
    """What staleness costs exceeds the price of a retraining; while probes tell that, the next two follow them."""
    performance: WindowCount | None = WindowCount(n=2, of=3)
    """The champion degraded in so many windows."""
    drift: DriftCount | None = DriftCount(n=2, of=3)
    """The inputs or the predictions drifted in so many windows."""
    max_age: Span | None = None
    """The champion has served for so long."""
    cron: CronTrigger | None = None
    """A date of the calendar has passed since the champion took over, and since the newest retraining."""
    new_data: NewDataTrigger | None = None
    """Rows were ingested since the champion was trained. A champion without a training set never fires it."""
    new_code: bool = False
    """The deployed bundle has other code, or other packages, than the one the champion came from."""
    audit_mismatch: AuditCount | None = None
    """Features were served other values than the tables say."""
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
    when_running: Literal["queue", "skip", "replace"] = "queue"
    """What a trigger does that fires while a run is under way: wait for its end and be looked at again, all that wait
    as one; be dropped; or cancel the run and start another, within the same limits."""
    max_attempts: int = Field(2, ge=1)
    """How often one retraining is tried when its run fails or is canceled."""


class ProbationConfig(Section):
    """How long a new champion is compared with the former one, on the rows that the new one answers."""

    max_duration: Span = _d("7d")
    """It ends after this."""
    max_labelled_rows: int = Field(5000, ge=2)
    """Or after so many labelled rows."""


class TrialConfig(Section):
    """How a candidate is tried on live traffic and judged."""

    REPLACED: ClassVar[Mapping[str, str]] = {
        "effect": "is gone, since bounds no longer depend on the unit of the loss; margin says how much worse will do",
        "tolerance": "is now margin: the upper bound of the difference must lie within it, not the measured difference",
        "max_fault_share": "is now fault_margin: faults are judged against the champion's, not against a fixed share",
        "min_rows": "is now min_requests: what the candidate must have answered itself before it is promoted",
    }
    """As of ``Section``."""
    mode: Literal["canary", "shadow"] = "canary"
    """``canary`` answers its share of the requests; ``shadow`` sees it and answers none."""
    weight: float = Field(0.1, gt=0, le=1)
    """Share of the requests the candidate gets first; small, for the champion's faults are known the better."""
    ramp: tuple[float, ...] = ()
    """Shares that follow, ascending and each as a canary, once the candidate has passed at the share before."""
    deadline: Span = _d("250ms")
    """After this the caller gets the champion's answer, and the candidate's is late; the champion's by the same bar."""
    look_every: Span = _d("10m")
    """The trial is judged at whole multiples of this after its start."""
    label_delay: Duration | None = None
    """A look compares rows that are at least this old, so that early labels do not speak for late ones; null:
    ``monitoring.label_delay``."""
    min_labelled_rows: int = Field(100, ge=2)
    """Labelled rows that must be compared before it may be promoted; bounds are formed from 100 on."""
    max_labelled_rows: int = Field(20_000, ge=2)
    """The trial ends once so many labelled rows were compared, or after ``max_duration``."""
    max_duration: Span = _d("7d")
    """The trial ends after this, one way or the other."""
    min_requests: int = Field(100, ge=0)
    """Requests that the candidate must have answered itself, at each share, before it may be promoted."""
    significance: float = Field(0.05, gt=0, lt=0.5)
    """Chance, over all looks together, that a candidate as good as the champion is rolled back (two fifths of it for
    faults, one for late answers, two for the loss), and that one worse by more than ``margin`` is promoted."""
    margin: float = Field(0.1, ge=0)
    """A candidate is as good as the champion where its loss is surely not higher by more than this share of it."""
    fault_margin: float = Field(1.0, gt=0)
    """How many times as often as the champion it may fail, or be late."""
    answers_between: tuple[float, float] | None = None
    """Answers of a regressor outside of this count as faults, whoever gave them."""
    correlated_within: Span | Literal["entity"] | None = None
    """Rows of one stretch of time of this length, or of one entity, may err together; null: rows are independent."""
    inconclusive: Literal["keep", "promote_if_not_worse", "ask"] = "keep"
    """What becomes of a candidate that was found neither worse nor as good by the end: the champion stays, or the
    candidate is promoted if its measured loss is not above the champion's, or a person is asked."""
    ask_for: Span = _d("7d")
    """A person who was asked and says nothing for so long keeps the champion."""
    return_within: Duration = _d("30d")
    """A version that was champion within so long before its trial skips ``ramp`` and ``min_requests``."""
    probation: ProbationConfig | None = ProbationConfig()
    """How a new champion is watched; null: not at all."""

    @model_validator(mode="after")
    def _champion_keeps_traffic(self) -> Self:
        if self.mode == "canary" and self.weight >= 1:
            raise ValueError("weight of a canary must be below 1: there is nothing to compare it with")
        before = self.weight if self.mode == "canary" else 0.0
        for share in self.ramp:
            if not before < share < 1:
                raise ValueError(f"ramp must be ascending shares above {before:g} and below 1, got {list(self.ramp)}")
            before = share
        return self

    @model_validator(mode="after")
    def _limits_fit(self) -> Self:
        if self.min_labelled_rows > self.max_labelled_rows:
            raise ValueError(f"min_labelled_rows must not exceed max_labelled_rows, which is {self.max_labelled_rows}")
        if self.answers_between is not None and not self.answers_between[0] < self.answers_between[1]:
            raise ValueError(f"answers_between must be a lower and a higher number, got {list(self.answers_between)}")
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


AT_LEAST = frozenset({"auc", "accuracy"})
"""Metrics of which more is better."""
AT_MOST = frozenset({"log_loss", "brier", "rmse", "mae"})


class FallbackConfig(Section):
    """When a champion gives way because its answers are too bad, though no candidate is good enough."""

    windows: WindowCount | None = WindowCount(n=2, of=3)
    """It lay below its floor in so many windows of sound data; null: it never gives way for that."""
    floor: dict[str, float] = Field(default_factory=dict)
    """Metric -> the worst value that is accepted. Beside it, the log loss of a classifier of two classes must not lie
    above what the best constant answer would have had."""
    versions: int = Field(3, ge=0)
    """So many former champions are scored on the same rows, those that served last."""

    @field_validator("floor")
    @classmethod
    def _known(cls, value: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(value.keys() - AT_LEAST - AT_MOST):
            raise ValueError(f"floor must be of {sorted(AT_LEAST | AT_MOST)}, got {unknown}")
        return value


class PolicyConfig(Section):
    """What is decided about one model. A project may say it of its own model; the platform says it of all others."""

    triggers: TriggersConfig = TriggersConfig()
    """What may start a retraining."""
    retrain: RetrainConfig = RetrainConfig()
    """What holds it back."""
    trial: TrialConfig = TrialConfig()
    """How a candidate is tried."""
    health: HealthConfig = HealthConfig()
    """When the backup takes over."""
    fallback: FallbackConfig = FallbackConfig()
    """When a former version, or the baseline, takes over from a champion whose answers are too bad."""


class FleetConfig(Section):
    """What all models of a platform may use together."""

    runs_at_once: int | None = Field(None, ge=1)
    """So many runs at once; a retraining beyond it waits. Null: as many as there are models."""
    budget_runs: int | None = Field(None, ge=1)
    """At most so many retrainings of all models, retries included, within ``budget_period``. Null: no limit."""
    budget_period: Span = _d("1d")
    """Sliding period of the budget."""
    false_alarms: float | None = Field(0.1, gt=0, lt=1)
    """At most this share, in the mean, of the champions that drift or performance alone have retrained were as good as
    ever: over all models together. A model that is alone on its platform has its own triggers alone. Null: all have."""


class ControlConfig(PolicyConfig):
    """The reconcile loop, and the policy of the models whose projects say nothing."""

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
    """How often in a row an action is tried while a process is unavailable, before the decision is abandoned; one whose
    plan was made by then stands, and what lags behind follows by itself."""
    probes: ProbesConfig = ProbesConfig()
    """How it is found out what staleness costs."""
    fleet: FleetConfig = FleetConfig()
    """What all models may use together."""
