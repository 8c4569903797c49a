"""The ML Test Score's tests of infrastructure (section III)."""

from __future__ import annotations

from raymlops.records.runs import RunStatus
from raymlops.scorecard.evidence import Evidence, bundle_proof, entry_proof, run_proof, trials, window_proof
from raymlops.scorecard.item import Finding, Question, automated, manual, missing

__all__ = ["INFRASTRUCTURE", "canaried"]


def _reproducible(of: Evidence) -> Finding:
    champion = of.champion
    if champion is None:
        return missing("no model is served", "deploy a version")
    known = {
        "training set": champion.training_set,
        "table versions": champion.table_versions,
        "bundle": champion.bundle,
        "seed": champion.parameters.get("seed") is not None,
        "libraries": champion.manifest.libraries,
    }
    unknown = [name for name, value in known.items() if not value]
    if not unknown:
        return automated("data, code, seed and libraries of the training are recorded", *of.of_champion())
    text = f"not recorded of the training: {', '.join(unknown)}"
    remedy = "train by a pipeline, from a bundle"
    return missing(text, remedy, *of.of_champion()) if len(unknown) > 2 else manual(text, remedy, *of.of_champion())


def _unit_tested(of: Evidence) -> Finding:
    if of.bundle is None:
        return missing("no bundle holds the model's specification", "raymlops delivery build")
    passed, failed = of.bundle.tests.get("passed", 0), of.bundle.tests.get("failed", 0)
    if failed or not passed:
        return missing(f"{passed} tests passed, {failed} failed", "write tests of the project", bundle_proof(of.bundle))
    return automated(f"{passed} tests passed when the bundle was built", bundle_proof(of.bundle))


def _integration_tested(of: Evidence) -> Finding:
    whole = [
        run for run in of.runs if run.status is RunStatus.SUCCEEDED and of.bundle and run.bundle == of.bundle.digest
    ]
    proofs = [run_proof(run) for run in whole[:3]]
    if len(whole) > 1:
        return automated(f"{len(whole)} runs of this bundle went from the tables to a version", *proofs)
    if whole:
        return manual("one run of this bundle went from the tables to a version", "run it again", *proofs)
    return missing("no run of the champion's bundle succeeded", "raymlops runs start PIPELINE")


def _validated(of: Evidence) -> Finding:
    champion = of.champion
    if champion is None:
        return missing("no model is served", "deploy a version")
    if champion.run_id is None:
        remedy = "train by a pipeline: no version of it is served without its blessings"
        found = manual if champion.metrics else missing
        return found(
            "the champion was registered by hand; nothing stood between it and its callers", remedy, *of.of_champion()
        )
    if champion.unblessed:
        return missing("; ".join(champion.unblessed), "train again", *of.of_champion())
    reason = next((blessing.reason for blessing in champion.blessings if blessing.kind == "evaluation"), "")
    return automated(f"data, quality and infrastructure are vouched for: {reason}", *of.of_champion())


def _debuggable(of: Evidence) -> Finding:
    events = [window_proof(window) for window in of.recent[:1]]
    steps = [] if of.run is None else [run_proof(of.run)] if any(step.outputs for step in of.run.steps) else []
    if events and steps:
        return automated(
            "every answer is kept with its inputs, and every step with its artifacts and its log", *events, *steps
        )
    if events or steps:
        text = "answers are kept with their inputs" if events else "steps are kept with their artifacts"
        return manual(f"{text}; the other is not there", "train by a pipeline, and let windows close", *events, *steps)
    return missing("neither answers nor steps are kept", "train by a pipeline, and let windows close")


def canaried(of: Evidence) -> Finding:
    """Whether the champion was tried on a share of the traffic."""
    champion = of.champion
    if champion is None:
        return missing("no model is served", "deploy a version")
    promoted = [end for _, end in trials(of) if end.action == "promote"]
    own = [end for end in promoted if end.evidence.get("version", end.evidence.get("champion")) == champion.version]
    if own:
        return automated(f"version {champion.version} was tried on a share of the traffic first", entry_proof(own[0]))
    remedy = "platform.endpoints.trial, or let the loop try what it trains"
    if promoted:
        text = f"version {champion.version} was not tried; {len(promoted)} earlier ones were"
        return manual(text, remedy, *map(entry_proof, promoted[:1]))
    return missing("no version was tried on a share of the traffic", remedy)


def _rolled_back(of: Evidence) -> Finding:
    taken_back = [entry_proof(entry) for entry in of.entries("roll_back", "rollback", "fall_back")[:3]]
    if taken_back:
        return automated(f"versions that were taken out of service: {len(taken_back)}", *taken_back)
    if of.plan is not None and of.plan.backup is not None:
        return manual(
            f"version {of.plan.backup} stands by; that was never tried", "raymlops models rollback", *of.of_champion()
        )
    return missing("there is nothing to go back to", "serve a second version: the first becomes the backup")


INFRASTRUCTURE = (
    Question("infrastructure-1", "Training can be repeated", _reproducible),
    Question("infrastructure-2", "The model's specification is unit-tested", _unit_tested),
    Question("infrastructure-3", "The pipeline is tested as a whole", _integration_tested),
    Question("infrastructure-4", "Quality is validated before serving", _validated),
    Question("infrastructure-5", "A model can be debugged step by step", _debuggable),
    Question("infrastructure-6", "Models are tried by canary before they serve", canaried),
    Question("infrastructure-7", "A model can be rolled back", _rolled_back),
)
