"""What an endpoint serves."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from raymlops.records.record import Instant, Record

__all__ = ["BLOCKED", "Baseline", "PlanStore", "Role", "ServingPlan", "Trial"]

Role = Literal["champion", "canary", "shadow", "backup", "baseline"]


BLOCKED = "blocked"
"""How a prediction event says, in ``fallback``, that a version was not asked since it is blocked."""


class Trial(Record):
    """A version on trial beside the champion."""

    version: int
    mode: Literal["canary", "shadow"] = "canary"
    weight: float = 0.1
    """Share of the requests that the candidate answers (canary) or sees (shadow), 0 to 1."""
    ramp: tuple[float, ...] = ()
    """Shares that follow, each as a canary, once the candidate has passed at the one before; then comes promotion."""
    deadline_ms: float = 250.0
    """After this the caller gets the champion's answer."""
    min_labelled_rows: int | None = None
    """Labelled rows that must be compared before it may be promoted; ``None``: as configured."""
    cpus: float | None = None
    """Logical CPUs of its deployment; ``None``: as configured."""
    memory_bytes: int | None = None
    """Memory it may take beyond what it holds once loaded; ``None``: as configured."""

    @property
    def share(self) -> float:
        """Of all that either version is asked, what the candidate is; a shadow's requests are asked of both."""
        return self.weight if self.mode == "canary" else self.weight / (1 + self.weight)

    def next_step(self) -> Trial | None:
        """The trial with the next share of its ramp; ``None`` after the last."""
        if not self.ramp:
            return None
        return self.model_copy(update={"mode": "canary", "weight": self.ramp[0], "ramp": self.ramp[1:]})


class Baseline(Record):
    """The constant answer where no version can answer; one of the two is set."""

    value: float | None = None
    """Of a regressor."""
    probability: tuple[float, ...] = ()
    """Of a classifier, in the order of its classes."""


class ServingPlan(Record):
    """An immutable, numbered statement of what an endpoint serves."""

    model: str
    number: int
    """1, 2, 3 ...; a replica serves the highest it knows."""
    champion: int
    backup: int | None = None
    trial: Trial | None = None
    blocked: tuple[int, ...] = ()
    """Versions that answer nobody until they are unblocked, ascending: whoever comes after them answers."""
    baseline: Baseline | None = None
    """Answers where no version can; without it the answer is an error."""
    service: str | None = None
    """Feature service whose features ``predict`` joins online, ``NAME@VERSION``; ``None`` for infer only."""
    environment: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """The environment whose features those are, that of the champion; ``None``: the platform's own."""
    replicas: int = 1
    """Of an endpoint of its own; a pool has as many as it is configured to have."""
    pooled: bool = False
    """Whether it is served by the pool, a process that it shares with other models."""
    served: bool = True
    """Whether the model has an endpoint; where not, ``champion`` is what answered last, and nothing does now."""
    reason: str = ""
    created_at: Instant

    @property
    def versions(self) -> frozenset[int]:
        """Every version that answers, or may: champion, backup, and the one on trial; none where nothing is served."""
        if not self.served:
            return frozenset()
        trial = None if self.trial is None else self.trial.version
        return frozenset(version for version in (self.champion, self.backup, trial) if version is not None)


class PlanStore(Protocol):
    """Serving plans, numbered per model from 1 without gaps; none is ever changed."""

    def put_plan(self, plan: ServingPlan) -> ServingPlan:
        """Add the next plan of a model.

        Raises:
            StaleWrite: The number is not the latest plan's plus one, and the plan is not equal to the one stored
                under it.
            InvalidTransition: A version that the latest plan did not serve came out of a run that does not vouch
                for it.
        """
        ...

    def find_plan(self, model: str) -> ServingPlan | None:
        """The latest plan of a model, ``None`` where it has none."""
        ...

    def get_plan(self, model: str) -> ServingPlan:
        """The latest plan of a model.

        Raises:
            DeploymentNotFound: It has none.
        """
        ...

    def plan_numbers(self) -> dict[str, int]:
        """Model -> number of its latest plan, by name; models that are served no more among them."""
        ...

    def served_plans(self) -> dict[str, ServingPlan]:
        """Model -> its latest plan, by name, of the models that are served: what is to be up."""
        ...

    def list_plans(self, model: str) -> list[ServingPlan]:
        """All plans of a model, by number."""
        ...
