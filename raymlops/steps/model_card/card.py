"""The model card of a candidate: what it is, what it was made of, how good it is, and who vouches for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.steps.model_card.card_page import render_card
from raymlops.steps.project.context import TrainingContext
from raymlops.steps.validation.served import load_packaged

__all__ = ["card"]

_BINS = 20
_SCATTER = 400


def card(
    context: TrainingContext,
    *,
    package: Path,
    pin: Mapping[str, Any],
    training_set: Mapping[str, Any],
    report: Mapping[str, Any],
    dossier: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    scores: pa.Table,
    **blessings: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Put together what the run has found out: ``card``, JSON values, and ``page``, which opens without a network.

    The figures are those of the holdout, which the model that was judged had not seen; after a refit the version has
    seen it too, and the card says so.
    """
    model = load_packaged(package)
    signature, project = model.signature, context.project
    evaluation = dossier["evaluation"]
    values: dict[str, Any] = {
        "model": project.model,
        "pipeline": project.name,
        "run": context.run_id,
        "bundle": context.bundle,
        "created_at": context.clock.now().isoformat(),
        "as_of": pin["as_of"],
        "task": {
            "kind": project.task,
            "metric": project.metric,
            "inputs": [column.name for column in signature.inputs],
            "classes": list(signature.classes),
        },
        "importances": model.importances(),
        "data": {
            **report,
            "training_set": training_set["digest"],
            "table_versions": training_set["table_versions"],
            "service": training_set["service"],
        },
        "training": {"winner": dossier["winner"], "fitted": dossier["fitted"], "trials": list(trials)},
        "evaluation": evaluation,
        "champion": pin["champion"],
        "champion_metrics": dossier["champion_metrics"],
        "comparison": dossier["comparison"],
        "checks": dossier["checks"],
        "infrastructure": dossier["infra"],
        "blessings": list(blessings.values()),
        "scores": _scores(scores, project.task),
        "reason": dossier["reason"],
    }
    return {"card": values, "page": render_card(values).encode()}


def _scores(scores: pa.Table, task: str) -> dict[str, Any]:
    """How the holdout was scored: by outcome in bins, or, of numbers, some points of prediction and truth."""
    said, came = (np.asarray(scores[name].to_numpy(), dtype=np.float64) for name in ("score", "outcome"))
    if task == "regressor":
        places = np.unique(np.linspace(0, len(said) - 1, min(len(said), _SCATTER)).astype(np.int64))
        return {"points": [[float(said[place]), float(came[place])] for place in places]}
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counts = {str(int(kind)): np.histogram(said[came == kind], edges)[0].tolist() for kind in (0.0, 1.0)}
    return {"edges": edges.tolist(), "counts": counts}
