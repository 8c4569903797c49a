"""A replay's figures, window by window, computed from the served answers and the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from raymlops.errors import NotEnoughRows
from raymlops.laboratory.comparison import LoopComparison
from raymlops.records.bundles import ProjectSpec
from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord
from raymlops.replay.client import Answer, Tally
from raymlops.replay.outcome.calendar import Calendar, even_instants
from raymlops.replay.outcome.losses import TaskLoss
from raymlops.replay.plan import ReplayPlan
from raymlops.replay.player import WindowResult

if TYPE_CHECKING:
    from raymlops.platform import Platform

__all__ = ["Story", "WindowFigures"]


@dataclass
class WindowFigures:
    """One window, once its labels are in: mean losses over the same rows."""

    number: int
    start: datetime
    rows: int
    loop: float
    never: float
    """Of the first version, never retrained."""
    calendar: float
    """Of a model retrained at even intervals, as often as the loop did."""
    versions: dict[int, int]
    """Version -> requests it answered."""


@dataclass
class Story:
    """Collects while the replay runs; ``finish`` computes what needs all labels."""

    platform: Platform
    spec: ProjectSpec
    plan: ReplayPlan
    first_run: Run
    bundle: str
    tally: Tally = field(default_factory=Tally)
    label_of: dict[str, float] = field(default_factory=dict)
    windows_played: list[WindowResult] = field(default_factory=list)
    figures: list[WindowFigures] = field(default_factory=list)
    windows: list[WindowRecord] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    bad_version: int | None = None
    notes: list[str] = field(default_factory=list)
    calendar_at: tuple[datetime, ...] = ()
    """When the model of the calendar was retrained."""
    loop_seconds: float = 0.0
    total_seconds: float = 0.0
    takeovers_s: list[float] = field(default_factory=list)
    comparison: LoopComparison | None = None
    """The loop beside a calendar and the oracle, by what probes have shown; ``None`` where too little was probed."""

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.spec.model

    @property
    def loss_of(self) -> TaskLoss:
        """The loss of the project's model."""
        return TaskLoss.of(self.spec)

    def add(self, window: WindowResult) -> None:
        """Take a replayed window in, and what the platform recorded during it."""
        self.windows_played.append(window)
        if not window.restored:
            self.look()

    def look(self) -> None:
        """Read what the platform recorded so far."""
        self.windows = list(self.platform.monitor.report(self.model).windows)
        self.entries = self.platform.ledger.entries(self.model)

    def loss(self, window: WindowResult) -> float | None:
        """Mean loss of a window's labelled answers; ``None`` without any."""
        known = [answer for answer in window.answers if answer.request_id in self.label_of]
        if not known:
            return None
        return float(self.loss_of.rows(self._labels(known), [each.prediction for each in known]).mean())

    def finish(self) -> None:
        """Compute the figures of every window: the loop, the first version and the calendar over the same rows.

        The loop's loss is that of what was served. ``never`` is that of the first version, which answers again what
        was asked. ``calendar`` is that of models fitted anew at even intervals, see ``Calendar``, which are scored on
        what was asked. A row counts where it was answered, has a label, and its prediction event was recorded.

        Raises:
            NotEnoughRows: No answer has a label.
        """
        first = int(self.first_run.result["version"])
        frozen = self.platform.models.predictions(self.model, first)
        self.versions = self.platform.models.list(self.model)
        self.comparison = self.platform.control.comparison(self.model)
        self.look()
        answers = [answer for window in self.windows_played for answer in window.answers]
        known = [answer for answer in answers if answer.request_id in self.label_of and answer.request_id in frozen]
        if not known:
            raise NotEnoughRows(f"none of the {len(answers)} answers has a label by {self.plan.end}")
        labels = self._labels(known)
        loop = self.loss_of.rows(labels, [answer.prediction for answer in known])
        never = self.loss_of.rows(labels, [frozen[answer.request_id] for answer in known])
        self.calendar_at = even_instants(self.plan.trained_until, self.plan.end, self.count("retrain"))
        calendar = Calendar(self.platform, self.spec, self.loss_of).losses(
            self.calendar_at, [answer.request_id for answer in known], labels, never
        )
        place_of = {answer.request_id: place for place, answer in enumerate(known)}
        self.figures = [
            figures
            for window in self.windows_played
            if (figures := _figures(window, place_of, loop, never, calendar)) is not None
        ]

    def total(self, which: str) -> float:
        """Mean loss over all rows: ``loop``, ``never`` or ``calendar``."""
        rows = sum(window.rows for window in self.figures)
        return float(sum(getattr(window, which) * window.rows for window in self.figures) / rows)

    @property
    def gain(self) -> float:
        """Share by which the loop's loss is below the never-retrained model's."""
        return 1 - self.total("loop") / self.total("never") if self.total("never") else 0.0

    def decisions(self) -> list[LedgerEntry]:
        """Decisions of the controller and orders of people, oldest first."""
        return [entry for entry in self.entries if entry.key.startswith(("control/", "user/"))]

    def count(self, action: str) -> int:
        """How often the controller decided on an action."""
        return sum(1 for entry in self.decisions() if entry.action == action and entry.key.startswith("control/"))

    def swaps_ms(self) -> list[float]:
        """Duration of every swap over all replicas."""
        return [float(entry.evidence["swap_ms"]) for entry in self.entries if entry.action == "swap"]

    def summary(self) -> dict[str, Any]:
        """The figures in one flat mapping, for the terminal and the page."""
        swaps, loss = self.swaps_ms(), self.loss_of.name
        return {
            f"{self.spec.replay.things} asked about": sum(len(window.answers) for window in self.windows_played),
            "requests": self.tally.requests,
            "failed requests": self.tally.failed,
            f"{loss}, the loop": _rounded(self.total("loop")),
            f"{loss}, never retrained": _rounded(self.total("never")),
            f"{loss}, retrained by calendar": _rounded(self.total("calendar")),
            "gain": f"{self.gain:.1%}",
            "retrainings": self.count("retrain"),
            **({} if self.comparison is None else self.comparison.figures()),
            "promotions": self.count("promote"),
            "refusals": self.count("refuse"),
            "rollbacks": self.count("roll_back"),
            "slowest swap": f"{max(swaps):.1f} ms" if swaps else "-",
            "decision to new champion": f"{max(self.takeovers_s):.0f} s at most" if self.takeovers_s else "-",
            "the loop took": f"{self.loop_seconds:.0f} s",
            "all of it took": f"{self.total_seconds:.0f} s",
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "project": self.spec.name,
            "model": self.model,
            "requests": self.tally.requests,
            "failed": self.tally.failed,
            "failures": self.tally.failures,
            "retrainings": self.count("retrain"),
            "promotions": self.count("promote"),
            "refusals": self.count("refuse"),
            "rollbacks": self.count("roll_back"),
            "metric": self.loss_of.name,
            "loss": {which: self.total(which) for which in ("loop", "never", "calendar")},
            "probed": None if self.comparison is None else self.comparison.model_dump(mode="json"),
            "rows": sum(window.rows for window in self.figures),
            "gain": self.gain,
            "calendar_at": [at.isoformat() for at in self.calendar_at],
            "windows": [
                {
                    "number": window.number,
                    "start": window.start.isoformat(),
                    "rows": window.rows,
                    "loop": window.loop,
                    "never": window.never,
                    "calendar": window.calendar,
                    "versions": {str(version): count for version, count in window.versions.items()},
                }
                for window in self.figures
            ],
            "decisions": [
                {"at": entry.at.isoformat(), "action": entry.action, "reason": entry.reason}
                for entry in self.decisions()
            ],
            "notes": self.notes,
            "seconds": {"loop": self.loop_seconds, "all": self.total_seconds},
        }

    def _labels(self, answers: Sequence[Answer]) -> list[float]:
        return [float(self.label_of[answer.request_id]) for answer in answers]


def _figures(window: WindowResult, place_of: Mapping[str, int], *losses: Any) -> WindowFigures | None:
    places = np.array([place_of[each.request_id] for each in window.answers if each.request_id in place_of], np.int64)
    if not len(places):
        return None
    loop, never, calendar = (float(one[places].mean()) for one in losses)
    versions = dict(Counter(answer.version for answer in window.answers))
    return WindowFigures(window.number, window.start, len(places), loop, never, calendar, versions)


def _rounded(value: float) -> float:
    """Four digits after the point, more of a small number."""
    return round(value, 4) if abs(value) >= 0.1 else float(f"{value:.4g}")
