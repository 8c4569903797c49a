"""The ML Test Score's tests of features and data (Breck et al. 2017, section I)."""

from __future__ import annotations

from raymlops.records.learning.blessings import Blessing
from raymlops.scorecard.evidence import WRONG_SHARE, Evidence, bundle_proof, entry_proof, window_proof
from raymlops.scorecard.item import Finding, Question, automated, manual, missing

__all__ = ["DATA"]

_SLOWEST_ROW_MS = 250.0
_ABSENT = 0.5
_FORBIDDEN = ("deprecated", "forbidden")
_PERSONAL = "personal"


def _schema(of: Evidence) -> Finding:
    champion = of.champion
    granted: list[Blessing] = (
        [] if champion is None else [b for b in champion.blessings if b.kind == "data" and b.granted]
    )
    if champion is not None and any(b.subject == champion.training_set for b in granted):
        return automated(f"the training data passed its rules: {granted[0].reason}", *of.of_champion())
    ruled = [field.name for view in of.views for field in view.fields if field.ge is not None or field.le is not None]
    if ruled:
        text = f"{len(ruled)} fields have bounds, and no run has checked the champion's training data"
        return manual(text, "train by a pipeline: its step validate_data checks and blesses the data")
    return missing("nothing checked the champion's training data", "train by a pipeline, whose data is validated first")


def _beneficial(of: Evidence) -> Finding:
    window = next((window for window in of.recent if window.columns), None)
    known = {} if window is None else {name: column.importance for name, column in window.columns.items()}
    if window is None or not known or any(importance is None for importance in known.values()):
        return missing(
            "the importance of the inputs is not known", "serve a model whose importances are known, and close a window"
        )
    useless = sorted(name for name, importance in known.items() if not importance)
    if useless:
        remedy = "take them out of the service and train again"
        return missing(
            f"{len(useless)} of {len(known)} inputs add nothing: {', '.join(useless[:5])}", remedy, window_proof(window)
        )
    return automated(f"each of {len(known)} inputs adds to the answers", window_proof(window))


def _cost(of: Evidence) -> Finding:
    row_ms = of.result.get("infra", {}).get("one_row_ms")
    if row_ms is None:
        return missing(
            "nobody measured what an answer costs", "train by a pipeline: its step validate_infra measures it"
        )
    if row_ms > _SLOWEST_ROW_MS:
        return missing(
            f"one row takes {row_ms:.3g} ms, more than {_SLOWEST_ROW_MS:g} ms", "drop features", *of.of_champion()
        )
    window = next((window for window in of.recent if window.feature_ages), None)
    if window is None:
        text = f"one row takes {row_ms:.3g} ms; no window shows what joining its features costs"
        return manual(text, "let the endpoint join the features (predict)", *of.of_champion())
    absent = sorted(view for view, age in window.feature_ages.items() if age.missing_share >= _ABSENT)
    if absent:
        remedy = "mend their sources, or leave these views out"
        return missing(f"more often absent than there: {', '.join(absent)}", remedy, window_proof(window))
    text = f"one row takes {row_ms:.3g} ms, and each of {len(window.feature_ages)} views is there when it is asked"
    return automated(text, window_proof(window), *of.of_champion())


def _requirements(of: Evidence) -> Finding:
    if not of.views:
        return missing(
            "no feature view of the model is known", "declare its features as views, and deploy with features="
        )
    against = [view.name for view in of.views if any(tag in view.tags for tag in _FORBIDDEN)]
    if against:
        return missing(f"views are marked as not to be used: {', '.join(against)}", "take them out of the service")
    applied = [entry_proof(entry) for entry in of.entries("apply")[:1]]
    nameless = [view.name for view in of.views if not view.owner]
    if nameless:
        return manual(f"views have no owner: {', '.join(nameless[:5])}", "give each view an owner", *applied)
    if not applied:
        return manual("views have owners; that they were applied is not recorded", "raymlops apply")
    return automated(f"each of {len(of.views)} views has an owner, and none is marked as not to be used", *applied)


def _privacy(of: Evidence) -> Finding:
    if of.plan is None:
        return missing("no model is served", "deploy a version")
    proofs = [entry_proof(entry) for entry in of.entries("apply", "deploy")[:1]]
    kept = f"events end after {of.settings.retention_days:g} days"
    personal = [view.name for view in of.views if view.tags.get(_PERSONAL, "no") != "no"]
    if personal and not of.settings.keys_required:
        text = f"personal data is served without a key: {', '.join(personal)}"
        return missing(text, "set serving.require_keys", *proofs)
    untold = [view.name for view in of.views if _PERSONAL not in view.tags]
    if untold or not of.views or not of.settings.keys_required:
        text = f"{kept}; callers need no key, or a view does not say whether it holds personal data"
        return manual(text, f"set serving.require_keys, and tag each view with {_PERSONAL}: yes or no", *proofs)
    if not proofs:
        return manual("callers need a key; that the model was deployed is not recorded", "raymlops models deploy")
    return automated(f"callers need a key, {kept}, and every view says whether it holds personal data", *proofs)


def _quickly(of: Evidence) -> Finding:
    applied = [entry_proof(entry) for entry in of.entries("apply")[:1]]
    if of.plan is None or of.plan.service is None:
        return missing(
            "the endpoint takes its inputs from callers: a new feature changes each of them", "deploy with features="
        )
    if not applied or of.bundle is None:
        text = "features come from the store; that they were applied, or which project trains on them, is not recorded"
        return manual(text, "raymlops apply, then build and deploy the project", *applied)
    text = f"a feature of {of.plan.service} is declared once, and training, serving and monitoring take it from there"
    return automated(text, *applied, bundle_proof(of.bundle))


def _tested(of: Evidence) -> Finding:
    if of.bundle is None:
        return missing(
            "no bundle holds the code that makes the inputs", "raymlops delivery build, which runs its tests"
        )
    passed, failed = of.bundle.tests.get("passed", 0), of.bundle.tests.get("failed", 0)
    if failed or not passed:
        return missing(f"{passed} tests of the project passed, {failed} failed", "write tests", bundle_proof(of.bundle))
    compared = of.audited
    if compared is None:
        text = f"{passed} tests passed; no served feature was compared with what the code makes of the tables"
        return manual(text, "serve features by predict, with monitoring.feature_audit", bundle_proof(of.bundle))
    if compared.wrong_feature_share > WRONG_SHARE:
        text = f"{compared.wrong_feature_share:.1%} of the served features are not what the code makes of the tables"
        return missing(text, "raymlops features audit SERVICE names them", window_proof(compared))
    text = f"{passed} tests passed; {compared.audited_rows} served rows of a window were computed again"
    return automated(text, bundle_proof(of.bundle), window_proof(compared))


DATA = (
    Question("data-1", "Expectations of the data are a schema, and checked", _schema),
    Question("data-2", "Every feature is of use", _beneficial),
    Question("data-3", "No feature costs more than it brings", _cost),
    Question("data-4", "Features meet the rules of the house", _requirements),
    Question("data-5", "Access to personal data is controlled", _privacy),
    Question("data-6", "A new feature is added quickly", _quickly),
    Question("data-7", "The code that makes features is tested", _tested),
)
