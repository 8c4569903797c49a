"""Concept drift: changes of the label rule alone, found between windows on the stream of a model's errors.

The error series is that of a decision tree fitted on the 2,000 rows before it. An alarm retires the tree: the next
2,000 rows, unwatched, fit the one that takes over, and its errors are a new stream. An alarm counts as false unless a
change began within the 1,000 rows before it, or within half the width of a gradual one after it.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from raymlops.monitoring import ErrorStream, Reference

ROWS, NOISE, TRAIN_ROWS, WINDOW_ROWS, BATCH_ROWS = 100_000, 0.1, 2_000, 2_500, 500
SEEDS = 20
WITHIN = 1_000
CIRCLES = ((0.2, 0.15), (0.4, 0.2), (0.6, 0.25), (0.8, 0.3))
"""Centre and radius of the concepts."""
ARL_ROWS = 2_000_000
THRESHOLDS = (3.5, 4.0, 4.5, 5.0)

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True)
class Stream:
    """Inputs in order (N, 2), their labels, the rows at which the rule changes, and the width of each change."""

    inputs: Floats
    labels: Labels
    changes: tuple[int, ...]
    width: int


KINDS = {"sine1": ((20_000, 40_000, 60_000, 80_000), 50), "circles": ((25_000, 50_000, 75_000), 500)}


def measure() -> dict[str, Any]:
    """Changes found, delays and false alarms; whether the inputs' drift stays silent; average run lengths."""
    found: dict[str, Any] = {"average_run_length": _run_lengths()}
    for kind in KINDS:
        for balanced in (True, False):
            streams = [_generate(kind, seed, balanced=balanced) for seed in range(SEEDS)]
            found[f"{kind}, {'classes balanced' if balanced else 'inputs uniform'}"] = _judge(streams)
    folder = os.environ.get("KNOWN_DRIFT_STREAMS")
    files = sorted(Path(folder).glob("*.arff")) if folder else []
    found["published"] = {path.name: _judge([_read(path)]) for path in files} or "KNOWN_DRIFT_STREAMS is not set"
    return found


def _rule(kind: str, concept: int, inputs: Floats) -> Labels:
    if kind == "sine1":
        return np.asarray((inputs[:, 1] < np.sin(inputs[:, 0])) ^ (concept % 2 == 1))
    centre, radius = CIRCLES[concept]
    return np.asarray((inputs[:, 0] - centre) ** 2 + (inputs[:, 1] - 0.5) ** 2 > radius**2)


def _generate(kind: str, seed: int, *, balanced: bool) -> Stream:
    """The published streams' recipe with another seed: sigmoid transitions, a tenth of the labels wrong.

    The published circles draw either class in turn, so that their inputs move with the rule; with ``balanced`` off the
    inputs are uniform throughout and the rule alone changes.
    """
    rng = np.random.default_rng([seed, len(kind)])
    changes, width = KINDS[kind]
    at = np.arange(ROWS)
    concept = np.zeros(ROWS, dtype=np.int64)
    for change in changes:
        concept += rng.random(ROWS) < 1 / (1 + np.exp(np.clip(-4 * (at - change) / width, -50, 50)))
    inputs, labels = rng.random((ROWS, 2)), np.zeros(ROWS, dtype=np.bool_)
    for number in range(len(changes) + 1):
        mine = np.flatnonzero(concept == number)
        for wanted in (True, False) if balanced else ():
            wrong = mine[at[mine] % 2 == wanted]
            while wrong.size:
                inputs[wrong] = rng.random((wrong.size, 2))
                wrong = wrong[_rule(kind, number, inputs[wrong]) != wanted]
        labels[mine] = _rule(kind, number, inputs[mine])
    return Stream(inputs, labels ^ (rng.random(ROWS) < NOISE), changes, width)


def _read(path: Path) -> Stream:
    rows = [line.strip().split(",") for line in path.read_text().splitlines() if line[:1].isdigit()]
    inputs = np.array([[float(x), float(y)] for x, y, _ in rows])
    changes, width = KINDS[path.name.split("_")[0]]
    return Stream(inputs, np.array([label == "p" for *_, label in rows]), changes, width)


def _alarms(stream: Stream) -> list[int]:
    """Rows at which the error stream signalled."""
    alarms, at = [], 0
    while at + TRAIN_ROWS < len(stream.labels):
        tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=20, random_state=0)
        tree.fit(stream.inputs[at : at + TRAIN_ROWS], stream.labels[at : at + TRAIN_ROWS])
        at += TRAIN_ROWS
        wrong = (tree.predict(stream.inputs[at:]) != stream.labels[at:]).astype(np.float64)
        watch = ErrorStream()
        signalled = next((found[0] for found in map(watch.update, _batches(wrong)) if found), None)
        if signalled is None:
            break
        alarms.append(at + signalled)
        at += signalled + 1
    return alarms


def _batches(errors: Floats) -> list[Floats]:
    return [errors[first : first + BATCH_ROWS] for first in range(0, errors.size, BATCH_ROWS)]


def _judge(streams: Sequence[Stream]) -> dict[str, Any]:
    delays: list[int] = []
    changes = false_alarms = windows = drifted = 0
    for stream in streams:
        alarms = _alarms(stream)
        early = stream.width // 2
        claimed: set[int] = set()
        for change in stream.changes:
            changes += 1
            near = [alarm for alarm in alarms if change - early <= alarm <= change + WITHIN]
            delays += [near[0] - change] if near else []
            claimed |= set(near)
        false_alarms += len(set(alarms) - claimed)
        silent, seen = _input_drift(stream)
        windows, drifted = windows + seen, drifted + silent
    rows = sum(len(stream.labels) for stream in streams)
    return {
        "changes": changes,
        "found_within_1000": len(delays),
        "share_found": round(len(delays) / changes, 3),
        "median_delay": statistics.median(delays) if delays else None,
        "longest_delay": max(delays, default=None),
        "false_alarms": false_alarms,
        "rows": rows,
        "false_alarms_per_50000_rows": round(false_alarms / rows * 50_000, 3),
        "windows_whose_inputs_drifted": f"{drifted} of {windows}",
    }


def _input_drift(stream: Stream) -> tuple[int, int]:
    """Windows in which an input is flagged against the first 10,000 rows, and windows."""
    inputs = [pa.table({"x": rows[:, 0], "y": rows[:, 1]}) for rows in np.split(stream.inputs, ROWS // WINDOW_ROWS)]
    reference = Reference.fit(pa.concat_tables(inputs[:4]))
    flagged = [reference.compare(reference.profile(window)).drifted for window in inputs[4:]]
    return sum(flagged), len(flagged)


def _run_lengths() -> dict[str, Any]:
    """Rows per false alarm on steady streams of independent errors and losses, per threshold."""
    draws = {
        "rate 0.02": lambda rng: (rng.random(ARL_ROWS) < 0.02).astype(np.float64),
        "rate 0.1": lambda rng: (rng.random(ARL_ROWS) < 0.1).astype(np.float64),
        "rate 0.4": lambda rng: (rng.random(ARL_ROWS) < 0.4).astype(np.float64),
        "losses, exponential": lambda rng: rng.exponential(size=ARL_ROWS),
        "losses, lognormal": lambda rng: rng.lognormal(size=ARL_ROWS),
    }
    found: dict[str, Any] = {}
    for name, draw in draws.items():
        for threshold in THRESHOLDS:
            alarms = len(ErrorStream(threshold=threshold).update(draw(np.random.default_rng(1))))
            found.setdefault(name, {})[str(threshold)] = {
                "alarms": alarms,
                "rows_per_alarm": ARL_ROWS // alarms if alarms else f"more than {ARL_ROWS}",
            }
    return found
