"""The ML Test Score's tests of model development (section II)."""

from __future__ import annotations

from raymlops.records.runs import StepStatus
from raymlops.scorecard.evidence import Evidence, Proof, bundle_proof, entry_proof, run_proof, trials, window_proof
from raymlops.scorecard.item import Finding, Question, automated, manual, missing

__all__ = ["MODEL"]

_ENOUGH = 3
_AGREEMENT = 2 / 3
_LOWER_IS_BETTER = ("log_loss", "rmse", "mae", "brier")


def _reviewed(of: Evidence) -> Finding:
    if of.bundle is None:
        return missing(
            "the code that trained the champion is not recorded", "train from a bundle: raymlops delivery build"
        )
    proof, source = bundle_proof(of.bundle), of.bundle.source
    approvals = [entry_proof(entry) for entry in of.entries("approve_bundle")]
    if source is not None and not source.dirty and approvals:
        return automated(f"the bundle is commit {source.commit[:8]}, approved", proof, *approvals)
    if source is not None and not source.dirty:
        return manual(
            f"the bundle is commit {source.commit[:8]}; nobody approved it", "raymlops delivery approve", proof
        )
    return manual(
        "the bundle holds the code; it is no clean commit", "commit, build again, raymlops delivery approve", proof
    )


def _correlate(of: Evidence) -> Finding:
    ended = [(begun, end) for begun, end in trials(of) if begun.evidence.get("run_id")]
    agreed = [end for _, end in ended if end.action == "promote"]
    proofs = [entry_proof(end) for _, end in ended[:_ENOUGH]]
    remedy = "let candidates of the pipeline be tried by canary, until labels have come"
    if not ended:
        return missing("no candidate that passed offline was judged online", remedy)
    text = f"{len(agreed)} of {len(ended)} candidates that passed offline passed online"
    if len(agreed) < _AGREEMENT * len(ended):
        return missing(text, "the holdout does not stand for the traffic: choose a newer or larger one", *proofs)
    return automated(text, *proofs) if len(ended) >= _ENOUGH else manual(text, remedy, *proofs)


def _tuned(of: Evidence) -> Finding:
    champion = of.champion
    chosen = [] if champion is None else [name for name in champion.parameters if name.startswith("params.")]
    steps = () if of.run is None else of.run.steps
    done = any(step.step == "tune" and step.status in (StepStatus.SUCCEEDED, StepStatus.CACHED) for step in steps)
    if done and chosen:
        return automated(f"a search chose {len(chosen)} hyperparameters", *of.of_champion())
    if chosen:
        return manual(
            f"{len(chosen)} hyperparameters are recorded, and no search", "train by a pipeline", *of.of_champion()
        )
    return missing("no hyperparameter of the champion is recorded", "train by a pipeline, whose step tune searches")


def _staleness(of: Evidence) -> Finding:
    probes = [Proof(id=f"probe:{of.model}@{at.isoformat()}", at=at) for at in of.probed]
    if len(probes) >= _ENOUGH:
        return automated(f"{len(probes)} windows were probed for what older models lose on them", *probes[-_ENOUGH:])
    compared = [run for run in of.runs if run.result.get("comparison", {}).get("champion_loss") is not None]
    proofs = [*probes, *map(run_proof, compared[:_ENOUGH])]
    text = f"{len(compared)} runs compared an older model with a newer one on the same rows"
    if len(compared) >= _ENOUGH:
        return automated(text, *proofs)
    remedy = "let the loop run for some windows, with control.probes; or raymlops lab on the model's table"
    return manual(text, remedy, *proofs) if proofs else missing("nobody knows what an old model costs", remedy)


def _simpler(of: Evidence) -> Finding:
    metrics, baseline = of.result.get("metrics", {}), of.result.get("baseline_metrics", {})
    metric = next((name for name in _LOWER_IS_BETTER if name in metrics and name in baseline), None)
    if metric is None:
        recorded = {} if of.champion is None else of.champion.metrics
        if "baseline_log_loss" in recorded and "log_loss" in recorded:
            metric, metrics, baseline = "log_loss", recorded, {"log_loss": recorded["baseline_log_loss"]}
        else:
            return missing(
                "the champion was compared with nothing simpler", "train by a pipeline, whose evaluation has a baseline"
            )
    text = f"{metric} {metrics[metric]:.4f}, {baseline[metric]:.4f} of the simplest model"
    if metrics[metric] >= baseline[metric]:
        return missing(text, "serve the baseline, or find better features", *of.of_champion())
    return automated(text, *of.of_champion())


def _slices(of: Evidence) -> Finding:
    window = next((window for window in of.recent if window.segments), None)
    offline = of.result.get("comparison", {}).get("slices") or {}
    if window is None and not offline:
        return missing(
            "no part of the data was judged by itself", "declare segments in project.yaml, and let labels come"
        )
    proofs = of.of_champion() if window is None else (window_proof(window), *of.of_champion())
    worse = [] if window is None else [part.segment for part in window.segments if part.significant]
    if worse:
        return missing(
            f"significantly worse than the rest: {', '.join(worse)}", "give these rows features of their own", *proofs
        )
    if window is None:
        return manual(
            f"{len(offline)} slices of the holdout were judged, none of the traffic", "let labels come", *proofs
        )
    return automated(
        f"parts of the traffic that were judged: {len(window.segments)}, the worst one among them", *proofs
    )


def _inclusion(of: Evidence) -> Finding:
    window = next((window for window in of.recent if window.segments), None)
    if window is None:
        return missing("no group was judged by itself", "declare the groups that matter as segments in project.yaml")
    declared = [part for part in window.segments if part.declared]
    if not declared:
        text = "the worst group was searched for; none was declared"
        return manual(text, "declare the groups that matter as segments in project.yaml", window_proof(window))
    worse = [part.segment for part in declared if part.significant]
    if worse:
        return missing(f"significantly worse for {', '.join(worse)}", "train for these groups", window_proof(window))
    return automated(f"{len(declared)} declared groups are served as well as the rest", window_proof(window))


MODEL = (
    Question("model-1", "The model's specification is reviewed and in version control", _reviewed),
    Question("model-2", "Offline metrics say what online metrics show", _correlate),
    Question("model-3", "Hyperparameters are tuned", _tuned),
    Question("model-4", "The cost of staleness is known", _staleness),
    Question("model-5", "A simpler model is not better", _simpler),
    Question("model-6", "Quality holds on important parts of the data", _slices),
    Question("model-7", "The model was tested for inclusion", _inclusion),
)
