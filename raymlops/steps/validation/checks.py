"""What every model must stand before anybody compares it with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymlops.records.record import Record

__all__ = ["Check", "Limits", "model_checks"]


class Limits(Record):
    """Bars of a project's own; ``None`` has none. See ``steps.project.parameters.TrainingParameters``."""

    slice_max_loss_ratio: float | None = None
    max_calibration_error: float | None = None


class Check(Record):
    """One question about a model, answered."""

    name: str
    passed: bool
    detail: str


def model_checks(evaluation: Mapping[str, Any], metric: str, limits: Limits) -> list[Check]:
    """Answer them all.

    Args:
        evaluation: What ``steps.evaluate`` found.
        metric: The task's, by which losses are compared.
        limits: The project's bars.
    """
    fit, holdout, metrics = evaluation["fit"], evaluation["holdout"], evaluation["holdout"]["metrics"]
    train, nothing = evaluation["train"][metric], evaluation["baseline_train"][metric]
    own, baseline = metrics[metric], evaluation["baseline"][metric]
    checks = [
        Check(
            name="learned",
            passed=train < nothing,
            detail=f"{metric} {train:.4f} on the rows it was fitted on, {nothing:.4f} of the constant baseline",
        ),
        Check(
            name="beats_baseline",
            passed=own < baseline,
            detail=f"{metric} {own:.4f} on the holdout, {baseline:.4f} of the constant baseline",
        ),
    ]
    if len(fit["curve"]) > 1:
        (first, start), (last, end) = fit["curve"][0], fit["curve"][-1]
        detail = f"loss {start:.4f} after {first} rounds, {end:.4f} after {last}"
        checks.append(Check(name="loss_falls", passed=end < start, detail=detail))
    said = (
        "every solver came to its end" if fit["converged"] else "a solver gave up before its end; its model is judged"
    )
    checks.append(Check(name="converged", passed=True, detail=said))
    if limits.max_calibration_error is not None and "ece" in metrics:
        detail = f"ECE {metrics['ece']:.4f}, at most {limits.max_calibration_error:g}"
        checks.append(Check(name="calibrated", passed=metrics["ece"] <= limits.max_calibration_error, detail=detail))
    if limits.slice_max_loss_ratio is not None:
        checks.append(_slices(holdout, limits.slice_max_loss_ratio))
    return checks


def _slices(holdout: Mapping[str, Any], ratio: float) -> Check:
    """Slices are judged by the whole of their interval: a small one may look bad by chance."""
    bar = ratio * holdout["loss"]
    bad = [f"{each['column']}={each['value']}" for each in holdout["slices"] if each["low"] > bar]
    return Check(
        name="slices",
        passed=not bad,
        detail=f"{len(holdout['slices'])} slices, loss significantly above {bar:.4f} on {bad or 'none'}",
    )
