"""The checklist of an automated loop at level 2 (Google's "MLOps: continuous delivery and automation pipelines")."""

from __future__ import annotations

from raymlops.records.learning.blessings import BlessingKind
from raymlops.records.runs import RunStatus
from raymlops.scorecard.evidence import Evidence, bundle_proof, entry_proof, run_proof, window_proof
from raymlops.scorecard.infrastructure import canaried
from raymlops.scorecard.item import Finding, Question, automated, manual, missing

__all__ = ["LEVEL_TWO"]

_PIPELINE = "train by a pipeline: raymlops runs start PIPELINE"
_BUNDLE = "raymlops delivery build, then deploy"


def _orchestrated(of: Evidence) -> Finding:
    steps = () if of.run is None else of.run.steps
    if of.run is None or not steps:
        return missing("no run of a pipeline made the champion", _PIPELINE)
    return automated(f"{len(steps)} steps followed one another by themselves", run_proof(of.run))


def _continuous_training(of: Evidence) -> Finding:
    retrained = of.entries("retrain")
    if not retrained:
        return missing("the loop has never retrained the model", "deploy a bundle that trains it, and set its triggers")
    return automated(f"{len(retrained)} retrainings were begun by the loop", *map(entry_proof, retrained[:3]))


def _symmetry(of: Evidence) -> Finding:
    if of.bundle is None or of.run is None:
        return missing("the champion was trained outside of any bundle", _BUNDLE)
    where = [deployment.environment for deployment in of.live if deployment.bundle == of.bundle.digest]
    if not where:
        return missing(
            "another bundle than the champion's is deployed", "raymlops delivery deploy", bundle_proof(of.bundle)
        )
    return automated(
        f"the deployed bundle ({', '.join(where)}) is the one that trained the champion", bundle_proof(of.bundle)
    )


def _modular(of: Evidence) -> Finding:
    steps = [] if of.run is None else [step for step in of.run.steps if step.outputs and step.key]
    if of.run is None or not steps:
        return missing("no step left an artifact", _PIPELINE)
    return automated(f"{len(steps)} steps left artifacts under content addresses", run_proof(of.run))


def _model_delivery(of: Evidence) -> Finding:
    promoted = [entry for entry in of.entries("promote") if entry.key.startswith("control/")]
    if promoted:
        return automated(f"the loop promoted {len(promoted)} versions", *map(entry_proof, promoted[:3]))
    by_hand = of.entries("promote", "deploy")
    if by_hand:
        return manual(
            "versions are deployed by people alone", "let the loop try what it trains", entry_proof(by_hand[0])
        )
    return missing("no version was deployed", "raymlops models deploy")


def _pipeline_delivery(of: Evidence) -> Finding:
    deployed = of.entries("deploy_bundle")
    if not of.live or not deployed:
        return missing("no bundle of the model's pipeline is deployed", _BUNDLE)
    return automated(
        f"the pipeline is deployed to {', '.join(d.environment for d in of.live)}", entry_proof(deployed[0])
    )


def _blessed(kind: BlessingKind, text: str, remedy: str) -> Question:
    def assess(of: Evidence) -> Finding:
        blessings = () if of.champion is None else of.champion.blessings
        found = next((blessing for blessing in blessings if blessing.kind == kind), None)
        if found is None or not found.granted:
            return missing("no run vouches for it" if found is None else found.reason, remedy, *of.of_champion())
        return automated(found.reason, *of.of_champion())

    return Question(f"level2-{kind}", text, assess)


def _compared(of: Evidence) -> Finding:
    comparison = of.result.get("comparison", {})
    if "rule" not in comparison:
        return missing("the champion was compared with nothing when it was trained", _PIPELINE)
    text = f"compared with the {comparison.get('against')} on {comparison.get('rows')} rows"
    return (
        automated(text, *of.of_champion())
        if comparison.get("passed")
        else missing(text, "train again", *of.of_champion())
    )


def _stored_features(of: Evidence) -> Finding:
    service = None if of.plan is None else of.plan.service
    if service is None:
        return missing("the endpoint takes features from its callers", "deploy with features=")
    if of.champion is None or of.champion.training_set is None:
        return manual(f"{service} is served, the champion was trained on something else", _PIPELINE, *of.of_champion())
    return automated(f"{service} gave the training set and gives the online rows", *of.of_champion())


def _recorded(of: Evidence) -> Finding:
    if of.run is None:
        return missing("no run of a pipeline made the champion", _PIPELINE)
    there = {
        "reason": bool(of.run.reason),
        "bundle": of.run.bundle is not None,
        "parameters": bool(of.run.parameters),
        "duration of each step": bool(of.run.steps) and all(step.ended_at is not None for step in of.run.steps),
        "metrics of training": bool(of.result.get("train_metrics")),
        "metrics of the holdout": bool(of.result.get("metrics")),
    }
    absent = [name for name, known in there.items() if not known]
    if absent:
        return manual(f"not in the run's record: {', '.join(absent)}", _PIPELINE, run_proof(of.run))
    return automated(f"the run's record has {', '.join(there)}", run_proof(of.run))


def _converges(of: Evidence) -> Finding:
    checked = of.result.get("fitted", {}).get("checked") or {}
    if of.run is None or "loss" not in checked:
        return missing("whether training converges was not checked", "train with refit, which checks the new fit")
    return automated(f"the new fit's loss is {checked['loss']:.4f} on {checked.get('rows')} rows", run_proof(of.run))


def _tested(of: Evidence) -> Finding:
    if of.bundle is None:
        return missing("no bundle was built", _BUNDLE)
    passed, failed = of.bundle.tests.get("passed", 0), of.bundle.tests.get("failed", 0)
    if failed or not passed:
        return missing(f"{passed} tests passed, {failed} failed", "write tests of the project", bundle_proof(of.bundle))
    return automated(f"{passed} tests passed in the build", bundle_proof(of.bundle))


def _source(of: Evidence) -> Finding:
    if of.bundle is None:
        return missing("no bundle was built", _BUNDLE)
    if of.bundle.source is None or of.bundle.source.dirty:
        return missing("the bundle is no clean commit", "commit, then build", bundle_proof(of.bundle))
    return automated(f"the bundle is commit {of.bundle.source.commit[:8]}", bundle_proof(of.bundle))


def _approved(of: Evidence) -> Finding:
    approvals = of.entries("approve_bundle")
    digest = None if of.bundle is None else of.bundle.digest
    green = [run for run in of.runs if run.status is RunStatus.SUCCEEDED and run.bundle == digest]
    if approvals and len(green) > 1:
        return automated(f"approved after {len(green)} runs", entry_proof(approvals[0]), run_proof(green[0]))
    if approvals or len(green) > 1:
        proofs = [*map(entry_proof, approvals[:1]), *map(run_proof, green[:1])]
        return manual(
            f"{len(green)} runs succeeded, {len(approvals)} people approved", "raymlops delivery approve", *proofs
        )
    return missing("nobody approved the bundle, and it has not proved itself", "raymlops delivery approve")


def _monitored(of: Evidence) -> Finding:
    if not of.recent:
        return missing("no window of the model has closed", "serve the model, and let a window close")
    return automated(f"{len(of.windows)} windows were judged", window_proof(of.recent[0]))


LEVEL_TWO = (
    Question("level2-orchestrated", "Experiments are orchestrated", _orchestrated),
    Question("level2-training", "Training is continuous", _continuous_training),
    Question("level2-symmetry", "Development and production run one pipeline", _symmetry),
    Question("level2-modular", "Steps are components with artifacts", _modular),
    Question("level2-models", "Models are delivered continuously", _model_delivery),
    Question("level2-pipeline", "The pipeline itself is deployed", _pipeline_delivery),
    _blessed("data", "Data is validated before training", _PIPELINE),
    Question("level2-compared", "A candidate is compared with what serves", _compared),
    _blessed("evaluation", "A candidate is good enough before it is served", _PIPELINE),
    _blessed("infrastructure", "A candidate is tried on the serving code", _PIPELINE),
    Question("level2-canary", "A candidate is validated online", canaried),
    Question("level2-features", "One feature store gives training and serving", _stored_features),
    Question("level2-metadata", "Each execution is recorded", _recorded),
    Question("level2-converges", "Training is tested to converge", _converges),
    Question("level2-tests", "Every change is tested in the build", _tested),
    Question("level2-source", "Source is in version control", _source),
    Question("level2-approval", "Production needs approval, after runs that succeeded", _approved),
    Question("level2-monitoring", "The service is monitored", _monitored),
)
