"""A pipeline on a frame with 5 text columns: packaged against the bare one, served against FastAPI with the same.

In process, both are asked in turn, so that what else the machine does falls on both; figures are medians of the clock
and of processor time, which counts where others keep the machine busy. The bare pipeline is given a frame that is there
already, and one that is made of the columns of a request. Over HTTP, both get one tensor for each column.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from benchmarks.load import Call
from benchmarks.serving import closed_in_turns
from benchmarks.serving_peers import connected, peer
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import columns_of
from raymlops.serving.models.model_files import load_model, save_model

_TEXTS, _NUMBERS, _ROUNDS = 5, 5, 60
_DRAW = np.random.default_rng(0)


def _frame(rows: int) -> pd.DataFrame:
    levels = np.array([f"level {number}" for number in range(30)], dtype=object)
    texts = {f"t{place}": pd.Series(_DRAW.choice(levels, rows), dtype="str") for place in range(_TEXTS)}
    numbers = {f"x{place}": _DRAW.normal(size=rows) for place in range(_NUMBERS)}
    frame = pd.DataFrame({**texts, **numbers})
    return frame.mask((_DRAW.random(frame.shape) < 0.05) & frame.columns.str.startswith("t"))


def _pipeline(frame: pd.DataFrame) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    texts = [name for name in frame.columns if name.startswith("t")]
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), texts), remainder="passthrough")
    labels = (frame["x0"] + frame["t0"].eq("level 3") > 0).astype(int)
    return make_pipeline(encoder, LogisticRegression(max_iter=500)).fit(frame, labels)


def measure(rows: int) -> dict[str, dict[str, float]]:
    """Median microseconds of the packaged model and of the bare pipeline, by the clock and by processor time."""
    fitted = _frame(5000)
    pipeline, asked = _pipeline(fitted), fitted.iloc[:rows].reset_index(drop=True)
    clocks = {"clock": time.perf_counter, "processor": time.process_time}
    kinds = ("packaged", "bare, frame there", "bare, frame made")
    found: dict[str, dict[str, list[float]]] = {clock: {kind: [] for kind in kinds} for clock in clocks}
    with tempfile.TemporaryDirectory() as place:
        manifest = save_model(Path(place) / "m", pipeline, example=fitted.iloc[:20])
        model = load_model(Path(place) / "m", manifest, sha256_of(manifest))
        columns = columns_of(pa.Table.from_pandas(asked, preserve_index=False), model.signature)
        lists = {name: values.tolist() for name, values in columns.items()}
        for _ in range(_ROUNDS):
            for name, ask in (
                ("packaged", lambda: model.predict(columns)),
                ("bare, frame there", lambda: pipeline.predict_proba(asked)),
                ("bare, frame made", lambda: pipeline.predict_proba(pd.DataFrame(lists))),
            ):
                begun = {clock: now() for clock, now in clocks.items()}
                ask()
                for clock, now in clocks.items():
                    found[clock][name].append(now() - begun[clock])
    return {
        clock: {name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()}
        for clock, taken in found.items()
    }


def measure_over_http(rounds: int = 5, seconds: int = 4) -> dict[str, Any]:
    """Requests per second at 16 connections beside FastAPI, in turns, for requests of 1 row and of 64."""
    fitted = _frame(5000)
    pipeline = _pipeline(fitted)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        joblib.dump(pipeline, Path(place) / "pipeline.joblib")
        with connected(Path(place) / "home") as platform:
            version = platform.models.register("frames", pipeline, example=fitted.iloc[:200]).version
            platform.endpoints.deploy("frames", version)
            for rows in (1, 64):
                body = _body(fitted.iloc[:rows])
                ours = Call(f"{platform.url}/v2/models/frames/infer", body)
                with peer("fastapi_frame", Path(place), ("/infer", body)) as theirs:
                    runs = closed_in_turns({"ours": ours, "fastapi": theirs}, 16, rounds, seconds)
                runs["ratio"] = round(runs["ours"]["requests_per_s"] / runs["fastapi"]["requests_per_s"], 2)
                found[f"rows_{rows}"] = runs
    return found


def _body(frame: pd.DataFrame) -> bytes:
    tensors = [
        {
            "name": name,
            "shape": [len(frame)],
            "datatype": "BYTES" if name.startswith("t") else "FP64",
            "data": [None if pd.isna(value) else value for value in frame[name].tolist()],
        }
        for name in frame.columns
    ]
    return orjson.dumps({"inputs": tensors})


def measure_in_process() -> dict[str, Any]:
    """Median microseconds, and the rate of the packaged model as a part of each, for 1 row and for 64."""
    found: dict[str, Any] = {}
    for rows in (1, 64):
        for clock, medians in measure(rows).items():
            rates = {f"of {name}": round(micros / medians["packaged"], 2) for name, micros in medians.items()}
            found[f"rows_{rows}, {clock}"] = {name: round(micros) for name, micros in medians.items()} | rates
    return found
