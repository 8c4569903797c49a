"""What happened: the demo's figures, week by week, computed from what was served and what came true."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import ModelVersion
from raymlops.records.runs import Run
from raymlops.records.windows import WindowRecord
from raymlops.replay.client import Tally
from raymlops.replay.player import MODEL, WeekResult, log_loss

if TYPE_CHECKING:
    from raymlops.platform import Platform

__all__ = ["Story", "WeekFigures"]


@dataclass
class WeekFigures:
    """One week, once its labels are in."""

    number: int
    start: datetime
    rows: int
    loop: float
    frozen: float
    versions: dict[int, int]
    """Version -> flights it answered."""


@dataclass
class Story:
    """Collects while the replay runs; ``finish`` computes what needs all labels."""

    platform: Platform
    first_run: Run
    bundle: str
    tally: Tally = field(default_factory=Tally)
    late_of: dict[str, float] = field(default_factory=dict)
    weeks: list[WeekResult] = field(default_factory=list)
    figures: list[WeekFigures] = field(default_factory=list)
    windows: list[WindowRecord] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    bad_version: int | None = None
    loop_seconds: float = 0.0
    total_seconds: float = 0.0
    takeovers_s: list[float] = field(default_factory=list)

    def add(self, week: WeekResult) -> None:
        """Take a replayed week in, and what the platform recorded during it."""
        self.weeks.append(week)
        self.windows = list(self.platform.monitor.report(MODEL).windows)
        self.entries = self.platform.ledger.entries(MODEL)

    def loss(self, week: WeekResult) -> float | None:
        """Log loss of a week's labelled answers; ``None`` without any."""
        losses = [
            log_loss(a.probability, self.late_of[a.flight_id]) for a in week.answers if a.flight_id in self.late_of
        ]
        return sum(losses) / len(losses) if losses else None

    def finish(self) -> None:
        """Compute the figures of every week, with the first version's answers to the same questions."""
        frozen = self.platform.models.rescore(MODEL, int(self.first_run.result["version"]))
        self.versions = self.platform.models.list(MODEL)
        self.entries = self.platform.ledger.entries(MODEL)
        self.windows = list(self.platform.monitor.report(MODEL).windows)
        for week in self.weeks:
            known = [answer for answer in week.answers if answer.flight_id in self.late_of]
            if not known:
                continue
            pairs = [(answer.probability, frozen[answer.flight_id], self.late_of[answer.flight_id]) for answer in known]
            loop = sum(log_loss(served, late) for served, _, late in pairs) / len(pairs)
            never = sum(log_loss(first, late) for _, first, late in pairs) / len(pairs)
            versions = Counter(answer.version for answer in week.answers)
            self.figures.append(WeekFigures(week.number, week.start, len(known), loop, never, dict(versions)))

    def total(self, which: str) -> float:
        """Log loss over all labelled flights: ``loop`` or ``frozen``."""
        rows = sum(week.rows for week in self.figures)
        return sum(getattr(week, which) * week.rows for week in self.figures) / rows

    @property
    def gain(self) -> float:
        """Share by which the loop's log loss is below the never-retrained model's."""
        return 1 - self.total("loop") / self.total("frozen")

    def decisions(self) -> list[LedgerEntry]:
        """What the controller decided, and what was asked of the platform by hand, oldest first."""
        return [entry for entry in self.entries if entry.key.startswith(("control/", "user/"))]

    def count(self, action: str) -> int:
        """How often the controller decided on an action."""
        return sum(1 for entry in self.decisions() if entry.action == action and entry.key.startswith("control/"))

    def swaps_ms(self) -> list[float]:
        """Duration of every swap over all replicas."""
        return [float(entry.evidence["swap_ms"]) for entry in self.entries if entry.action == "swap"]

    def summary(self) -> dict[str, Any]:
        """The figures in one flat mapping, for the terminal and the page."""
        swaps = self.swaps_ms()
        return {
            "flights asked about": sum(len(week.answers) for week in self.weeks),
            "requests": self.tally.requests,
            "failed requests": self.tally.failed,
            "log loss, the loop": round(self.total("loop"), 4),
            "log loss, never retrained": round(self.total("frozen"), 4),
            "gain": f"{self.gain:.1%}",
            "retrainings": self.count("retrain"),
            "promotions": self.count("promote"),
            "refusals": self.count("refuse"),
            "rollbacks": self.count("roll_back"),
            "slowest swap": f"{max(swaps):.1f} ms" if swaps else "-",
            "decision to new champion": f"{max(self.takeovers_s):.0f} s at most" if self.takeovers_s else "-",
            "the loop took": f"{self.loop_seconds:.0f} s",
            "all of it took": f"{self.total_seconds:.0f} s",
        }
