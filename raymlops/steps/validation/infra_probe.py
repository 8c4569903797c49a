"""The throw-away process of ``validate_infra``: ``python -m raymlops.steps.validation.infra_probe PACKAGE WORK``.

Loads the packaged model as a replica does, sends the probe rows through the codec of the Open Inference Protocol, and
compares the answers with what the estimator said when it was fitted.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from raymlops.serving.models.model import Model
from raymlops.serving.protocol.open_inference import decode_infer, encode_infer
from raymlops.steps.validation.served import EXPECTED, load_packaged

__all__ = ["main", "probe"]

_RTOL, _ATOL = 1e-4, 1e-5
"""A packaged tree model computes in 32 bits."""
_SINGLE_ROWS = 20


def probe(package: Path, probes: pa.Table) -> dict[str, Any]:
    """Load, ask, compare.

    Args:
        package: Directory of the packaged model.
        probes: Model inputs, and the estimator's own answers.

    Returns:
        ``problem``, empty where all is well; ``load_s``, ``one_row_ms`` (median) and ``rows``.

    Raises:
        RaymlopsError: The model cannot be loaded, or does not take the rows.
    """
    started = time.perf_counter()
    model = load_packaged(package)
    load_s = time.perf_counter() - started
    names = [name for name in probes.column_names if name.startswith(EXPECTED)]
    expected = np.column_stack([probes[name].to_numpy() for name in names])
    problem = _difference("a batch", _ask(model, probes), expected)
    seconds = []
    for place in range(max(0, probes.num_rows - _SINGLE_ROWS), probes.num_rows):
        started = time.perf_counter()
        answer = _ask(model, probes.slice(place, 1))
        seconds.append(time.perf_counter() - started)
        problem = problem or _difference(f"row {place} alone", answer, expected[place : place + 1])
    one_row_ms = 1000.0 * float(np.median(seconds))
    return {"problem": problem, "load_s": load_s, "one_row_ms": one_row_ms, "rows": probes.num_rows}


def _ask(model: Model, rows: pa.Table) -> npt.NDArray[np.float64]:
    """Predictions [rows, outputs] as a caller over HTTP reads them."""
    inputs = [
        {"name": c.name, "datatype": c.dtype, "shape": [rows.num_rows], "data": rows[c.name].to_pylist()}
        for c in model.signature.inputs
    ]
    asked = decode_infer(orjson.dumps({"inputs": inputs}), {}, model.schema)
    body, _ = encode_infer({}, model.predict(asked.columns), asked)
    wanted = "probability" if model.signature.task == "classifier" else "value"
    tensor = next(tensor for tensor in orjson.loads(body)["outputs"] if tensor["name"] == wanted)
    return np.asarray(tensor["data"], dtype=np.float64).reshape(rows.num_rows, -1)


def _difference(what: str, got: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> str:
    if got.shape != expected.shape:
        return f"{what}: shape {got.shape} is not {expected.shape}"
    if not np.allclose(got, expected, rtol=_RTOL, atol=_ATOL):
        return f"{what}: answers differ from the estimator's by up to {np.abs(got - expected).max():.3g}"
    return ""


def main(arguments: list[str]) -> int:
    """Probe a package with ``probes.arrow`` of a directory; the findings go to ``findings.json`` in it."""
    package, work = map(Path, arguments)
    with pa.memory_map(str(work / "probes.arrow")) as source:
        probes = pa.ipc.open_file(source).read_all()
    (work / "findings.json").write_bytes(orjson.dumps(probe(package, probes)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
