"""Models as they will be served: packaged, loaded by the serving code, asked by tables.

Imports little: the process that proves a package starts from here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from raymlops.errors import ModelLoadFailed
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.serving.models.model import Model, columns_of
from raymlops.serving.models.model_files import MANIFEST, load_model

__all__ = ["EXPECTED", "load_packaged", "predictions_of", "read_manifest"]

EXPECTED = "expected."
"""Prefix of the columns of probe rows that hold what the estimator itself said."""


def read_manifest(directory: Path) -> ModelManifest:
    """The manifest in a packaged model's directory.

    Raises:
        ModelLoadFailed: It is missing or not readable.
    """
    path = directory / MANIFEST
    try:
        return ModelManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error}", path=str(path)) from error


def load_packaged(directory: Path) -> Model:
    """Load a packaged model.

    Args:
        directory: The package, verified by its store: the manifest is taken from it.

    Raises:
        ModelLoadFailed: A file is missing or altered.
    """
    manifest = read_manifest(directory)
    return load_model(directory, manifest, sha256_of(manifest))


def predictions_of(model: Model, table: pa.Table) -> npt.NDArray[np.float64]:
    """Probabilities [rows, classes] of a classifier, values [rows] of a regressor.

    Raises:
        SchemaMismatch: The table lacks an input of the model.
    """
    outputs = model.predict(columns_of(table, model.signature))
    return np.asarray(outputs["probability" if model.signature.task == "classifier" else "value"], dtype=np.float64)
