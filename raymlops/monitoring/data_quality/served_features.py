"""Are the served features those of the tables? A model is not to blame for what it was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raymlops.config.monitoring import FeatureAuditConfig
from raymlops.monitoring.data_quality.verdict import Quality
from raymlops.records.features import ConsistencyReport

__all__ = ["ServedFeatures", "join_quality", "judge_served_features"]

_SHOWN = 3
_ORDER = ("ok", "warn", "block")


@dataclass(frozen=True)
class ServedFeatures:
    """Findings of the audits of one window.

    Attributes:
        reports: One per feature service that served in the window; none where no features were joined.
        problem: Why there was no audit, where there should have been one.
    """

    reports: Sequence[ConsistencyReport] = ()
    problem: str = ""

    @property
    def rows(self) -> int:
        """Rows that were audited."""
        return sum(report.rows for report in self.reports)

    @property
    def late(self) -> dict[str, float]:
        """Feature -> share of the audited rows whose value was that of its time: newer rows came later."""
        shares: dict[str, float] = {}
        for report in self.reports:
            for name, found in report.features.items():
                if found.late:
                    shares[name] = max(found.late, shares.get(name, 0.0))
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    @property
    def wrong(self) -> dict[str, float]:
        """Feature -> share of the audited rows whose value is not what the tables say; those without any left out."""
        shares: dict[str, float] = {}
        for report in self.reports:
            for name, found in report.features.items():
                if found.share:
                    shares[name] = max(found.share, shares.get(name, 0.0))
        return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))

    @property
    def wrong_share(self) -> float:
        """Share of all audited values that are not what the tables say."""
        values = sum(report.rows * len(report.features) for report in self.reports)
        wrong = sum(report.rows * found.share for report in self.reports for found in report.features.values())
        return wrong / values if values else 0.0


def judge_served_features(served: ServedFeatures, config: FeatureAuditConfig) -> Quality:
    """Judge what a window's models were given.

    Args:
        served: Findings of the audits.
        config: The limits of quality.
    """
    if served.problem:
        return Quality("warn", (f"features served were not audited: {served.problem}",))
    wrong = served.wrong
    worst = max(wrong.values(), default=0.0)
    if worst <= config.warn_share:
        return Quality()
    shown = ", ".join(f"{name} in {share:.1%}" for name, share in list(wrong.items())[:_SHOWN])
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    reason = f"features served differ from the tables: {shown} of {served.rows} audited rows{more}"
    return Quality("block" if worst > config.block_share else "warn", (reason,))


def join_quality(first: Quality, second: Quality) -> Quality:
    """Both verdicts as one, the worse one's reasons in front."""
    if _ORDER.index(second.verdict) > _ORDER.index(first.verdict):
        first, second = second, first
    return Quality(first.verdict, first.reasons + second.reasons)
