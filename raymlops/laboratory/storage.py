"""Loss matrices as files of Arrow's: no code is in them, and none is run to read them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import DataError, NotFoundError, StorageError
from raymlops.laboratory.loss_matrix import LossMatrix, MatrixFacts

__all__ = ["load_matrix", "save_matrix"]

_KEY, _FORMAT = b"raymlops.loss_matrix", 1


def save_matrix(matrix: LossMatrix, known: npt.NDArray[np.int64], path: Path) -> None:
    """Write a matrix; a file that is there is replaced at once, or not at all.

    Args:
        matrix: The matrix.
        known: Rows of each window that have labels, by window.
        path: Where.

    Raises:
        StorageError: The file cannot be written.
    """
    pairs = [(i, j) for j in range(matrix.oldest, matrix.end) for i in range(matrix.oldest, j + 1)]
    losses = [matrix.losses(*pair) for pair in pairs]
    facts = matrix.facts
    told = {
        "format": _FORMAT,
        "first": matrix.first,
        "known": known.tolist(),
        "metric": facts.metric,
        "starts": [at.isoformat() for at in facts.starts],
        "label_delay_s": facts.label_delay.total_seconds(),
        "fit_s": sorted(facts.fit_s.items()),
        "training_rows": sorted(facts.training_rows.items()),
        "drifted": None if facts.drifted is None else sorted(facts.drifted),
        "notes": list(facts.notes),
    }
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in losses])])
    values = np.concatenate(losses)
    columns = {
        "model": pa.array([i for i, _ in pairs], pa.int32()),
        "window": pa.array([j for _, j in pairs], pa.int32()),
        "losses": pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values)),
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(told).encode()})
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.ipc.new_file(draft, table.schema) as writer:
            writer.write_table(table)
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}", path=str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


def load_matrix(path: Path) -> LossMatrix:
    """Read a matrix.

    Raises:
        NotFoundError: There is no such file.
        DataError: It holds something else.
    """
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            table = reader.read_all()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", path=str(path)) from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a loss matrix: {error}", path=str(path)) from error
    told = _told(table, path)
    if told.get("format") != _FORMAT:
        raise DataError(f"{path} must be a loss matrix of format {_FORMAT}, got {told.get('format')}", path=str(path))
    pairs = zip(table["model"].to_pylist(), table["window"].to_pylist(), strict=True)
    lists = (each for chunk in table["losses"].chunks for each in chunk)
    losses = {pair: np.asarray(each.values) for pair, each in zip(pairs, lists, strict=True)}
    return LossMatrix(
        losses, first=int(told["first"]), known=np.array(told["known"], dtype=np.int64), facts=_facts(told)
    )


def _told(table: pa.Table, path: Path) -> dict[str, Any]:
    metadata = table.schema.metadata or {}
    try:
        return dict(json.loads(metadata[_KEY]))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a loss matrix: its metadata says nothing of one", path=str(path)) from error


def _facts(told: dict[str, Any]) -> MatrixFacts:
    facts = MatrixFacts(
        metric=told["metric"],
        starts=tuple(datetime.fromisoformat(at) for at in told["starts"]),
        label_delay=timedelta(seconds=told["label_delay_s"]),
        fit_s=dict(told["fit_s"]),
        training_rows=dict(told["training_rows"]),
        notes=tuple(told["notes"]),
    )
    drifted = told["drifted"]
    return facts if drifted is None else replace(facts, drifted=frozenset((i, j) for i, j in drifted))
