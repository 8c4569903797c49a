"""Evidently's ``DataDriftPreset`` as it comes, timed whenever a line comes in; run in the peers' environment.

Arguments: directory with ``reference.parquet`` and ``window-*.parquet``. What the last line found is written to
``evidently.json``: per window, in the order of their names, the columns it calls drifted.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

warnings.simplefilter("ignore")


def drifted(reference: pd.DataFrame, window: pd.DataFrame) -> list[str]:
    """Columns that the preset calls drifted: a p-value below its threshold, a distance at it or above."""
    found = []
    for metric in Report([DataDriftPreset()]).run(window, reference).dict()["metrics"]:
        config = metric["config"]
        if config["type"].endswith("ValueDrift"):
            value, threshold = float(metric["value"]), float(config["threshold"])
            if value < threshold if "p_value" in config["method"] else value >= threshold:
                found.append(config["column"])
    return found


def main(folder: Path) -> None:
    """Answer every line on standard input with the seconds that all windows took, from frames in memory."""
    reference = pd.read_parquet(folder / "reference.parquet")
    windows = [pd.read_parquet(path) for path in sorted(folder.glob("window-*.parquet"))]
    found = []
    for _ in sys.stdin:
        started = time.perf_counter()
        found = [drifted(reference, window) for window in windows]
        print(time.perf_counter() - started, flush=True)
    (folder / "evidently.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
