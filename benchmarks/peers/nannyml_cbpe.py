"""NannyML's CBPE as it comes, timed whenever a line comes in; run in the peers' environment.

Arguments: directory with pairs of ``NNNN-holdout.parquet`` (``score``, ``label``) and ``NNNN-window.parquet``
(``score``). What the last line found is written to ``nannyml.json``: per window the AUC and its confidence bounds.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

import pandas as pd

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # it reports every call to its makers otherwise
from nannyml import CBPE

warnings.simplefilter("ignore")


def estimate(holdout: pd.DataFrame, window: pd.DataFrame) -> dict[str, float]:
    """AUC of the window as one chunk."""
    holdout, window = (frame.assign(predicted=(frame["score"] >= 0.5).astype(int)) for frame in (holdout, window))
    estimator = CBPE(
        problem_type="classification_binary",
        y_pred_proba="score",
        y_pred="predicted",
        y_true="label",
        metrics=["roc_auc"],
        chunk_number=1,
    )
    estimator.fit(holdout)
    found = estimator.estimate(window).filter(period="analysis").to_df()["roc_auc"].iloc[0]
    bounds = {"low": found["lower_confidence_boundary"], "high": found["upper_confidence_boundary"]}
    return {"value": float(found["value"]), **{name: float(bound) for name, bound in bounds.items()}}


def main(folder: Path) -> None:
    """Answer every line on standard input with the seconds that all windows took, from frames in memory."""
    pairs = [
        (pd.read_parquet(path), pd.read_parquet(path.with_name(path.name.replace("holdout", "window"))))
        for path in sorted(folder.glob("*-holdout.parquet"))
    ]
    found = []
    for _ in sys.stdin:
        started = time.perf_counter()
        found = [estimate(holdout, window) for holdout, window in pairs]
        print(time.perf_counter() - started, flush=True)
    (folder / "nannyml.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
