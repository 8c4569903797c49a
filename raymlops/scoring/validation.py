"""Judges rows before they are scored: broken data is refused, data that has moved is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymlops.config.monitoring import MonitoringConfig
from raymlops.errors import DataError
from raymlops.monitoring.data_quality.quality import Rows, judge_quality
from raymlops.monitoring.profiles.profile import REFERENCE_FILE, Profile
from raymlops.monitoring.profiles.reference import Reference
from raymlops.monitoring.windows.window_drift import drift_rule, drifted_share

__all__ = ["InputVerdict", "find_reference", "judge_inputs"]


@dataclass(frozen=True)
class InputVerdict:
    """What is to be said about the rows.

    Attributes:
        verdict: ``block`` where they are broken.
        reasons: Why, the worst first.
    """

    verdict: Literal["ok", "warn", "block"] = "ok"
    reasons: tuple[str, ...] = ()

    def require_sound(self, what: str) -> None:
        """Refuse broken rows.

        Raises:
            DataError: They are.
        """
        if self.verdict == "block":
            raise DataError(f"{what} is refused: {'; '.join(self.reasons)}", reasons=list(self.reasons))


def find_reference(directory: Path, inputs: Iterable[str]) -> Reference | None:
    """What a version's inputs looked like when it was made; ``None`` where that was not kept.

    Raises:
        DataError: It is kept, and cannot be read.
    """
    path = directory / REFERENCE_FILE
    if not path.exists():
        return None
    reference = Reference.load(path)
    known = [name for name in inputs if name in reference.columns]
    return reference.only(*known) if known else None


def judge_inputs(reference: Reference | None, profile: Profile | None, config: MonitoringConfig) -> InputVerdict:
    """Judge what a model is given: quality as a window's is judged, and drift, which only warns."""
    if reference is None:
        return InputVerdict("warn", ("values and drift are not judged: the version has no reference",))
    if profile is None or not profile.rows:
        return InputVerdict()
    quality = judge_quality(Rows(profile.rows), reference, profile, config.quality, min_rows=config.drift.min_rows)
    reasons = list(quality.reasons)
    columns = reference.compare(profile, rule=drift_rule(config.drift)).columns
    drifted = sorted(
        (drift.score / max(drift.threshold, 1e-12), name) for name, drift in columns.items() if drift.drifted
    )
    verdict: Literal["ok", "warn", "block"] = quality.verdict
    if drifted and drifted_share(columns) >= config.drift.min_share:
        named = ", ".join(f"{name} ({times:.1f} times its threshold)" for times, name in drifted[::-1][:5])
        reasons.append(f"drift: {len(drifted)} of {len(columns)} inputs have moved: {named}")
        verdict = "warn" if verdict == "ok" else verdict
    return InputVerdict(verdict, tuple(reasons))
