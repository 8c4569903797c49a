"""The harness of ``lfmm``: its bank of models, then its verdict on schedules; run in the peers' environment.

Argument: a directory with ``stream.parquet`` (inputs, ``y``, ``week``, ``known``) and ``first.json``. The first line on
standard input has the bank built and its answers written to ``answers.npz``; the second has ``schedules.json`` scored
beside lfmm's own policies and ``verdict.json`` written. Each is answered with the seconds it took.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when scikit-learn is imported: cores may be busy

import numpy as np
import pandas as pd
from lfmm.detectors import PSI, ScoreKS, UnivariateTests
from lfmm.retrain import Always, Every, ModelBank, Never, OnAlarm, Policy, build_bank, evaluate_policies
from lfmm.streams.base import Stream

warnings.simplefilter("ignore")
MONDAY = pd.Timestamp("2001-01-01")
WEEK = pd.Timedelta(days=7)
MOST_ROWS = 20_000
"""A model is fitted on at most so many rows, as small as the harness lets them be: its models are scored on all."""


class Given(Policy):
    """A schedule that was decided elsewhere, from the same answers."""

    def __init__(self, name: str, starts: list[int]) -> None:
        self.name = name
        self._starts = frozenset(starts)

    def retrain(self, bank: ModelBank, t: int, k: int) -> bool:
        del bank, k
        return t + 1 in self._starts


def built(folder: Path, first: int) -> ModelBank:
    """The bank; every window is a week of pandas, whatever its length was."""
    table = pd.read_parquet(folder / "stream.parquet")
    inputs = table.drop(columns=["y", "week", "known"])
    stream = Stream(
        name=folder.name,
        X=inputs,
        y=table["y"].to_numpy(),
        event_time=(MONDAY + table["week"] * WEEK).to_numpy(),
        label_time=(MONDAY + table["known"] * WEEK).to_numpy(),
    )
    bank = build_bank(
        stream, MONDAY + first * WEEK, "W", retrain_window_months=None, max_train_rows=MOST_ROWS, verbose=False
    )
    served = np.concatenate([np.flatnonzero(mask) for mask in bank.masks])
    answers = np.stack([model.proba[served] for model in bank.models]).astype(np.float32)
    weeks = np.repeat(np.arange(len(bank.masks)), [int(mask.sum()) for mask in bank.masks])
    np.savez(folder / "answers.npz", answers=answers, y=stream.y[served], weeks=weeks, loss=bank.loss)
    return bank


def scored(folder: Path, bank: ModelBank) -> None:
    """The verdict at every price of ``schedules.json``; a schedule may be meant for one price."""
    asked = json.loads((folder / "schedules.json").read_text())
    own = [Never(), Always(), *map(Every, (2, 4, 8))]
    own += [OnAlarm(kind) for kind in (UnivariateTests, PSI, ScoreKS)]
    given = [Given(name, starts) for name, starts in asked["schedules"].items()]
    verdict = evaluate_policies(bank, [*own, *given], rhos=tuple(asked["rhos"]))
    found = {"facts": {name: str(value) for name, value in verdict.attrs.items()}, "rows": verdict.to_dict("records")}
    (folder / "verdict.json").write_text(json.dumps(found))


def main(folder: Path) -> None:
    """Do one thing for each line of standard input."""
    first = json.loads((folder / "first.json").read_text())
    sys.stdin.readline()
    started = time.perf_counter()
    bank = built(folder, first)
    print(time.perf_counter() - started, flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    scored(folder, bank)
    print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
