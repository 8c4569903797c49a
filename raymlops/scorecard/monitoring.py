"""The ML Test Score's tests of monitoring (section IV)."""

from __future__ import annotations

from math import isfinite
from statistics import median

from raymlops.records.ledger import LedgerEntry
from raymlops.records.models import trained_at
from raymlops.scorecard.evidence import WRONG_SHARE, Evidence, entry_proof, run_proof, window_proof
from raymlops.scorecard.item import Finding, Question, automated, manual, missing

__all__ = ["MONITORING"]

_SLOWER = 2.0
_NO_WINDOW = "no window of the model has closed"
_SERVE = "serve the model, and let a window close"


def _dependencies(of: Evidence) -> Finding:
    if not of.recent:
        return missing(_NO_WINDOW, _SERVE)
    proof = window_proof(of.recent[0])
    if not of.settings.told:
        text = "changes of the inputs are judged window by window, and nobody is told"
        return manual(text, "set monitoring.alerts.webhooks, or monitoring.metrics.port for Prometheus", proof)
    return automated(f"changes of the inputs are told to {', '.join(of.settings.told)}", proof)


def _invariants(of: Evidence) -> Finding:
    if not of.recent:
        return missing(_NO_WINDOW, _SERVE)
    newest = of.recent[0]
    if newest.quality == "block":
        return missing(
            f"the newest window is broken: {'; '.join(newest.quality_reasons[:2])}",
            "mend the source",
            window_proof(newest),
        )
    if not newest.columns:
        return manual(
            "rows are counted, columns are not: there is no reference",
            "register with an example, or train by a pipeline",
            window_proof(newest),
        )
    return automated(
        f"{len(newest.columns)} inputs of the newest window were judged: {newest.quality}", window_proof(newest)
    )


def _skew(of: Evidence) -> Finding:
    window = of.audited
    if window is None:
        if of.recent and of.recent[0].columns:
            text = "inputs are compared with those of the training; served features are not computed again"
            return manual(text, "serve features by predict, with monitoring.feature_audit", window_proof(of.recent[0]))
        return missing("served inputs are compared with nothing", _SERVE)
    if window.wrong_feature_share > WRONG_SHARE:
        text = f"{window.wrong_feature_share:.1%} of the served features differ from the tables"
        return missing(text, "raymlops features audit SERVICE names them", window_proof(window))
    return automated(f"{window.audited_rows} served rows are what training would read", window_proof(window))


def _answered(of: Evidence) -> LedgerEntry | None:
    """What the loop did about a champion that is degraded, since it first was."""
    champion = of.champion
    first = next(
        (w for w in of.windows if w.degraded and champion is not None and w.champion == champion.version), None
    )
    entries = of.entries("retrain", "fall_back", "roll_back", "ask")
    return None if first is None else next((entry for entry in entries if entry.at >= first.end), None)


def _stale(of: Evidence) -> Finding:
    if of.champion is None or not of.recent:
        return missing(_NO_WINDOW, _SERVE)
    newest, age = of.recent[0], of.now - trained_at(of.champion)
    text = f"the champion knows what was known {age.days} days ago"
    if newest.degraded:
        answer = _answered(of)
        if answer is None:
            told = f"{text}, is degraded, and nothing was done: {newest.degraded_reason}"
            return missing(told, "raymlops control why MODEL", window_proof(newest))
        told = f"{text} and is degraded; the loop answered with {answer.action}"
        return automated(told, window_proof(newest), entry_proof(answer))
    retrained = [entry_proof(entry) for entry in of.entries("retrain")[:1]]
    if not of.settings.loop_enabled or not retrained:
        remedy = "deploy a bundle that trains the model, and let the loop run"
        return manual(f"{text}, and is not degraded; the loop has never retrained it", remedy, window_proof(newest))
    return automated(f"{text}, is not degraded, and the loop retrains it", window_proof(newest), *retrained)


def _stable(of: Evidence) -> Finding:
    if not of.recent:
        return missing(_NO_WINDOW, _SERVE)
    failed = sum(window.errors for window in of.recent)
    odd = sorted(
        name
        for window in of.recent
        for performance in window.performance.values()
        for name, value in performance.metrics.items()
        if not isfinite(value)
    )
    proofs = [window_proof(window) for window in of.recent[:2]]
    if failed or odd:
        text = f"{failed} answers failed, and {len(odd)} metrics are not finite" if odd else f"{failed} answers failed"
        return missing(f"in the newest {len(of.recent)} windows {text}", "read the replica's log", *proofs)
    return automated(f"every answer of the newest {len(of.recent)} windows is a finite number", *proofs)


def _performance(of: Evidence) -> Finding:
    measured = [run for run in of.runs if run.result.get("infra", {}).get("one_row_ms") is not None]
    own = next((run for run in measured if of.run is not None and run.id == of.run.id), None)
    if own is None:
        return missing(
            "nobody measured how fast the champion answers", "train by a pipeline: validate_infra measures it"
        )
    own_ms = own.result["infra"]["one_row_ms"]
    before = [run.result["infra"]["one_row_ms"] for run in measured if run.created_at < own.created_at]
    if not before:
        return manual(f"one row takes {own_ms:.3g} ms; there is nothing to compare with", "train again", run_proof(own))
    text = f"one row takes {own_ms:.3g} ms, {median(before):.3g} ms of the {len(before)} models before"
    if own_ms > _SLOWER * median(before):
        return missing(text, "compare the runs: raymlops runs compare", run_proof(own))
    return automated(text, run_proof(own))


def _quality(of: Evidence) -> Finding:
    labelled = next((w for w in of.recent if any(p.labelled_rows for p in w.performance.values())), None)
    if labelled is not None and labelled.degraded:
        answer = _answered(of)
        if answer is None:
            return missing(labelled.degraded_reason, "raymlops control why MODEL", window_proof(labelled))
        text = f"found to have fallen, and answered with {answer.action}: {labelled.degraded_reason}"
        return automated(text, window_proof(labelled), entry_proof(answer))
    if labelled is not None:
        rows = sum(performance.labelled_rows for performance in labelled.performance.values())
        return automated(f"not degraded on {rows} labelled rows", window_proof(labelled))
    estimated = next((window for window in of.recent if window.estimated), None)
    if estimated is not None:
        text = "quality is estimated without labels, which does not see a change of what follows from the inputs"
        return manual(text, "send labels: platform.labels.record", window_proof(estimated))
    return missing("nobody knows how good the answers are", "send labels: platform.labels.record")


MONITORING = (
    Question("monitoring-1", "A change of what the model depends on is told", _dependencies),
    Question("monitoring-2", "Inputs keep to what they were", _invariants),
    Question("monitoring-3", "Training and serving see the same features", _skew),
    Question("monitoring-4", "The model is not too old", _stale),
    Question("monitoring-5", "Answers are numerically sound", _stable),
    Question("monitoring-6", "Answering has not become slower", _performance),
    Question("monitoring-7", "Quality has not fallen", _quality),
)
